//! Tells a command and a webhook what happened. Whoever has something to tell goes on at once: one thread tells, and what
//! it cannot keep up with is dropped, oldest first, and said.

use super::limits;
use super::output::{Log, say};
use super::process::{Plan, Ran, shortened};
use crate::config;
use parking_lot::{Condvar, Mutex};
use serde::Serialize;
use std::collections::VecDeque;
use std::ffi::OsString;
use std::io;
use std::sync::Arc;
use std::thread;
use std::time::SystemTime;

/// What is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Notice {
    /// The cluster.
    pub cluster: String,
    /// Where it happened.
    pub node: String,
    /// Of which module; empty: of the node.
    pub module: String,
    /// What it is: `state`, `check`, …
    pub event: String,
    /// The state that is shown now.
    pub state: String,
    /// The one before.
    pub previous: String,
    /// Why, in the operator's words.
    pub reason: String,
    /// The same, stable.
    pub reason_code: String,
}

#[derive(Serialize)]
struct Body<'a> {
    schema: u32,
    time: &'a str,
    #[serde(flatten)]
    notice: &'a Notice,
}

/// Tells. Dropping it lets what is under way come to its end and drops the rest.
pub struct Notifier {
    shared: Arc<Shared>,
}

struct Shared {
    config: config::Notify,
    log: Log,
    queue: Mutex<Queue>,
    news: Condvar,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<(String, Notice)>,
    dropped: u64,
    end: bool,
}

impl Notifier {
    /// Begins. Without a command and a webhook nothing is ever told.
    ///
    /// # Errors
    /// A thread cannot be started.
    pub fn start(config: config::Notify, log: Log) -> io::Result<Notifier> {
        let idle = config.command.is_none() && config.webhook.is_none();
        let shared = Arc::new(Shared { config, log, queue: Mutex::default(), news: Condvar::new() });
        if !idle {
            let worker = shared.clone();
            thread::Builder::new().name("notify".to_owned()).spawn(move || worker.run())?;
        }
        Ok(Notifier { shared })
    }

    /// Lets it be told, sooner or later.
    pub fn tell(&self, mut notice: Notice) {
        if self.shared.config.command.is_none() && self.shared.config.webhook.is_none() {
            return;
        }
        notice.reason = shortened(&notice.reason, limits::NOTICE_TEXT);
        let time = humantime::format_rfc3339_micros(SystemTime::now()).to_string();
        let mut queue = self.shared.queue.lock();
        if queue.waiting.len() == limits::NOTICES {
            queue.waiting.pop_front();
            queue.dropped += 1;
        }
        queue.waiting.push_back((time, notice));
        drop(queue);
        self.shared.news.notify_one();
    }
}

impl Drop for Notifier {
    fn drop(&mut self) {
        self.shared.queue.lock().end = true;
        self.shared.news.notify_one();
    }
}

impl Shared {
    fn run(&self) {
        while let Some((time, notice)) = self.next() {
            let body = match serde_json::to_vec(&Body { schema: 1, time: &time, notice: &notice }) {
                Ok(body) => body,
                Err(error) => {
                    say(&self.log, format!("a notice cannot be written as JSON: {error}"));
                    continue;
                }
            };
            if let Some(command) = &self.config.command {
                self.outcome("the notify command", run(command, &time, &notice, &body));
            }
            if let Some(url) = &self.config.webhook {
                self.outcome("the webhook", post(url, &body));
            }
        }
    }

    fn next(&self) -> Option<(String, Notice)> {
        let mut queue = self.queue.lock();
        loop {
            if queue.end {
                return None;
            }
            let dropped = std::mem::take(&mut queue.dropped);
            if let Some(notice) = queue.waiting.pop_front() {
                drop(queue);
                if dropped > 0 {
                    say(&self.log, format!("{dropped} notices are dropped: telling them is too slow"));
                }
                return Some(notice);
            }
            self.news.wait(&mut queue);
        }
    }

    fn outcome(&self, who: &str, outcome: Result<(), String>) {
        if let Err(why) = outcome {
            say(&self.log, format!("{who} failed, the notice is not told again: {why}"));
        }
    }
}

fn run(command: &[String], time: &str, notice: &Notice, body: &[u8]) -> Result<(), String> {
    let values = [
        ("CLUSTER", &notice.cluster),
        ("NODE", &notice.node),
        ("MODULE", &notice.module),
        ("EVENT", &notice.event),
        ("STATE", &notice.state),
        ("PREVIOUS", &notice.previous),
        ("REASON", &notice.reason),
        ("REASON_CODE", &notice.reason_code),
    ];
    let mut environment: Vec<(String, String)> =
        values.into_iter().map(|(name, value)| (format!("UNDERSTUDY_{name}"), value.clone())).collect();
    environment.push(("UNDERSTUDY_TIME".to_owned(), time.to_owned()));
    let plan = Plan { command: command.iter().map(OsString::from).collect(), environment, folder: "/".into() };
    let Ran { ended, output } = plan.run(Some(body), limits::NOTIFY_COMMAND)?;
    match ended {
        Some(end) if end.well() => Ok(()),
        Some(end) => Err(format!("{} {end}: {}", plan.name(), shortened(&output, limits::SHOWN))),
        None => Err(format!("{} hung for {} and was killed", plan.name(), humantime::format_duration(limits::NOTIFY_COMMAND))),
    }
}

fn post(url: &str, body: &[u8]) -> Result<(), String> {
    let config = ureq::Agent::config_builder().timeout_global(Some(limits::WEBHOOK)).user_agent("understudy").build();
    let answer = ureq::Agent::new_with_config(config).post(url).header("Content-Type", "application/json").send(body);
    answer.map(drop).map_err(|error| format!("{url}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::super::output::Line;
    use super::*;
    use std::fs;
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::path::Path;
    use std::time::{Duration, Instant};

    fn notice(state: &str) -> Notice {
        Notice {
            cluster: "demo".into(),
            node: "node1".into(),
            module: "db".into(),
            event: "state".into(),
            state: state.into(),
            previous: "PRIM".into(),
            reason: "node2 is lost".into(),
            reason_code: "degraded".into(),
        }
    }

    fn log() -> (Log, Arc<Mutex<Vec<String>>>) {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let kept = lines.clone();
        (Arc::new(move |line: Line| kept.lock().push(line.text)), lines)
    }

    fn wait_for(what: &str, holds: impl Fn() -> bool) {
        let end = Instant::now() + Duration::from_secs(60);
        while !holds() {
            assert!(Instant::now() < end, "{what} did not happen");
            thread::sleep(Duration::from_millis(5));
        }
    }

    fn shell(script: String) -> config::Notify {
        config::Notify { command: Some(vec!["sh".into(), "-c".into(), script]), webhook: None }
    }

    fn lines_of(path: &Path) -> usize {
        fs::read_to_string(path).unwrap_or_default().lines().count()
    }

    #[test]
    fn a_command_gets_the_notice_both_ways() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("told");
        let script = format!("{{ cat; echo; echo $UNDERSTUDY_MODULE $UNDERSTUDY_PREVIOUS $UNDERSTUDY_STATE; }} > {}", path.display());
        let notifier = Notifier::start(shell(script), log().0).unwrap();
        notifier.tell(notice("ALONE"));
        wait_for("the command", || lines_of(&path) == 2);
        let told = fs::read_to_string(&path).unwrap();
        let (json, words) = told.split_once('\n').unwrap();
        let json: serde_json::Value = serde_json::from_str(json).unwrap();
        assert_eq!((&json["schema"], &json["state"], &json["reason_code"]), (&1.into(), &"ALONE".into(), &"degraded".into()));
        assert!(humantime::parse_rfc3339(json["time"].as_str().unwrap()).is_ok());
        assert_eq!(words.trim(), "db PRIM ALONE");
    }

    #[test]
    fn what_cannot_be_kept_up_with_is_dropped_and_said() {
        let temp = tempfile::tempdir().unwrap();
        let (path, go) = (temp.path().join("told"), temp.path().join("go"));
        let script = format!("echo $UNDERSTUDY_STATE >> {0}; while [ ! -e {1} ]; do sleep 0.05; done", path.display(), go.display());
        let (log, lines) = log();
        let notifier = Notifier::start(shell(script), log).unwrap();
        notifier.tell(notice("first"));
        wait_for("the first", || lines_of(&path) == 1);
        (0..limits::NOTICES + 3).for_each(|number| notifier.tell(notice(&number.to_string())));
        fs::write(go, "").unwrap();
        wait_for("the others", || lines_of(&path) == limits::NOTICES + 1);
        let told = fs::read_to_string(&path).unwrap();
        assert_eq!(told.lines().nth(1), Some("3"));
        assert!(lines.lock().iter().any(|line| line.starts_with("3 notices are dropped")));
    }

    #[test]
    fn failures_are_said() {
        let (log, lines) = log();
        let mut config = shell("echo no mail here; exit 5".into());
        config.webhook = Some("http://127.0.0.1:1/hook".into());
        let notifier = Notifier::start(config, log).unwrap();
        notifier.tell(notice("ALONE"));
        wait_for("two failures", || lines.lock().len() == 2);
        assert!(lines.lock()[0].contains("exited with status 5: no mail here"), "{:?}", lines.lock());
        assert!(lines.lock()[1].contains("the webhook failed"), "{:?}", lines.lock());
    }

    #[test]
    fn a_webhook_gets_json() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let notifier = Notifier::start(config::Notify { command: None, webhook: Some(url) }, log().0).unwrap();
        notifier.tell(notice("SECOND"));
        let (mut client, _) = listener.accept().unwrap();
        let mut seen = String::new();
        while !seen.ends_with('}') {
            let mut chunk = [0; 4096];
            let read = client.read(&mut chunk).unwrap();
            assert_ne!(read, 0, "{seen}");
            seen.push_str(&String::from_utf8_lossy(&chunk[..read]));
        }
        client.write_all(b"HTTP/1.1 204 Fine\r\n\r\n").unwrap();
        assert!(seen.starts_with("POST /hook") && seen.to_lowercase().contains("content-type: application/json"));
        assert!(seen.contains("\"state\":\"SECOND\""));
    }

    #[test]
    fn without_anybody_to_tell_nothing_waits() {
        let notifier = Notifier::start(config::Notify::default(), log().0).unwrap();
        (0..1000).for_each(|_| notifier.tell(notice("PRIM")));
        assert!(notifier.shared.queue.lock().waiting.is_empty());
    }
}
