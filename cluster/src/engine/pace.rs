//! The engines of a module with several directories keep pace: none goes on without the secondary while another one still has
//! it, and all are at the same generation. They tell each other by their control sockets, without the daemon, which may be away.
//!
//! ```text
//! first engine loses its secondary    → `degrade` to all others: they drop theirs and hold → asks → begins the generation
//! another one loses its secondary     → `renew` to the first: it drops its own, and goes on as above
//! both: who is not the first joins the generation that the first has begun, and only then answers what it holds
//! ```
//! What the secondary has is then one point of the module's history: since the loss nothing that depends on the lost directory
//! was acknowledged, because that one holds its replies.

use fsrepl::node::control;
use fsrepl::node::identity::Identity;
use fsrepl::report::FailureKind;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use uuid::Uuid;

/// One question to another engine, which answers from memory.
const CALL: Duration = Duration::from_millis(500);
/// Before the same question is asked again.
const PAUSE: Duration = Duration::from_millis(10);

/// The other engines of the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pace {
    /// There are none.
    Alone,
    /// This one leads these.
    Leads {
        /// Where their sockets are.
        run: PathBuf,
        /// Their names.
        others: Vec<String>,
    },
    /// This one follows the first.
    Follows {
        /// Where its socket is.
        run: PathBuf,
        /// Its name.
        first: String,
    },
}

/// What is to be done next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// All others have let go of the secondary: the arbiter is asked.
    Asks,
    /// The first has begun this generation.
    Joins {
        /// Which.
        generation: Uuid,
        /// What lies between.
        superseded: Vec<Uuid>,
    },
    /// The first may not go on.
    Refused(String),
    /// This engine did not answer in time.
    Late(String),
    /// The engine ends.
    Ends,
}

impl Pace {
    /// Of the engine at `place` in `engines`.
    pub fn of(run: &Path, engines: &[String], place: usize) -> Pace {
        match engines {
            [] | [_] => Pace::Alone,
            [_, others @ ..] if place == 0 => Pace::Leads { run: run.to_owned(), others: others.to_vec() },
            [first, ..] => Pace::Follows { run: run.to_owned(), first: first.clone() },
        }
    }

    /// Whether this one asks the arbiter.
    pub fn leads(&self) -> bool {
        !matches!(self, Pace::Follows { .. })
    }

    /// The first has gone on from where this one is.
    pub fn has_moved(&self, identity: &Identity) -> bool {
        let Pace::Follows { run, first } = self else { return false };
        let Ok(seen) = control::call(run, first, "watch", &json!({}), CALL) else { return false };
        let Ok(theirs) = serde_json::from_value::<Identity>(seen["identity"].clone()) else { return false };
        theirs.current != identity.current && theirs.history.contains(&identity.current)
    }

    /// Waits until all engines of the module are of one mind, at most until `until`.
    pub fn together(&self, identity: &Identity, until: Instant, ending: &dyn Fn() -> bool) -> Step {
        let from = json!({ "from": identity.current });
        match self {
            Pace::Alone => Step::Asks,
            Pace::Leads { run, others } => {
                let told = others.iter().find_map(|name| wait(name, until, ending, || let_go(run, name, &from)));
                told.unwrap_or(Step::Asks)
            }
            Pace::Follows { run, first } => {
                let mut joined = None;
                let late = wait(first, until, ending, || {
                    joined = join(run, first, &from);
                    joined.is_some()
                });
                joined.or(late).unwrap_or(Step::Ends)
            }
        }
    }
}

/// Until `done` says so; else why not.
fn wait(name: &str, until: Instant, ending: &dyn Fn() -> bool, mut done: impl FnMut() -> bool) -> Option<Step> {
    while !done() {
        if ending() {
            return Some(Step::Ends);
        }
        if Instant::now() >= until {
            return Some(Step::Late(name.to_owned()));
        }
        std::thread::sleep(PAUSE);
    }
    None
}

/// An engine that is gone acknowledges nothing; one that does not answer might.
fn let_go(run: &Path, name: &str, from: &Value) -> bool {
    match control::call(run, name, "degrade", from, CALL) {
        Ok(_) => true,
        Err(failure) => {
            tracing::debug!(name, %failure, "asked to let go of the secondary");
            failure.kind == FailureKind::Unreachable
        }
    }
}

/// What the first says; none: to be asked again.
fn join(run: &Path, first: &str, from: &Value) -> Option<Step> {
    let answer = control::call(run, first, "renew", from, CALL);
    let answer = answer.inspect_err(|failure| tracing::debug!(first, %failure, "asked for the next generation")).ok()?;
    if let Some(why) = answer["refused"].as_str() {
        return Some(Step::Refused(why.trim_start_matches("ending: ").to_owned()));
    }
    let generation = serde_json::from_value(answer["generation"].clone()).ok()?;
    Some(Step::Joins { generation, superseded: serde_json::from_value(answer["superseded"].clone()).unwrap_or_default() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use fsrepl::node::control::Control;
    use fsrepl::report::Failure;
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
    use std::sync::{Arc, Mutex};

    const LONG: Duration = Duration::from_secs(20);

    fn names() -> Vec<String> {
        vec!["m".into(), "m:wal".into(), "m:logs".into()]
    }

    fn together(pace: &Pace, identity: &Identity, patience: Duration) -> Step {
        pace.together(identity, Instant::now() + patience, &|| false)
    }

    #[test]
    fn one_directory_asks_at_once() {
        let pace = Pace::of(Path::new("/nowhere"), &["m".into()], 0);
        assert_eq!((&pace, pace.leads()), (&Pace::Alone, true));
        assert_eq!(together(&pace, &Identity::create("m"), Duration::ZERO), Step::Asks);
    }

    #[test]
    fn the_first_asks_when_all_others_have_let_go() {
        let temp = tempfile::tempdir().unwrap();
        let told: Arc<Mutex<Vec<String>>> = Arc::default();
        let (heard, refusals) = (told.clone(), AtomicUsize::new(2));
        let _wal = Control::start(temp.path(), "m:wal", move |verb, args| {
            if refusals.load(SeqCst) > 0 {
                refusals.fetch_sub(1, SeqCst);
                return Err(Failure::new(FailureKind::Refused, "not yet", "", ""));
            }
            heard.lock().unwrap().push(format!("{verb} {}", args["from"].as_str().unwrap()));
            Ok(json!({}))
        })
        .unwrap();
        let identity = Identity::create("m");
        // The third one is gone.
        let pace = Pace::of(temp.path(), &names(), 0);
        assert_eq!(together(&pace, &identity, LONG), Step::Asks);
        assert_eq!(*told.lock().unwrap(), [format!("degrade {}", identity.current)]);
    }

    #[test]
    fn who_does_not_let_go_in_time_keeps_the_first_from_asking() {
        let temp = tempfile::tempdir().unwrap();
        let no = |_: &str, _: &Value| Err(Failure::new(FailureKind::Refused, "no", "", ""));
        let _wal = Control::start(temp.path(), "m:wal", no).unwrap();
        let pace = Pace::of(temp.path(), &names(), 0);
        let identity = Identity::create("m");
        assert_eq!(together(&pace, &identity, Duration::from_millis(30)), Step::Late("m:wal".into()));
        assert_eq!(pace.together(&identity, Instant::now() + LONG, &|| true), Step::Ends);
    }

    #[test]
    fn others_join_what_the_first_has_begun() {
        let temp = tempfile::tempdir().unwrap();
        let (mine, between, next) = (Identity::create("m:wal"), Uuid::new_v4(), Uuid::new_v4());
        let (from, looks) = (mine.current, AtomicUsize::new(0));
        let _first = Control::start(temp.path(), "m", move |verb, args| {
            assert_eq!((verb, args["from"].as_str().unwrap()), ("renew", from.to_string().as_str()));
            Ok(match looks.fetch_add(1, SeqCst) {
                0 => json!({ "generation": null, "refused": null }),
                _ => json!({ "generation": next, "superseded": [between] }),
            })
        })
        .unwrap();
        let pace = Pace::of(temp.path(), &names(), 1);
        assert!(!pace.leads());
        assert_eq!(together(&pace, &mine, LONG), Step::Joins { generation: next, superseded: vec![between] });
    }

    #[test]
    fn others_stop_where_the_first_may_not_go_on() {
        let temp = tempfile::tempdir().unwrap();
        let refused = |_: &str, _: &Value| Ok(json!({ "generation": null, "refused": "ending: cannot go on alone: b serves" }));
        let _first = Control::start(temp.path(), "m", refused).unwrap();
        let pace = Pace::of(temp.path(), &names(), 2);
        let step = together(&pace, &Identity::create("m:logs"), LONG);
        assert_eq!(step, Step::Refused("cannot go on alone: b serves".into()));
    }

    #[test]
    fn without_the_first_nobody_goes_on() {
        let temp = tempfile::tempdir().unwrap();
        let pace = Pace::of(temp.path(), &names(), 1);
        let identity = Identity::create("m:wal");
        assert_eq!(together(&pace, &identity, Duration::from_millis(30)), Step::Late("m".into()));
        assert!(!pace.has_moved(&identity));
    }

    #[test]
    fn the_first_has_moved_when_this_generation_is_in_its_past() {
        let temp = tempfile::tempdir().unwrap();
        let mine = Identity::create("m:wal");
        let mut first = mine.clone();
        let served = Arc::new(Mutex::new(first.clone()));
        let serving = served.clone();
        let _first = Control::start(temp.path(), "m", move |_, _| Ok(json!({ "identity": *serving.lock().unwrap() }))).unwrap();
        let pace = Pace::of(temp.path(), &names(), 1);
        assert!(!pace.has_moved(&mine));
        first.begin(Uuid::new_v4(), &[], "boot".into());
        *served.lock().unwrap() = first;
        assert!(pace.has_moved(&mine));
        assert!(!pace.has_moved(&Identity::create("m:wal")), "another history");
    }
}
