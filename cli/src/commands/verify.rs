//! `understudy verify`: both copies compared while the application runs.

use crate::args::{Global, VerifyArgs};
use crate::replica::Replica;
use crate::{output, render};
use fsrepl::node::options::Outcome;
use fsrepl::report::{Failure, FailureKind};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};
use signal_hook::consts::{SIGINT, SIGTERM};
use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::{Duration, Instant};

const ANSWER: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(100);

pub fn run(args: &VerifyArgs, global: &Global) -> Outcome {
    let replica = Replica::find(&args.name, args.directory.as_deref(), global)?;
    let name = replica.name().to_owned();
    if args.stop {
        let answer = replica.ask("verify-stop", &Value::Null, ANSWER, global)?;
        if global.json {
            output::line(&json!({"schema": output::SCHEMA, "name": name, "stopped": answer["stopped"]}).to_string());
        }
        return Ok(());
    }
    let wish = json!({ "repair": args.repair, "direct": args.direct, "max_rate": args.max_rate });
    let begun = replica.ask("verify", &wish, ANSWER, global)?;
    if args.no_wait {
        if global.json {
            output::line(&named(begun, &name).to_string());
        }
        return Ok(());
    }
    let ended = wait(&replica, args, global)?;
    if global.json {
        output::line(&named(ended.clone(), &name).to_string());
    } else {
        output::text(&render::verified(&ended));
    }
    judge(&name, &ended)
}

fn named(mut value: Value, name: &str) -> Value {
    value["schema"] = output::SCHEMA.into();
    value["name"] = name.into();
    value
}

/// Until it has ended. Whoever interrupts this does not want it to go on.
fn wait(replica: &Replica, args: &VerifyArgs, global: &Global) -> Result<Value, Failure> {
    let interrupted = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        // Without it an interruption leaves the comparison running, and status shows that.
        let _ = signal_hook::flag::register(signal, interrupted.clone());
    }
    let bar = std::io::stderr().is_terminal().then(bar);
    let start = Instant::now();
    let mut stopping = false;
    loop {
        let look = replica.ask("verify-look", &Value::Null, ANSWER, global)?;
        if look["running"] != true {
            if let Some(bar) = &bar {
                bar.finish_and_clear();
            }
            return if stopping && start.elapsed() > args.timeout { Err(late(replica.name(), args)) } else { Ok(look) };
        }
        if let Some(bar) = &bar {
            bar.set_length(look["objects_total"].as_u64().unwrap_or(0));
            bar.set_position(look["objects_done"].as_u64().unwrap_or(0));
            bar.set_message(render::verifying(&look));
        }
        if !stopping && (interrupted.load(SeqCst) || start.elapsed() > args.timeout) {
            stopping = true;
            replica.ask("verify-stop", &Value::Null, ANSWER, global)?;
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

fn bar() -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} objects  {msg}").unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(0).with_style(style)
}

fn late(name: &str, args: &VerifyArgs) -> Failure {
    let why = format!("it was not done after {}", humantime::format_duration(args.timeout));
    Failure::new(FailureKind::TimedOut, format!("{name} is not verified"), why, "give it a longer --timeout")
}

/// What the end of a verify means to whoever asked for it.
fn judge(name: &str, ended: &Value) -> Outcome {
    let number = |key: &str| ended[key].as_u64().unwrap_or(0);
    let (count, left) = (number("difference_count"), number("left_count"));
    match ended["phase"].as_str().unwrap_or_default() {
        "done" if count == 0 => Ok(()),
        "done" => {
            let repaired = !ended["left_count"].is_null();
            let (why, cure) = match (repaired, left) {
                (false, _) => {
                    (format!("{count} differences were found"), format!("`understudy verify {name} --repair` sends them again from here"))
                }
                (true, 0) => {
                    (format!("{count} differences were found, and have been repaired"), "find out what changed the other copy".into())
                }
                (true, _) => (
                    format!("{count} differences were found, and {left} are left after they were sent again"),
                    "look at the other server's log and disk".into(),
                ),
            };
            Err(Failure::new(FailureKind::Differs, format!("the copies of {name} differed"), why, cure))
        }
        "stopped" => {
            Err(Failure::new(FailureKind::Failed, format!("{name} is not verified"), "it was stopped", "start it again when there is time"))
        }
        _ => {
            let why = ended["reason"].as_str().unwrap_or("no reason given").to_owned();
            Err(Failure::new(
                FailureKind::Failed,
                format!("{name} is not verified"),
                why,
                "look at `understudy status`, and start it again",
            ))
        }
    }
}
