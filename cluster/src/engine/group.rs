//! The engines of a module, one for each of its directories, as one: the daemon's module gives its orders to all, and hears
//! what they are together. One that ends takes the others with it: a module without one of its directories is none.

use super::process::{Ended, Engine, Home, News};
use super::spec::EngineSpec;
use super::together;
use super::view::View;
use fsrepl::report::Failure;
use parking_lot::Mutex;
use serde_json::Value;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::{Duration, Instant};

/// Engines whose sibling ended in order end in order as well, within this time.
const FOLLOW: Duration = Duration::from_secs(5);

/// The engines of one module.
#[derive(Clone, Debug)]
pub struct Group {
    run: PathBuf,
    members: Vec<Engine>,
    told: Arc<AtomicBool>,
}

/// What is known of them; their news come from a thread each.
struct Known {
    names: Vec<String>,
    members: Vec<Engine>,
    views: Vec<Option<View>>,
    ended: Vec<(usize, Ended)>,
    /// All were told to end, and take as long as it takes.
    told: Arc<AtomicBool>,
    /// Of the engines together: there is no other one.
    version: u64,
}

impl Known {
    fn new(names: Vec<String>) -> Known {
        let views = vec![None; names.len()];
        Known { names, members: Vec::new(), views, ended: Vec::new(), told: Arc::default(), version: 0 }
    }

    /// What the daemon is told.
    fn take(&mut self, place: usize, news: News) -> Option<News> {
        match news {
            News::View(view) => {
                self.views[place] = Some(*view);
                self.view().filter(|_| self.ended.is_empty()).map(|view| News::View(Box::new(view)))
            }
            News::Ended(ended) => {
                self.ended.push((place, ended));
                if self.ended.len() == self.names.len() {
                    let all: Vec<Ended> = self.ended.iter().map(|(_, ended)| ended.clone()).collect();
                    return Some(News::Ended(together::ended(&all)));
                }
                self.end_others();
                None
            }
        }
    }

    /// As soon as all have said something.
    fn view(&mut self) -> Option<View> {
        let all: Vec<View> = self.views.iter().cloned().collect::<Option<_>>()?;
        self.version += 1;
        let view = together::together(&all, &self.names)?;
        Some(View { version: self.version, ..view })
    }

    /// One may have ended before the others were known.
    fn look(&self) {
        if !self.ended.is_empty() {
            self.end_others();
        }
    }

    /// Without one of its directories nobody has use for the others. In order where the first ended in order; else at once: an
    /// application that still runs keeps them from leaving.
    fn end_others(&self) {
        let others: Vec<Engine> = self.members.iter().filter(|member| !member.is_over()).cloned().collect();
        match self.ended.as_slice() {
            [(_, Ended::Clean)] if self.told.load(SeqCst) => {}
            [(_, Ended::Clean)] => {
                others.iter().for_each(Engine::terminate);
                let late = std::thread::Builder::new().name("engine-end".into()).spawn(move || end_late(&others));
                if let Err(why) = late {
                    tracing::warn!(%why, "engines that do not end are not killed");
                }
            }
            _ => others.iter().for_each(Engine::kill),
        }
    }
}

fn end_late(others: &[Engine]) {
    let until = Instant::now() + FOLLOW;
    for other in others {
        if !other.wait(until.saturating_duration_since(Instant::now())) {
            tracing::warn!(engine = other.module(), "it did not end with its module and is killed");
            other.kill();
        }
    }
}

/// Where the news of one engine go.
fn teller(known: &Arc<Mutex<Known>>, place: usize, news: &Arc<dyn Fn(News) + Send + Sync>) -> impl Fn(News) + Send + use<> {
    let (known, news) = (known.clone(), news.clone());
    move |one| {
        // Under the lock, so that news arrive in their order.
        let mut known = known.lock();
        if let Some(all) = known.take(place, one) {
            news(all);
        }
    }
}

impl Group {
    /// Starts one engine for each of `specs`; `names` are those of their directories. `news` is told what they are together.
    pub fn start(
        home: &Home,
        specs: &[EngineSpec],
        names: Vec<String>,
        news: impl Fn(News) + Send + Sync + 'static,
    ) -> Result<Group, Failure> {
        let news: Arc<dyn Fn(News) + Send + Sync> = Arc::new(news);
        let known = Arc::new(Mutex::new(Known::new(names)));
        let mut members: Vec<Engine> = Vec::new();
        for (place, spec) in specs.iter().enumerate() {
            match Engine::start(home, spec, teller(&known, place, &news)) {
                Ok(engine) => {
                    known.lock().members.push(engine.clone());
                    members.push(engine);
                }
                Err(failure) => {
                    for member in &members {
                        member.kill();
                        member.wait(FOLLOW);
                    }
                    return Err(failure);
                }
            }
        }
        let known = known.lock();
        known.look();
        Ok(Group { run: home.run.clone(), members, told: known.told.clone() })
    }

    /// Those that an earlier daemon started, if all live. Where some are missing, what is left of them is ended.
    pub fn find(home: &Home, engines: &[String], names: Vec<String>, news: impl Fn(News) + Send + Sync + 'static) -> Option<(Group, View)> {
        let news: Arc<dyn Fn(News) + Send + Sync> = Arc::new(news);
        let known = Arc::new(Mutex::new(Known::new(names)));
        let mut found = Vec::new();
        for (place, engine) in engines.iter().enumerate() {
            found.extend(Engine::find(home, engine, teller(&known, place, &news)).map(|found| (place, found)));
        }
        let members: Vec<Engine> = found.iter().map(|(_, (engine, _))| engine.clone()).collect();
        if members.len() < engines.len() {
            for engine in &members {
                tracing::warn!(engine = engine.module(), "another engine of its module is gone: it is ended");
                engine.kill();
                engine.wait(FOLLOW);
            }
            return None;
        }
        let mut known = known.lock();
        known.members.clone_from(&members);
        for (place, (_, view)) in found {
            known.views[place].get_or_insert(view);
        }
        known.look();
        let view = known.view()?;
        Some((Group { run: home.run.clone(), members, told: known.told.clone() }, view))
    }

    /// Their processes.
    pub fn pids(&self) -> Vec<u32> {
        self.members.iter().map(Engine::pid).collect()
    }

    /// All are gone.
    pub fn is_over(&self) -> bool {
        self.members.iter().all(Engine::is_over)
    }

    /// Asks each; all are asked, whatever one answers. The first failure.
    pub fn call_all(&self, verb: &str) -> Result<(), Failure> {
        let answers: Vec<_> = self.members.iter().map(|member| super::call(&self.run, member.module(), verb, &Value::Null)).collect();
        answers.into_iter().try_for_each(|answer| answer.map(drop))
    }

    /// Tells all to end in order.
    pub fn terminate(&self) {
        self.told.store(true, SeqCst);
        self.members.iter().for_each(Engine::terminate);
    }

    /// Ends all at once.
    pub fn kill(&self) {
        self.members.iter().for_each(Engine::kill);
    }

    /// Tells all to end, waits at most `patience` for all, then ends those that are left. True: all went by themselves.
    pub fn end(&self, patience: Duration) -> bool {
        self.terminate();
        let until = Instant::now() + patience;
        let mut went = true;
        for member in &self.members {
            // Each is told again, which changes nothing, and has what is left of the time.
            went &= member.end(until.saturating_duration_since(Instant::now()));
        }
        went
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fsrepl::report::{Data, State};

    fn view(state: State) -> News {
        let view = serde_json::json!({
            "version": 3, "pid": 9, "role": "primary", "state": state, "data": Data::Uptodate, "reason": "", "reason_code": "",
            "serving": true, "session": true, "in_sync": state == State::Prim, "holding": null, "identity": null,
        });
        News::View(Box::new(serde_json::from_value(view).unwrap()))
    }

    fn two() -> Known {
        Known::new(vec!["data".into(), "wal".into()])
    }

    #[test]
    fn nothing_is_told_before_all_have_spoken() {
        let mut known = two();
        assert!(known.take(1, view(State::Prim)).is_none());
        let Some(News::View(first)) = known.take(0, view(State::Prim)) else { panic!("told") };
        assert!(first.in_sync && first.identities.len() == 2 && first.directories.len() == 2);
        let Some(News::View(second)) = known.take(1, view(State::Alone)) else { panic!("told") };
        assert!(!second.in_sync && second.version > first.version);
    }

    #[test]
    fn the_end_is_told_once_when_all_have_ended() {
        let mut known = two();
        known.take(0, view(State::Prim));
        known.take(1, view(State::Prim));
        assert!(known.take(1, News::Ended(Ended::Failed("killed".into()))).is_none());
        assert!(known.take(0, view(State::Alone)).is_none(), "what is left of it is no module");
        let Some(News::Ended(ended)) = known.take(0, News::Ended(Ended::Clean)) else { panic!("told") };
        assert_eq!(ended, Ended::Failed("killed".into()));
    }
}
