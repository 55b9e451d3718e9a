//! `understudy resync`: now instead of when it is due; and what it would take.

use crate::args::{Global, ResyncArgs};
use crate::replica::Replica;
use crate::{output, render};
use fsrepl::node::options::Outcome;
use fsrepl::report::{Failure, FailureKind};
use serde_json::{Value, json};
use std::io::IsTerminal;
use std::time::{Duration, Instant};

const ANSWER: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(200);

pub fn run(args: &ResyncArgs, global: &Global) -> Outcome {
    let replica = Replica::find(&args.name, global)?;
    let name = replica.name();
    if args.estimate || args.dry_run {
        let mut estimate = replica.ask("estimate", &Value::Null, ANSWER, global)?;
        if global.json {
            estimate["schema"] = output::SCHEMA.into();
            estimate["name"] = name.into();
            output::line(&estimate.to_string());
        } else {
            output::line(&render::estimate(&estimate));
        }
        return Ok(());
    }
    let start = Instant::now();
    replica.ask("resync", &json!({ "full": args.full }), ANSWER, global)?;
    if !args.no_wait {
        wait(&replica, args, global, start)?;
    }
    if global.json {
        let seconds = start.elapsed().as_secs_f64();
        output::line(&json!({"schema": output::SCHEMA, "name": name, "in_sync": !args.no_wait, "seconds": seconds}).to_string());
    }
    Ok(())
}

/// Until the pair is a mirror again. The engine answers `resync` before the old session ends, so the first look
/// waits for the new one to have begun.
fn wait(replica: &Replica, args: &ResyncArgs, global: &Global, start: Instant) -> Outcome {
    let bar = std::io::stderr().is_terminal().then(|| indicatif::ProgressBar::new_spinner().with_message("connecting"));
    let mut began = false;
    loop {
        let status = replica.ask("status", &Value::Null, ANSWER, global)?;
        began |= status["state"] != "PRIM" || start.elapsed() > Duration::from_secs(2);
        if began && status["state"] == "PRIM" {
            return Ok(());
        }
        if let Some(bar) = &bar {
            bar.set_message(if status["resync"].is_null() { "connecting".into() } else { render::progress(&status["resync"]) });
            bar.tick();
        }
        if start.elapsed() > args.timeout {
            let why = status["reason"].as_str().unwrap_or("no reason given").to_owned();
            return Err(Failure::new(
                FailureKind::TimedOut,
                format!("{} is not in sync yet", replica.name()),
                why,
                "look again with `understudy status`",
            ));
        }
        std::thread::sleep(LOOK_EVERY);
    }
}
