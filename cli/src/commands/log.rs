//! `understudy log`: what happened to a module.

use super::order::steps::entries;
use crate::args::{Global, LogArgs};
use crate::{node, output, render};
use cluster::module::events::{self, Entry};
use fsrepl::node::options::Outcome;
use fsrepl::report::Failure;
use serde_json::{Value, json};
use std::time::Duration;

/// The daemon waits so long for something new.
const WAIT: Duration = Duration::from_secs(10);
/// Before a daemon that went away is asked again.
const AGAIN: Duration = Duration::from_secs(1);

pub fn run(args: &LogArgs, global: &Global) -> Outcome {
    let asked = node::ask(global, "log", &request(args, json!({ "count": args.lines })), node::ANSWER);
    let answer = match asked {
        Ok(answer) => answer,
        Err(failure) if node::is_away(&failure) && !args.follow && args.node.is_none() => return from_file(args, global, failure),
        Err(failure) => return Err(failure),
    };
    entries(&answer).iter().for_each(|entry| show(entry, global.json));
    if args.follow { follow(args, answer["position"].as_u64().unwrap_or(0), global) } else { Ok(()) }
}

fn request(args: &LogArgs, mut more: Value) -> Value {
    more["module"] = json!(args.module);
    more["node"] = json!(args.node);
    more
}

/// What was written is there without a daemon as well.
fn from_file(args: &LogArgs, global: &Global, away: Failure) -> Outcome {
    let file = global.state.join("log").join(format!("{}.log", args.module));
    if args.module.contains('/') || !file.is_file() {
        return Err(away);
    }
    let count = args.lines as usize;
    let found = events::read(&file, count).map_err(|why| Failure { why: format!("{}; its file: {why}", away.why), ..away })?;
    found.iter().for_each(|entry| show(entry, global.json));
    Ok(())
}

/// Until it is interrupted.
fn follow(args: &LogArgs, mut after: u64, global: &Global) -> Outcome {
    loop {
        let wait = json!({ "after": after, "count": 1000, "wait_ms": WAIT.as_millis() as u64 });
        match node::ask(global, "log", &request(args, wait), node::ANSWER) {
            Ok(answer) => {
                for entry in entries(&answer) {
                    after = after.max(entry.seq);
                    show(&entry, global.json);
                }
            }
            Err(failure) => {
                tracing::debug!(%failure, "asked again soon");
                std::thread::sleep(AGAIN);
            }
        }
    }
}

fn show(entry: &Entry, as_json: bool) {
    output::line(&if as_json { json!(entry).to_string() } else { render::event::logged(entry) });
}
