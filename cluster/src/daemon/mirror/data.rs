//! What this node's replica is: asked of the engine while one runs, read from its directory otherwise.

use super::super::node::Node;
use crate::config::Module;
use crate::engine;
use crate::replica::Replica;
use fsrepl::kept::consistent::Done;
use fsrepl::node::change::Change;
use fsrepl::node::cover::ReadOnlyCover;
use fsrepl::node::identity::Identity;
use fsrepl::node::offline::Offline;
use fsrepl::node::stale;
use fsrepl::report::{Failure, FailureKind};
use std::path::{Path, PathBuf};
use uuid::Uuid;

/// The replica of one module.
#[derive(Debug)]
pub struct Disk {
    directory: PathBuf,
    state: PathBuf,
    run: PathBuf,
    module: String,
    boot: String,
    durable: bool,
    /// As it was last seen.
    pub identity: Option<Identity>,
    /// Why it could not be read.
    pub fault: Option<String>,
}

impl Disk {
    pub fn new(node: &Node, module: &Module, directory: &Path) -> Disk {
        Disk {
            directory: directory.to_owned(),
            state: node.home.state.clone(),
            run: node.home.run.clone(),
            module: module.name.clone(),
            boot: node.boot.clone(),
            durable: module.ack == fsrepl::node::options::Ack::Disk,
            identity: None,
            fault: None,
        }
    }

    /// For the decisions.
    pub fn replica(&self) -> Replica {
        self.identity.as_ref().map_or_else(Replica::default, |identity| Replica::of(identity, &self.boot, self.durable))
    }

    /// The set that the module is; none before the first copy.
    pub fn set(&self) -> Option<Uuid> {
        self.identity.as_ref().map(|identity| identity.set)
    }

    /// Reads it where no engine runs.
    pub fn read(&mut self) {
        match Offline::open(&self.directory, &self.state) {
            Ok(offline) => {
                self.identity = offline.identity().cloned();
                self.fault = None;
            }
            Err(failure) => {
                let why = failure.to_string();
                if self.fault.as_ref() != Some(&why) {
                    tracing::warn!(module = self.module, why, "the replica cannot be read");
                }
                self.fault = Some(why);
            }
        }
    }

    /// Puts the state from before an unfinished resync back; with `dry_run` only says whether that can be done.
    pub fn put_back(&mut self, dry_run: bool) -> Result<Option<Done>, Failure> {
        let mut offline = Offline::open(&self.directory, &self.state)?;
        let done = offline.put_back(dry_run);
        self.identity = offline.identity().cloned();
        done
    }

    /// While nothing runs on it, others can read the directory and not change it: what they changed would be missing on the
    /// other node. A directory that is no replica yet is nobody's business.
    pub fn guard(&self) {
        if self.identity.is_none() || stale::is_covered(&self.directory) {
            return;
        }
        if let Err(failure) = ReadOnlyCover::put(&self.directory) {
            tracing::warn!(module = self.module, %failure, "the directory can be changed while nothing replicates it");
        }
    }

    /// The operator wants to edit it all the same; the next start finds what changed.
    pub fn unguard(&self) {
        if let Err(failure) = stale::clean(&self.directory) {
            tracing::warn!(module = self.module, %failure, "the cover cannot be taken off");
        }
    }

    /// Records a change, on disk when this returns: by the engine if one runs, else here. Not here while the application runs:
    /// that would take off what a dead engine left over the directory, and the application would go on beneath it.
    pub fn record(&mut self, change: &Change, engine_runs: bool, app_runs: bool) -> Result<(), Failure> {
        if engine_runs {
            match engine::record(&self.run, &self.module, change) {
                // The engine's next news say what it is now; until then this is known.
                Ok(()) => {
                    if let Some(identity) = self.identity.as_mut().filter(|identity| change.fits(identity)) {
                        change.apply(identity);
                    }
                    return Ok(());
                }
                Err(failure) if failure.kind != FailureKind::Unreachable => return Err(failure),
                Err(_) => {}
            }
        }
        if app_runs {
            let why = "the application still runs on the directory of an engine that is gone";
            return Err(Failure::new(FailureKind::Refused, "cannot record a change", why, "it is being stopped"));
        }
        let mut offline = Offline::open(&self.directory, &self.state)?;
        self.identity = Some(offline.change(change)?.clone());
        Ok(())
    }
}
