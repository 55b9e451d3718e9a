//! `understudy resync`: now instead of when it is due; and what it would take.

use crate::args::{Global, ResyncArgs};
use crate::replica::Replica;
use crate::{output, render};
use fsrepl::node::options::Outcome;
use fsrepl::report::{Failure, FailureKind};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};
use std::io::IsTerminal;
use std::time::{Duration, Instant};

const ANSWER: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(200);

pub fn run(args: &ResyncArgs, global: &Global) -> Outcome {
    let replica = Replica::find(&args.name, args.directory.as_deref(), global)?;
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
    let bar = std::io::stderr().is_terminal().then(bar);
    let mut began = false;
    loop {
        let status = replica.ask("status", &Value::Null, ANSWER, global)?;
        began |= status["state"] != "PRIM" || start.elapsed() > Duration::from_secs(2);
        if began && status["state"] == "PRIM" {
            if let Some(bar) = &bar {
                bar.finish_and_clear();
            }
            return Ok(());
        }
        if let Some(bar) = &bar {
            show(bar, &status);
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

fn bar() -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:30} {msg}").unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(0).with_style(style).with_message("connecting")
}

/// Bytes are what takes the time; where there are none, objects.
fn show(bar: &ProgressBar, status: &Value) {
    let resync = &status["resync"];
    if resync.is_null() {
        return bar.set_message(status["reason"].as_str().unwrap_or("connecting").to_owned());
    }
    let number = |key: &str| resync[key].as_u64().unwrap_or(0);
    let bytes = number("bytes_total") > 0;
    let (all, done) = if bytes { ("bytes_total", "bytes_done") } else { ("files_total", "files_done") };
    bar.set_length(number(all));
    bar.set_position(number(done).min(number(all)));
    bar.set_message(render::progress(resync));
}
