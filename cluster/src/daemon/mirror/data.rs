//! What this node's replica is: asked of the engines while they run, read from its directories otherwise.

use super::super::node::Node;
use crate::config::Module;
use crate::engine::{self, View};
use crate::replica::{Generation, Replica, together};
use fsrepl::kept::consistent::Done;
use fsrepl::node::change::Change;
use fsrepl::node::cover::ReadOnlyCover;
use fsrepl::node::identity::{Identity, Right};
use fsrepl::node::offline::Offline;
use fsrepl::node::stale;
use fsrepl::report::{Failure, FailureKind};
use std::path::{Path, PathBuf};
use uuid::Uuid;

/// One session of a generation; of several directories, one of each.
pub type Session = (Generation, u64);

/// The replica of one module.
#[derive(Debug)]
pub struct Disk {
    /// At least one; the first is the one whose set names the module to the quorum.
    directories: Vec<Directory>,
    state: PathBuf,
    run: PathBuf,
    module: String,
    boot: String,
    durable: bool,
    /// Why it could not be read.
    pub fault: Option<String>,
}

/// One replicated directory.
#[derive(Debug)]
struct Directory {
    path: PathBuf,
    engine: String,
    /// As it was last seen.
    identity: Option<Identity>,
}

impl Disk {
    pub fn new(node: &Node, module: &Module) -> Disk {
        let directory =
            |(path, engine): (&crate::config::Replicate, String)| Directory { path: path.directory.clone(), engine, identity: None };
        Disk {
            directories: module.replicate.iter().zip(module.engines()).map(directory).collect(),
            state: node.home.state.clone(),
            run: node.home.run.clone(),
            module: module.name.clone(),
            boot: node.boot.clone(),
            durable: module.ack == fsrepl::node::options::Ack::Disk,
            fault: None,
        }
    }

    /// For the decisions: all directories as one.
    pub fn replica(&self) -> Replica {
        let all: Vec<Replica> = self.directories.iter().map(|directory| self.of(directory.identity.as_ref())).collect();
        together(&all)
    }

    fn of(&self, identity: Option<&Identity>) -> Replica {
        identity.map_or_else(Replica::default, |identity| Replica::of(identity, &self.boot, self.durable))
    }

    /// The set that the module is; none before the first copy, and where a directory of several cannot be read.
    pub fn set(&self) -> Option<Uuid> {
        let [first, others @ ..] = self.directories.as_slice() else { return None };
        let known = others.is_empty() || self.fault.is_none();
        first.identity.as_ref().filter(|_| known).map(|identity| identity.set)
    }

    /// There is a replica in one of its directories.
    pub fn is_replica(&self) -> bool {
        self.directories.iter().any(|directory| directory.identity.is_some())
    }

    /// What a directory holds that is no copy of this module's is given up for the peer's. Where others are copies, this one was
    /// added: then it has to be empty, or the operator's word counts.
    pub fn may_discard(&self, place: usize) -> bool {
        match self.directories.get(place).map(|directory| &directory.identity) {
            Some(Some(identity)) => identity.current.is_nil(),
            _ => !self.is_replica(),
        }
    }

    /// What a directory missed of the others' history: it has to know those generations as past when all begin a new one.
    pub fn missed(&self, place: usize) -> Vec<Generation> {
        let own = self.of(self.directories.get(place).and_then(|directory| directory.identity.as_ref()));
        if own.current.is_none() {
            return Vec::new();
        }
        self.replica().lineage().into_iter().filter(|generation| !own.knows(*generation)).collect()
    }

    /// Takes in what the engines say. True: it is news.
    pub fn see(&mut self, view: &View) -> bool {
        let mut news = false;
        for (directory, identity) in self.directories.iter_mut().zip(&view.identities) {
            if identity.is_some() && directory.identity != *identity {
                directory.identity.clone_from(identity);
                news = true;
            }
        }
        news
    }

    /// The sessions of all directories as one; none: not all have one.
    pub fn session(&self) -> Option<Session> {
        let all: Option<Vec<&Identity>> = self.directories.iter().map(|directory| directory.identity.as_ref()).collect();
        let all = all?;
        let first = all.first()?;
        Some((first.current, session_of(all.iter().map(|identity| identity.session))))
    }

    /// Reads it where no engine runs.
    pub fn read(&mut self) {
        let mut fault = None;
        for directory in &mut self.directories {
            match Offline::open(&directory.path, &self.state) {
                Ok(offline) => directory.identity = offline.identity().cloned(),
                Err(failure) => drop(fault.get_or_insert(failure.to_string())),
            }
        }
        if let Some(why) = fault.as_ref().filter(|_| self.fault != fault) {
            tracing::warn!(module = self.module, why, "the replica cannot be read");
        }
        self.fault = fault;
    }

    /// Puts the state from before an unfinished resync back; with `dry_run` only says whether that can be done.
    pub fn put_back(&mut self, dry_run: bool) -> Result<Option<Done>, Failure> {
        let [directory] = self.directories.as_mut_slice() else {
            // One may have ended its resync, and dropped what it had kept, while another had not.
            let (why, cure) = ("it has several directories, whose states of one moment are not kept", "let the resync end");
            return Err(Failure::new(FailureKind::Refused, "cannot put the last consistent state back", why, cure));
        };
        let mut offline = Offline::open(&directory.path, &self.state)?;
        let done = offline.put_back(dry_run);
        directory.identity = offline.identity().cloned();
        done
    }

    /// While nothing runs on it, others can read the directory and not change it: what they changed would be missing on the
    /// other node. A directory that is no replica yet is nobody's business.
    pub fn guard(&self) {
        for directory in self.directories.iter().filter(|directory| directory.identity.is_some()) {
            if stale::is_covered(&directory.path) {
                continue;
            }
            if let Err(failure) = ReadOnlyCover::put(&directory.path) {
                tracing::warn!(module = self.module, %failure, "the directory can be changed while nothing replicates it");
            }
        }
    }

    /// The operator wants to edit it all the same; the next start finds what changed.
    pub fn unguard(&self) {
        for directory in &self.directories {
            if let Err(failure) = stale::clean(&directory.path) {
                tracing::warn!(module = self.module, %failure, "the cover cannot be taken off");
            }
        }
    }

    /// Moves the right, in the session that it was meant for and in no other.
    pub fn record_right(&mut self, right: Right, (generation, session): Session, engine_runs: bool, app_runs: bool) -> Result<(), Failure> {
        if let [only] = self.directories.as_mut_slice() {
            let places = Places { run: &self.run, state: &self.state };
            return only.record(&places, &Change::Right { right, generation, session }, engine_runs, app_runs);
        }
        if self.session() != Some((generation, session)) {
            let why = "it was meant for another session or generation";
            return Err(Failure::new(FailureKind::Refused, "cannot record a change", why, ""));
        }
        self.each(engine_runs, app_runs, |identity| {
            identity.map(|identity| Change::Right { right, generation: identity.current, session: identity.session })
        })
    }

    /// Records a change, on disk when this returns: by the engines if they run, else here. Not here while the application runs:
    /// that would take off what a dead engine left over the directory, and the application would go on beneath it.
    pub fn record(&mut self, change: &Change, engine_runs: bool, app_runs: bool) -> Result<(), Failure> {
        let several = self.directories.len() > 1;
        // Of several, one that was added is no replica yet: nothing can be recorded of it.
        self.each(engine_runs, app_runs, |identity| (identity.is_some() || !several).then(|| change.clone()))
    }

    /// In every directory, whatever happens in another one; the first failure.
    fn each(&mut self, engine_runs: bool, app_runs: bool, change: impl Fn(Option<&Identity>) -> Option<Change>) -> Result<(), Failure> {
        let places = Places { run: &self.run, state: &self.state };
        let mut outcome = Ok(());
        for directory in &mut self.directories {
            if let Some(change) = change(directory.identity.as_ref()) {
                let recorded = directory.record(&places, &change, engine_runs, app_runs);
                outcome = outcome.and(recorded);
            }
        }
        outcome
    }
}

/// One number for the sessions of all directories; that of the only one as it is.
fn session_of(sessions: impl Iterator<Item = u64>) -> u64 {
    // FNV: that two groups of small counters meet is as good as impossible.
    sessions.fold(0, |sum, session| sum.wrapping_mul(0x0000_0100_0000_01b3) ^ session)
}

struct Places<'a> {
    run: &'a Path,
    state: &'a Path,
}

impl Directory {
    fn record(&mut self, places: &Places<'_>, change: &Change, engine_runs: bool, app_runs: bool) -> Result<(), Failure> {
        if engine_runs {
            match engine::record(places.run, &self.engine, change) {
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
        let mut offline = Offline::open(&self.path, places.state)?;
        self.identity = Some(offline.change(change)?.clone());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::session_of;

    #[test]
    fn sessions_of_several_directories_are_one_number() {
        assert_eq!(session_of([7].into_iter()), 7);
        assert_ne!(session_of([1, 2].into_iter()), session_of([2, 1].into_iter()));
        assert_ne!(session_of([1, 2].into_iter()), session_of([1, 3].into_iter()));
    }
}
