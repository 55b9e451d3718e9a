//! What is known of every module here and on the other nodes: for `status`, for the health answer, for the peers.

use super::node::Node;
use super::snapshot::{Shown, Snapshot, rfc3339};
use crate::NodeId;
use crate::durable;
use crate::failover::{Command, Facts};
use crate::module::events::{Event, EventLog, Kind};
use crate::module::output::Line;
use parking_lot::{Condvar, Mutex};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

/// Of the files of wishes.
const SCHEMA: u64 = 1;
/// A module's log is put aside at this size.
const LOG_BYTES: u64 = 4 << 20;
/// Logs that are kept beside the current one.
const LOGS: u32 = 4;

/// What an operator wants of a module on this node; survives reboots.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Desired {
    /// Form of the file.
    pub schema: u64,
    /// Started.
    pub started: bool,
    /// Automatic failover.
    pub failover: bool,
    /// Checks run.
    pub checks: bool,
    /// A farm's server is drained.
    #[serde(default)]
    pub drained: bool,
    /// A directory that nothing runs on is covered.
    #[serde(default = "yes")]
    pub guard: bool,
}

fn yes() -> bool {
    true
}

impl Default for Desired {
    fn default() -> Desired {
        Desired { schema: SCHEMA, started: false, failover: true, checks: true, drained: false, guard: true }
    }
}

struct Entry {
    shown: Shown,
    desired: Desired,
    log: Option<Arc<EventLog>>,
    /// Of the application, since the daemon runs.
    restarts: u64,
}

/// What another node says.
#[derive(Clone, Debug)]
pub struct Other {
    /// When it said so.
    pub at: Instant,
    /// Its program's version.
    pub version: String,
    /// Digest of its `cluster.toml`.
    pub config_digest: String,
    /// Its modules.
    pub modules: BTreeMap<String, Shown>,
    /// Digests of its modules' folders.
    pub digests: BTreeMap<String, String>,
}

#[derive(Default)]
struct Inner {
    own: BTreeMap<String, Entry>,
    others: BTreeMap<NodeId, Other>,
    version: u64,
}

/// The board.
pub struct Board {
    inner: Mutex<Inner>,
    news: Condvar,
    wishes: PathBuf,
    logs: PathBuf,
}

impl Board {
    /// With the wishes in `state`.
    pub fn new(state: &Path) -> io::Result<Board> {
        let (wishes, logs) = (state.join("desired"), state.join("log"));
        fs::create_dir_all(&wishes)?;
        fs::create_dir_all(&logs)?;
        Ok(Board { inner: Mutex::default(), news: Condvar::new(), wishes, logs })
    }

    fn wish_file(&self, module: &str) -> PathBuf {
        self.wishes.join(format!("{module}.json"))
    }

    /// The file of a module's events.
    pub fn log_file(&self, module: &str) -> PathBuf {
        self.logs.join(format!("{module}.log"))
    }

    /// A module that this node runs, as it begins.
    pub fn add(&self, node: &str, module: &str, snapshot: Snapshot) -> Desired {
        let desired: Desired =
            fs::read(self.wish_file(module)).ok().and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default();
        let log = EventLog::open(&self.log_file(module), node, module, LOG_BYTES, LOGS)
            .map_err(|why| tracing::warn!(module, %why, "no log of events"))
            .ok()
            .map(Arc::new);
        let shown = Shown { facts: None, snapshot: Snapshot { since: rfc3339(SystemTime::now()), ..snapshot } };
        self.inner.lock().own.insert(module.to_owned(), Entry { shown, desired: desired.clone(), log, restarts: 0 });
        desired
    }

    /// A module that this node does not run any more.
    pub fn remove(&self, module: &str) {
        self.inner.lock().own.remove(module);
    }

    /// What a module's thread shows now.
    pub fn publish(&self, node: &Node, module: &str, snapshot: Snapshot, facts: Option<Facts>) {
        let mut inner = self.inner.lock();
        let Some(entry) = inner.own.get_mut(module) else { return };
        let old = &entry.shown.snapshot;
        let moved = old.state != snapshot.state || old.reason_code != snapshot.reason_code;
        let since = if moved { rfc3339(SystemTime::now()) } else { old.since.clone() };
        let shown = Shown { facts, snapshot: Snapshot { since, ..snapshot } };
        if entry.shown == shown {
            return;
        }
        entry.shown = shown;
        inner.version += 1;
        let version = inner.version;
        drop(inner);
        self.news.notify_all();
        node.facts_changed(version);
    }

    /// The module no longer serves: the health answer says so before what follows from it is done, which may take long.
    pub fn withdraw(&self, module: &str) {
        if let Some(entry) = self.inner.lock().own.get_mut(module) {
            entry.shown.snapshot.serves = false;
        }
    }

    /// The health answer; false of what does not run here.
    pub fn serves(&self, module: &str) -> bool {
        self.inner.lock().own.get(module).is_some_and(|entry| entry.shown.snapshot.serves)
    }

    /// The application is started again.
    pub fn restarted(&self, module: &str) {
        if let Some(entry) = self.inner.lock().own.get_mut(module) {
            entry.restarts += 1;
        }
    }

    /// How often it was, since the daemon runs.
    pub fn restarts(&self, module: &str) -> u64 {
        self.inner.lock().own.get(module).map_or(0, |entry| entry.restarts)
    }

    /// One event of a module, into its log.
    pub fn event(&self, module: &str, event: Event) {
        let Some(log) = self.log(module) else { return };
        if let Err(why) = log.append(event) {
            tracing::warn!(module, %why, "an event could not be written to the module's log");
        }
    }

    /// Something that is no change of state.
    pub fn note(&self, module: &str, text: &str, code: &str) {
        tracing::warn!(module, code, "{text}");
        let (reason, reason_code) = (text.to_owned(), code.to_owned());
        self.event(module, Event { kind: Kind::Notice, state: String::new(), reason, reason_code, consequence: String::new() });
    }

    /// A line of the application, or about it.
    pub fn output(&self, module: &str, line: &Line) {
        self.event(module, Event::output(line));
    }

    /// A module's log.
    pub fn log(&self, module: &str) -> Option<Arc<EventLog>> {
        self.inner.lock().own.get(module).and_then(|entry| entry.log.clone())
    }

    /// A command was carried out: what it wants for good is kept.
    pub fn desire(&self, module: &str, command: Command) {
        self.wish(module, |desired| match command {
            Command::Start | Command::Promote(_) => desired.started = true,
            Command::Stop | Command::StopAll => desired.started = false,
            Command::Failover(on) => desired.failover = on,
            Command::Swap | Command::Restart | Command::Reset => {}
        });
    }

    /// Changes what is wanted, on disk when this returns.
    pub fn wish(&self, module: &str, change: impl FnOnce(&mut Desired)) {
        let mut inner = self.inner.lock();
        let Some(entry) = inner.own.get_mut(module) else { return };
        let mut desired = entry.desired.clone();
        change(&mut desired);
        if desired == entry.desired {
            return;
        }
        entry.desired = desired.clone();
        drop(inner);
        let stored =
            serde_json::to_vec(&desired).map_err(io::Error::other).and_then(|text| durable::replace(&self.wish_file(module), &text));
        if let Err(why) = stored {
            tracing::error!(module, %why, "what the operator wants could not be kept: after a restart it is as before");
        }
    }

    /// What is wanted of a module.
    pub fn desired(&self, module: &str) -> Desired {
        self.inner.lock().own.get(module).map(|entry| entry.desired.clone()).unwrap_or_default()
    }

    /// What is shown of a module here.
    pub fn own(&self, module: &str) -> Option<Snapshot> {
        self.inner.lock().own.get(module).map(|entry| entry.shown.snapshot.clone())
    }

    /// Everything here, with the number of its latest change.
    pub fn all(&self) -> (u64, BTreeMap<String, Shown>) {
        let inner = self.inner.lock();
        (inner.version, inner.own.iter().map(|(name, entry)| (name.clone(), entry.shown.clone())).collect())
    }

    /// What another node says, if it ever did.
    pub fn other(&self, node: NodeId) -> Option<Other> {
        self.inner.lock().others.get(&node).cloned()
    }

    /// Another node says this.
    pub fn heard(&self, node: NodeId, other: Other) {
        let mut inner = self.inner.lock();
        inner.others.insert(node, other);
        drop(inner);
        self.news.notify_all();
    }

    /// Waits for any change, at most `patience`.
    pub fn wait(&self, patience: Duration) {
        let mut inner = self.inner.lock();
        self.news.wait_for(&mut inner, patience);
    }
}
