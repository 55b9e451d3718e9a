//! `verify` on the primary: one at a time, in a thread of its own. What it found stays until the next one.
//!
//! A repair marks what differs, durably, and begins a session anew: the resync heals what is marked, and then those
//! objects are compared once more.

use super::connect::Bulk;
use super::supervise::Shared;
use crate::id::ObjectId;
use crate::limits::{HANDSHAKE_TIMEOUT, VERIFY_REPAIR};
use crate::report::{Failure, FailureKind};
use crate::verify::{Broken, Difference, Found, Manner, Progress, Verify};
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed, Ordering::SeqCst};
use std::time::{Duration, Instant};

/// Code of the loss that a repair begins with.
const REPAIR: &str = "verify_repair";

/// The verify of one replica.
#[derive(Default)]
pub(super) struct Slot(Mutex<Option<Arc<Job>>>);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Comparing,
    Repairing,
    Done,
    Failed,
    Stopped,
}

impl Phase {
    fn word(self) -> &'static str {
        match self {
            Phase::Comparing => "comparing",
            Phase::Repairing => "repairing",
            Phase::Done => "done",
            Phase::Failed => "failed",
            Phase::Stopped => "stopped",
        }
    }

    fn runs(self) -> bool {
        matches!(self, Phase::Comparing | Phase::Repairing)
    }
}

struct State {
    phase: Phase,
    /// Why it failed.
    reason: Option<String>,
    listed: Vec<Difference>,
    count: u64,
    /// After a repair: how many of them are left.
    left: Option<u64>,
    seconds: Option<f64>,
}

struct Job {
    manner: Manner,
    repair: bool,
    progress: Progress,
    stop: AtomicBool,
    state: Mutex<State>,
}

impl Job {
    fn new(manner: Manner, repair: bool) -> Job {
        let state = State { phase: Phase::Comparing, reason: None, listed: Vec::new(), count: 0, left: None, seconds: None };
        Job { manner, repair, progress: Progress::default(), stop: AtomicBool::new(false), state: Mutex::new(state) }
    }

    fn runs(&self) -> bool {
        self.state.lock().phase.runs()
    }

    fn end(&self, outcome: Result<(), Broken>) {
        let mut state = self.state.lock();
        state.seconds = Some(self.progress.seconds());
        match outcome {
            Ok(()) => state.phase = Phase::Done,
            Err(Broken::Stopped) => state.phase = Phase::Stopped,
            Err(why) => {
                state.phase = Phase::Failed;
                state.reason = Some(why.to_string());
            }
        }
    }

    /// Without the list.
    fn brief(&self) -> Value {
        let (progress, state) = (&self.progress, self.state.lock());
        let running = state.phase.runs();
        json!({
            "schema": 1,
            "phase": state.phase.word(),
            "running": running,
            "reason": state.reason,
            "direct": self.manner.direct,
            "repair": self.repair,
            "objects_total": progress.objects.0.load(Relaxed),
            "objects_done": progress.objects.1.load(Relaxed),
            "bytes_done": progress.bytes.load(Relaxed),
            "rate_bytes_per_second": progress.rate(),
            "eta_seconds": if running { progress.eta() } else { None },
            "rechecked": progress.rechecked.load(Relaxed),
            "difference_count": if running { progress.differences.load(Relaxed) } else { state.count },
            "left_count": state.left,
            "seconds": state.seconds.unwrap_or_else(|| progress.seconds()),
        })
    }

    fn full(&self) -> Value {
        let mut value = self.brief();
        value["differences"] = json!(self.state.lock().listed);
        value
    }
}

impl Slot {
    /// For status: null if none was asked for since the engine started.
    pub(super) fn brief(&self) -> Value {
        self.0.lock().as_ref().map_or(Value::Null, |job| job.brief())
    }

    /// Ends what runs, soon.
    pub(super) fn stop(&self) -> bool {
        let job = self.0.lock().clone();
        job.is_some_and(|job| {
            job.stop.store(true, SeqCst);
            job.runs()
        })
    }
}

fn refused(why: impl Into<String>, cure: &str) -> Failure {
    Failure::new(FailureKind::Refused, "cannot verify", why, cure)
}

/// Answers `verify`, `verify-look` and `verify-stop`.
pub(super) fn answer(shared: &Arc<Shared>, verb: &str, args: &Value) -> Result<Value, Failure> {
    match verb {
        "verify" => begin(shared, args),
        "verify-stop" => Ok(json!({ "schema": 1, "stopped": shared.verify.stop() })),
        _ => shared
            .verify
            .0
            .lock()
            .as_ref()
            .map(|job| job.full())
            .ok_or_else(|| refused("none was asked for since this engine started", "start one with `understudy verify NAME`")),
    }
}

fn begin(shared: &Arc<Shared>, args: &Value) -> Result<Value, Failure> {
    if shared.mirrored().is_none() {
        let why = format!("the pair is not in sync ({})", shared.status.get().0.reason);
        return Err(refused(why, "wait for the state PRIM: a resync compares what differs by itself"));
    }
    let mut slot = shared.verify.0.lock();
    if slot.as_ref().is_some_and(|job| job.runs()) {
        return Err(refused("one is running", "wait for its end, or stop it with `understudy verify NAME --stop`"));
    }
    let flag = |key: &str| args[key].as_bool().unwrap_or(false);
    let manner = Manner { direct: flag("direct"), max_rate: args["max_rate"].as_u64().unwrap_or(0) };
    let job = Arc::new(Job::new(manner, flag("repair")));
    let (own, shared) = (job.clone(), shared.clone());
    let work = move || {
        let outcome = work(&shared, &own);
        if let Err(why) = &outcome {
            tracing::warn!(%why, "the verify ended before its end");
        }
        own.end(outcome);
    };
    let started = std::thread::Builder::new().name("verify".into()).spawn(work);
    started.map_err(|why| Failure::new(FailureKind::Failed, "cannot verify", why.to_string(), "try again"))?;
    let brief = job.brief();
    *slot = Some(job);
    Ok(brief)
}

fn work(shared: &Arc<Shared>, job: &Job) -> Result<(), Broken> {
    let found = compare(shared, job, &job.progress, None)?;
    {
        let mut state = job.state.lock();
        (state.listed, state.count) = (found.listed.clone(), found.count);
    }
    if found.count == 0 {
        tracing::info!(objects = job.progress.objects.1.load(Relaxed), "verify: both copies are equal");
        return Ok(());
    }
    let first: Vec<&str> = found.listed.iter().take(5).map(|difference| difference.path.as_str()).collect();
    tracing::error!(differences = found.count, paths = ?first, "verify: the copies differ");
    if !job.repair {
        return Ok(());
    }
    job.state.lock().phase = Phase::Repairing;
    repair(shared, job, &found)?;
    let again = compare(shared, job, &Progress::default(), Some(&found.objects()))?;
    tracing::info!(repaired = found.count - again.count.min(found.count), left = again.count, "verify: what differed was sent again");
    job.state.lock().left = Some(again.count);
    Ok(())
}

/// One walk over everything, or over these objects.
fn compare(shared: &Arc<Shared>, job: &Job, progress: &Progress, only: Option<&[ObjectId]>) -> Result<Found, Broken> {
    let mut bulk = take_bulk(shared)?;
    let verify = Verify::new(&shared.volume, &shared.primary, &mut bulk, job.manner, progress, &job.stop);
    let found = match only {
        None => verify.run(),
        Some(ids) => verify.only(ids),
    };
    // A connection that failed is of no use to the next one.
    if !matches!(found, Err(Broken::Gone(_))) {
        give_back(shared, bulk);
    }
    found
}

/// A session that has just become a mirror puts its connection there in a moment.
fn take_bulk(shared: &Arc<Shared>) -> Result<Bulk, Broken> {
    let until = Instant::now() + HANDSHAKE_TIMEOUT;
    while shared.mirrored().is_some() {
        if Instant::now() > until {
            return Err(Broken::Gone("the connection for questions is gone: `understudy resync NAME` makes another one".into()));
        }
        let bulk = shared.bulk.lock().take();
        if let Some(bulk) = bulk.filter(|bulk| bulk.epoch() == shared.mirrored()) {
            return Ok(bulk);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Err(Broken::Gone("the pair is not in sync any more".into()))
}

/// For the next one, unless its session is over.
fn give_back(shared: &Arc<Shared>, bulk: Bulk) {
    let mut place = shared.bulk.lock();
    if place.is_none() && shared.mirrored() == bulk.epoch() {
        *place = Some(bulk);
    }
}

/// Marks what differs, and waits until a resync has healed it.
fn repair(shared: &Arc<Shared>, job: &Job, found: &Found) -> Result<(), Broken> {
    let before = shared.mirrored();
    let op = shared.journal.begin();
    op.mark_keys(found.marks().into_iter()).map_err(|why| {
        let errno = rustix::io::Errno::from_io_error(&why).unwrap_or(rustix::io::Errno::IO);
        Broken::Local("change tracking".into(), errno)
    })?;
    // Before the session ends: a checkpoint that is under way must not take the marks for healed.
    shared.journal.alone();
    shared.primary.drop_peer("verify found differences: they are sent again", REPAIR);
    drop(op);
    let until = Instant::now() + VERIFY_REPAIR;
    loop {
        let now = shared.mirrored();
        if now.is_some() && now != before {
            return Ok(());
        }
        if job.stop.load(SeqCst) || shared.ending.load(SeqCst) {
            return Err(Broken::Stopped);
        }
        if Instant::now() > until {
            return Err(Broken::Gone("the pair did not get in sync again".into()));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}
