//! `understudy status`: asks the engines of this node.

use crate::args::{Global, StatusArgs};
use crate::{engine, names, output, render};
use fsrepl::node::options::Outcome;
use fsrepl::report::{Failure, FailureKind};
use serde_json::{Value, json};
use std::path::Path;
use std::time::{Duration, SystemTime};

/// An engine answers from memory; one that does not is stuck, and says so sooner than the operator gives up.
const ANSWER: Duration = Duration::from_secs(5);

pub fn run(args: &StatusArgs, global: &Global) -> Outcome {
    let running = engine::list(&global.run)?;
    let replicas = match &args.name {
        Some(word) => vec![engine::call(&global.run, &names::running(word, &running), "status", ANSWER)?],
        None => all(&global.run, &running)?,
    };
    if global.json {
        output::line(&json!({"schema": output::SCHEMA, "modules": replicas}).to_string());
    } else {
        let now = SystemTime::now();
        let blocks: Vec<String> = replicas.iter().map(|replica| render::replica(replica, now)).collect();
        output::text(&blocks.join("\n"));
    }
    Ok(())
}

/// Every replica that answers, and for the others why they do not; a failure if none does.
fn all(run: &Path, running: &[String]) -> Result<Vec<Value>, Failure> {
    let mut replicas = Vec::new();
    let mut last = None;
    for name in running {
        match engine::call(run, name, "status", ANSWER) {
            Ok(replica) => replicas.push(replica),
            Err(failure) => {
                replicas.push(json!({"name": name, "error": failure.to_string()}));
                last = Some(failure);
            }
        }
    }
    let answered = replicas.iter().any(|replica| replica.get("error").is_none());
    match (answered, last) {
        (true, _) => Ok(replicas),
        (false, Some(failure)) => Err(failure),
        (false, None) => Err(Failure::new(
            FailureKind::Unreachable,
            "no status",
            format!("no replica runs here (no control socket in {})", run.display()),
            "start one with `understudy mount` or `understudy receive`, or name the right --run directory",
        )),
    }
}
