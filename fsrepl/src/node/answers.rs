//! Answers on the control socket.

use super::change::Change;
use super::estimate::estimate;
use super::identity::hidden_directory;
use super::supervise::Shared;
use crate::apply::Outlet;
use crate::kept;
use crate::limits::WATCH_MOST;
use crate::op::kind;
use crate::replica::primary::Mode;
use crate::report::{Failure, FailureKind};
use crate::resync::Progress;
use crossbeam::channel::bounded;
use rustix::fd::OwnedFd;
use serde_json::{Value, json};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::time::SystemTime;
use uuid::Uuid;

pub(super) fn unknown(verb: &str) -> Failure {
    Failure::new(
        FailureKind::Usage,
        format!("cannot answer `{verb}`"),
        "this engine does not know it",
        "use the same version of understudy",
    )
}

/// A time in RFC 3339 with fractions.
pub(super) fn rfc3339(time: SystemTime) -> String {
    humantime::format_rfc3339_millis(time).to_string()
}

fn resync(progress: &Progress) -> Value {
    let get = |value: &std::sync::atomic::AtomicU64| value.load(Relaxed);
    json!({
        "phase": if progress.names.load(Relaxed) { "names" } else { "content" },
        "bytes_total": get(&progress.bytes.0),
        "bytes_done": get(&progress.bytes.1),
        "bytes_sent": get(&progress.bytes.2),
        "files_total": get(&progress.files.0),
        "files_done": get(&progress.files.1),
        "rate_bytes_per_second": progress.rate(),
        "eta_seconds": progress.eta(),
    })
}

pub(super) fn primary(shared: &Arc<Shared>, verb: &str, args: &Value) -> Result<Value, Failure> {
    match verb {
        "status" => Ok(primary_status(shared)),
        "watch" => Ok(watch(shared, args)),
        "record" => record(shared, args),
        "fence" => {
            tracing::warn!("this node may no longer serve: everything is answered with an error");
            shared.fence();
            Ok(json!({ "schema": 1 }))
        }
        "degrade" => degrade(shared, args),
        "renew" => renew(shared, args),
        "dial" => {
            shared.retry.ring();
            Ok(json!({ "schema": 1 }))
        }
        "sync" => sync(shared),
        "estimate" => Ok(json!(estimate(&shared.volume.objects, &shared.journal.dirty()))),
        "resync" => resync_now(shared, args["full"].as_bool().unwrap_or(false)),
        "kept" | "kept-remove" => kept(verb, args, &hidden_of(shared)?, &shared.options.dir),
        "verify" | "verify-look" | "verify-stop" => super::verify::answer(shared, verb, args),
        other => Err(unknown(other)),
    }
}

/// Begins a session anew; with `full` it compares everything, whatever the change tracking says.
fn resync_now(shared: &Arc<Shared>, full: bool) -> Result<Value, Failure> {
    shared.full_wanted.fetch_or(full, SeqCst);
    let words = if full { "a full compare was asked for" } else { "a resync was asked for" };
    shared.primary.drop_peer(words, "asked");
    Ok(json!({ "schema": 1, "full": full }))
}

fn hidden_of(shared: &Arc<Shared>) -> Result<OwnedFd, Failure> {
    hidden_directory(&shared.root).map_err(|why| cannot_keep(&why))
}

fn cannot_keep(why: &std::io::Error) -> Failure {
    Failure::new(FailureKind::Failed, "cannot look at kept trees", why.to_string(), "check the file system of the directory")
}

/// The trees kept in a replica, with where they are.
pub(super) fn kept_list(hidden: &OwnedFd, dir: &Path) -> Value {
    let all = kept::list(hidden).unwrap_or_else(|why| {
        tracing::warn!(%why, "kept trees cannot be listed");
        Vec::new()
    });
    let place = dir.join(crate::apply::HIDDEN).join("kept");
    all.iter()
        .map(|tree| {
            let mut value = json!(tree);
            value["path"] = json!(place.join(&tree.id).join("tree"));
            value
        })
        .collect()
}

/// `kept` and `kept-remove`.
pub(super) fn kept(verb: &str, args: &Value, hidden: &OwnedFd, dir: &Path) -> Result<Value, Failure> {
    if verb == "kept" {
        return Ok(json!({ "schema": 1, "kept": kept_list(hidden, dir) }));
    }
    let id = args["id"].as_str().unwrap_or_default();
    match kept::remove(hidden, id) {
        Ok(true) => {
            tracing::info!(id, "a kept tree was removed on request");
            Ok(json!({ "schema": 1, "removed": id }))
        }
        Ok(false) => Err(Failure::new(
            FailureKind::Failed,
            format!("cannot remove {id}"),
            "nothing of that name is kept",
            "`understudy kept` lists what is",
        )),
        Err(why) => Err(cannot_keep(&why)),
    }
}

/// How long a question for news waits.
pub(super) fn patience(args: &Value) -> std::time::Duration {
    std::time::Duration::from_millis(args["wait_ms"].as_u64().unwrap_or(0)).min(WATCH_MOST)
}

/// What a cluster's daemon wants to know, as soon as there is news after the one it has seen.
fn watch(shared: &Arc<Shared>, args: &Value) -> Value {
    let version = shared.status.wait(args["seen"].as_u64().unwrap_or(0), patience(args));
    let (line, since) = shared.status.get();
    let holding = shared.holding.lock().as_ref().map(|(since, why)| json!({ "seconds": since.elapsed().as_secs_f64(), "reason": why }));
    json!({
        "schema": 1, "version": version, "pid": std::process::id(), "role": "primary",
        "state": line.state, "data": line.data, "reason": line.reason, "reason_code": line.reason_code,
        "since": rfc3339(since),
        "serving": shared.mounted.load(SeqCst),
        "session": shared.primary.attached().is_some(),
        "in_sync": shared.primary.mode() == Mode::Mirror && line.state == crate::report::State::Prim,
        "over": shared.fenced.load(SeqCst),
        "holding": holding,
        "resync": shared.progress.lock().as_ref().map(|progress| resync(progress)),
        "identity": *shared.identity.lock(),
    })
}

fn generation(args: &Value) -> Result<Uuid, Failure> {
    let from = args["from"].as_str().and_then(|text| Uuid::parse_str(text).ok());
    from.ok_or_else(|| Failure::new(FailureKind::Usage, "cannot go on", "no generation is named", "use the same version of understudy"))
}

/// Another replica of the module goes on from the generation `from` without its secondary. When this returns, this one
/// acknowledges nothing that the secondary follows beyond what it has: it begins a new generation, or has done so already.
fn degrade(shared: &Arc<Shared>, args: &Value) -> Result<Value, Failure> {
    let from = generation(args)?;
    let identity = shared.identity.lock().clone();
    if identity.current == from {
        shared.renew(from);
    } else if !identity.history.contains(&from) {
        return Err(Failure::new(FailureKind::Refused, "cannot go on", "this replica is not at that generation yet", "ask again"));
    }
    Ok(json!({ "schema": 1 }))
}

/// A replica that keeps pace with this one wants to go on from the generation `from`: the generation that this one has begun
/// since, and what lies between; null until it has.
/// With why, where it never will.
fn renew(shared: &Arc<Shared>, args: &Value) -> Result<Value, Failure> {
    let from = generation(args)?;
    let identity = shared.identity.lock().clone();
    if identity.current == from {
        let (line, _) = shared.status.get();
        let refused = (line.state == crate::report::State::Wait && line.reason_code == "failed").then_some(line.reason);
        shared.renew(from);
        return Ok(json!({ "schema": 1, "generation": null, "refused": refused }));
    }
    match identity.history.iter().position(|past| *past == from) {
        Some(at) => Ok(json!({ "schema": 1, "generation": identity.current, "superseded": identity.history[..at] })),
        None => Err(Failure::new(FailureKind::Refused, "cannot go on", "this replica was never at that generation", "")),
    }
}

/// A change that a cluster wants recorded.
fn record(shared: &Arc<Shared>, args: &Value) -> Result<Value, Failure> {
    let change = parse_change(args)?;
    if change.ends_session() && !shared.fenced.load(SeqCst) {
        let cure = "stop the application and its engine first";
        return Err(Failure::new(FailureKind::Refused, "cannot give up this history", "this node serves it", cure));
    }
    if !change.fits(&shared.identity.lock()) {
        return Err(stale_change("it was meant for another session or generation"));
    }
    shared.store_identity(|identity| change.apply(identity))?;
    Ok(json!({ "schema": 1, "identity": *shared.identity.lock() }))
}

pub(super) fn stale_change(why: &str) -> Failure {
    Failure::new(FailureKind::Refused, "cannot record a change", why, "")
}

pub(super) fn parse_change(args: &Value) -> Result<Change, Failure> {
    serde_json::from_value(args["change"].clone())
        .map_err(|why| Failure::new(FailureKind::Usage, "cannot record a change", why.to_string(), "use the same version of understudy"))
}

fn primary_status(shared: &Arc<Shared>) -> Value {
    let (line, since) = shared.status.get();
    let (seq, acked) = shared.primary.progress();
    let identity = shared.identity.lock().clone();
    let journal = shared.journal.counters();
    let counters = &shared.primary.counters;
    json!({
        "schema": 1,
        "name": shared.options.name,
        "role": "primary",
        "directory": shared.options.dir,
        "peer": shared.options.peer(),
        "state": line.state, "data": line.data, "reason": line.reason, "reason_code": line.reason_code,
        "since": rfc3339(since),
        "generation": identity.current,
        "ack": format!("{:?}", shared.options.ack).to_lowercase(),
        "resync": shared.progress.lock().as_ref().map(|progress| resync(progress)),
        "verify": shared.verify.brief(),
        "kept": hidden_of(shared).map_or(Value::Null, |hidden| kept_list(&hidden, &shared.options.dir)),
        "counters": {
            "sequence": seq, "acknowledged": acked,
            "operations_sent": counters.operations.load(Relaxed),
            "bytes_sent": counters.bytes.load(Relaxed),
            "objects": shared.volume.objects.table.len(),
            "dirty_log_flushes": journal.flushes,
            "dirty_log_hot_hits": journal.hot_hits,
            "dirty_log_slots": journal.slots_used,
        },
    })
}

/// Everything written so far is on stable storage, on both nodes if the pair is a mirror.
fn sync(shared: &Arc<Shared>) -> Result<Value, Failure> {
    let failed = |why: String| Failure::new(FailureKind::Failed, "cannot sync", why, "see the engine's log");
    shared.volume.objects.write_old_times(0);
    let (sender, answered) = bounded(1);
    let both = shared.primary.mode() == Mode::Mirror;
    shared.primary.request(kind::SYNC_ALL, (shared.volume.objects.table.floor(), 0), sender);
    crate::sys::syncfs(&shared.root).map_err(|why| failed(why.to_string()))?;
    shared.primary.help();
    match answered.recv_timeout(crate::limits::SYNC_PATIENCE) {
        Ok(Ok(())) => Ok(json!({ "schema": 1, "nodes": if both && shared.primary.mode() == Mode::Mirror { 2 } else { 1 } })),
        Ok(Err(why)) => Err(failed(why.to_string())),
        Err(_) => Err(Failure::new(FailureKind::TimedOut, "cannot sync", "the secondary's disk has not answered", "try again")),
    }
}
