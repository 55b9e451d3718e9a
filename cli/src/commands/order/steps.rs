//! What happens to a module while an order is carried out, as all of its nodes log it.

use crate::args::Global;
use crate::{node, output, render};
use cluster::module::events::{Entry, Kind};
use serde_json::{Value, json};
use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

/// A node is asked for what comes within this time.
const WAIT: Duration = Duration::from_secs(1);
/// Before a node that did not answer is asked again.
const AGAIN: Duration = Duration::from_millis(500);
/// Events taken at once.
const AT_ONCE: u64 = 200;

/// The logs that are followed, and what was in them.
pub struct Steps {
    news: Receiver<Entry>,
    stop: Arc<AtomicBool>,
    seen: Vec<Entry>,
    json: bool,
    shown: bool,
}

impl Steps {
    /// From this moment on: called before the order is given, so that nothing of it is missed.
    pub fn follow(module: &str, nodes: &[String], global: &Global) -> Steps {
        let (sender, news) = channel();
        let stop = Arc::new(AtomicBool::new(false));
        for name in nodes {
            // One that cannot be asked tells nothing; the order itself says why.
            let Ok(answer) = node::ask(global, "log", &json!({ "module": module, "node": name, "count": 0 }), node::ANSWER) else {
                continue;
            };
            let after = answer["position"].as_u64().unwrap_or(0);
            let one =
                One { module: module.to_owned(), node: name.clone(), global: global.clone(), sender: sender.clone(), stop: stop.clone() };
            std::thread::spawn(move || one.run(after));
        }
        Steps { news, stop, seen: Vec::new(), json: global.json, shown: global.json || std::io::stdout().is_terminal() }
    }

    /// Takes what comes within `patience`, and shows it.
    pub fn take(&mut self, patience: Duration) -> &[Entry] {
        let first = self.news.recv_timeout(patience).ok();
        let more: Vec<Entry> = first.into_iter().chain(self.news.try_iter()).collect();
        for entry in more {
            if self.shown {
                show(&entry, self.json);
            }
            self.seen.push(entry);
        }
        &self.seen
    }

    /// What was seen last that was no mere notice: the reason of an order that did not end.
    pub fn last(&self) -> Option<&Entry> {
        self.seen.iter().rev().find(|entry| entry.kind == Kind::State)
    }
}

impl Drop for Steps {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn show(entry: &Entry, json: bool) {
    if entry.kind == Kind::Output {
        return;
    }
    if json {
        let mut value = json!(entry);
        value["event"] = "step".into();
        value["schema"] = output::SCHEMA.into();
        output::line(&value.to_string());
    } else {
        output::line(&render::event::step(entry));
    }
}

/// The log of one node.
struct One {
    module: String,
    node: String,
    global: Global,
    sender: Sender<Entry>,
    stop: Arc<AtomicBool>,
}

impl One {
    fn run(&self, mut after: u64) {
        while !self.stop.load(Ordering::Relaxed) {
            let args =
                json!({ "module": self.module, "node": self.node, "after": after, "count": AT_ONCE, "wait_ms": WAIT.as_millis() as u64 });
            let Ok(answer) = node::ask(&self.global, "log", &args, node::ANSWER) else {
                std::thread::sleep(AGAIN);
                continue;
            };
            for entry in entries(&answer) {
                after = after.max(entry.seq);
                if self.sender.send(entry).is_err() {
                    return;
                }
            }
        }
    }
}

/// The events of an answer; what a newer daemon says in another form is passed over.
pub fn entries(answer: &Value) -> Vec<Entry> {
    let events = answer["events"].as_array().cloned().unwrap_or_default();
    events.into_iter().filter_map(|event| serde_json::from_value(event).ok()).collect()
}
