//! The secondary: from the command line to a directory that follows a primary, and back.

use super::answers::{self, kept_list, rfc3339, unknown};
use super::control;
use super::cover::ReadOnlyCover;
use super::follow::Follower;
use super::identity::Identity;
use super::listen::listen;
use super::mount::{open_hidden, take_over};
use super::options::{Listen, Outcome, ReceiveOptions};
use super::registry::Registry;
use super::stop::{Stop, Wake};
use super::underneath;
use crate::journal::{self, Journal};
use crate::kept;
use crate::report::{Event, Failure, FailureKind, Reporter};
use serde_json::{Value, json};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

pub(super) fn failed(dir: &Path, why: impl std::fmt::Display) -> Failure {
    Failure::new(
        FailureKind::Failed,
        format!("cannot receive into {}", dir.display()),
        why.to_string(),
        "see the log for what happened before",
    )
}

/// Runs a secondary until it is told to end.
pub fn run(options: ReceiveOptions, report: Reporter) -> Outcome {
    let tree = take_over(&options.dir, &report)?;
    let stop = Stop::listen().map_err(|why| failed(&options.dir, why))?;
    let registry = Registry::new(&options.places.state);
    let identity = Identity::load(&tree)?;
    registry.check(tree.path(), identity.as_ref().map(|identity| identity.set))?;
    let hidden = open_hidden(&tree)?;
    let root = tree.duplicate().map_err(|why| failed(&options.dir, why))?;
    let span = underneath::note_start(&hidden).map_err(|why| failed(&options.dir, why))?;
    let (journal, _) = Journal::open(&hidden, journal::Limits::default()).map_err(|why| failed(&options.dir, why))?;
    kept::tidy(&hidden).map_err(|why| failed(&options.dir, why))?;
    kept::consistent::tidy(&hidden).map_err(|why| failed(&options.dir, why))?;
    let cover = ReadOnlyCover::put(tree.path())?;
    let follower = Follower::new(options.clone(), tree.path().to_path_buf(), (root, hidden), journal, identity, registry, report.clone());
    if let Some(span) = span {
        let looking = follower.clone();
        if let Err(why) = std::thread::Builder::new().name("underneath".into()).spawn(move || looking.look_underneath(span)) {
            tracing::warn!(%why, "nobody looks for changes made while nobody held the directory");
        }
    }
    let answering = follower.clone();
    let control = control::Control::start(&options.places.run, &options.name, move |verb, args| answer(&answering, verb, args));
    let outcome = control.and_then(|control| {
        let outcome = serve(&options, &follower, &stop, &report);
        drop(control);
        outcome
    });
    if outcome.is_ok() {
        underneath::note_stop(follower.hidden()).map_err(|why| failed(&options.dir, why))?;
    }
    for holder in cover.remove()? {
        report(Event::Notice(format!("{holder} still reads {}: it sees the directory as it was covered", options.dir.display())));
    }
    outcome
}

fn serve(options: &ReceiveOptions, follower: &Arc<Follower>, stop: &Stop, report: &Reporter) -> Outcome {
    let listening = listen(follower.clone()).map_err(|why| {
        let what = match &options.listen {
            Listen::Address(address) => format!("cannot listen on {address}"),
            Listen::Handed => "cannot take connections from the daemon".to_owned(),
        };
        Failure::new(FailureKind::Failed, what, why.to_string(), "name an address of this node and a free port with --listen")
    })?;
    report(Event::Ready);
    follower.status.repeat();
    let wake = loop {
        if let Some(wake) = stop.wait(Duration::from_secs(3600)) {
            break wake;
        }
    };
    follower.end();
    listening.stop();
    match wake {
        Wake::Terminate => Ok(()),
        Wake::Fatal(failure) => Err(failure),
    }
}

fn answer(follower: &Arc<Follower>, verb: &str, args: &Value) -> Result<Value, Failure> {
    match verb {
        "status" => {}
        "sync" => {
            let cure = "ask on the primary: it makes both nodes flush";
            return Err(Failure::new(FailureKind::Refused, "cannot sync", "this node is the secondary", cure));
        }
        "watch" => return Ok(watch(follower, args)),
        "seal" => {
            let failed = |why: String| Failure::new(FailureKind::Failed, "cannot end the session", why, "end the engine");
            follower.seal().map_err(failed)?;
            return Ok(json!({ "schema": 1 }));
        }
        "record" => {
            let changed = follower.change(&answers::parse_change(args)?).map_err(|why| answers::stale_change(&why))?;
            return Ok(json!({ "schema": 1, "identity": changed }));
        }
        "verify" => {
            let cure = "ask on the primary: only there can be said what is on its way";
            return Err(Failure::new(FailureKind::Refused, "cannot verify", "this node is the secondary", cure));
        }
        "kept-restore" => {
            let dry_run = args["dry_run"].as_bool().unwrap_or(false);
            let done = follower.put_back(dry_run)?;
            return Ok(json!({ "schema": 1, "dry_run": dry_run, "put_back": done }));
        }
        "kept" => {
            let mut answer = answers::kept(verb, args, follower.hidden(), &follower.options.dir)?;
            answer["consistent"] = json!(follower.consistent());
            return Ok(answer);
        }
        "kept-remove" => return answers::kept(verb, args, follower.hidden(), &follower.options.dir),
        other => return Err(unknown(other)),
    }
    let (line, since) = follower.status.get();
    let (applied, objects) = follower.figures();
    Ok(json!({
        "schema": 1,
        "name": follower.options.name,
        "role": "secondary",
        "directory": follower.options.dir,
        "peer": follower.peer(),
        "state": line.state, "data": line.data, "reason": line.reason, "reason_code": line.reason_code,
        "since": rfc3339(since),
        "generation": follower.generation(),
        "ack": Value::Null,
        "resync": Value::Null,
        "consistent": follower.consistent(),
        "kept": kept_list(follower.hidden(), &follower.options.dir),
        "counters": { "applied": applied, "objects": objects },
    }))
}

/// What a cluster's daemon wants to know, as soon as there is news after the one it has seen.
fn watch(follower: &Arc<Follower>, args: &Value) -> Value {
    let version = follower.status.wait(args["seen"].as_u64().unwrap_or(0), answers::patience(args));
    let (line, since) = follower.status.get();
    let session = follower.has_session();
    json!({
        "schema": 1, "version": version, "pid": std::process::id(), "role": "secondary",
        "state": line.state, "data": line.data, "reason": line.reason, "reason_code": line.reason_code,
        "since": rfc3339(since),
        "serving": true,
        "session": session,
        "in_sync": session && line.reason_code == "in_sync",
        "over": follower.is_sealed(),
        "holding": Value::Null,
        "resync": Value::Null,
        "identity": follower.identity(),
    })
}
