//! A secondary's last consistent state: while a resync makes one state of the data into another, what it changes is
//! saved first (`.understudy/consistent`), so that the old state can be put back when the new one never comes.
//!
//! Every change of the tree that an operation of the primary makes passes one of the questions of [`Keep`] before it
//! is made ([`save`]): what was there is in the log ([`log`]), and on the disk, when the question is answered. Objects
//! that would be gone are moved aside instead. [`putback`] makes everything that is in the log what it was; it says
//! what has to be, not what has to be done, so that it can be cut off and begun anew.
//!
//! What it may take is bounded. At the bound, or when something cannot be saved, the state is given up, durably and
//! before the change: the resync never waits and never fails for it.

mod log;
mod putback;
mod ranges;
mod save;
#[cfg(test)]
mod tests;

pub use log::{Header, Stage};
pub use putback::{Done, put_back};

use super::copy;
use crate::limits::KEPT_SHARE;
use crate::objects::Kind;
use crate::resync::ids::IdSet;
use crate::resync::target::remove_tree;
use crate::sys::Sys;
use log::{Log, Record};
use parking_lot::Mutex;
use ranges::Ranges;
use rustc_hash::{FxHashMap, FxHashSet};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{Mode, mkdirat};
use rustix::io::Errno;
use serde::Serialize;
use std::ffi::{CStr, CString};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use uuid::Uuid;

const CONSISTENT: &CStr = c"consistent";
/// A state that is not needed any more, until it is removed.
const DROPPED: &CStr = c"consistent.dropped";
/// Objects that would have been removed.
const GONE: &CStr = c"gone";
/// Files that share blocks with those they are named after.
const CLONES: &CStr = c"clones";

/// What is known of a file whose content is saved.
#[derive(Default)]
struct Original {
    size: u64,
    saved: Ranges,
    cloned: bool,
}

struct Inner {
    log: Log,
    /// Digests of directory and name.
    names: FxHashSet<u128>,
    /// By inode number: attributes are saved.
    objects: IdSet,
    files: FxHashMap<u64, Original>,
    /// By inode number: made since the beginning.
    born: IdSet,
    /// Directories that are no part of the tree.
    outside: FxHashSet<u64>,
    records: usize,
    used: u64,
    number: u64,
    /// None until it was tried.
    shares: Option<bool>,
}

/// The state that is being kept.
pub struct Keep {
    home: OwnedFd,
    gone: OwnedFd,
    clones: OwnedFd,
    inner: Mutex<Inner>,
    active: AtomicBool,
    /// Leaves out the save of this number: for the control of the tests.
    #[cfg(test)]
    pub leave_out: AtomicU64,
    saves: AtomicU64,
}

/// What an operator is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Shown {
    /// `kept`: can be put back. `given_up`: not any more.
    pub state: &'static str,
    /// Why it was given up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Generation of the data that is kept.
    pub generation: Uuid,
    /// Since when (RFC 3339).
    pub since: String,
    /// Bytes that may be used.
    pub budget_bytes: u64,
    /// Bytes used, while a session runs or ran in this engine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
}

fn directory(parent: impl AsFd, name: &CStr) -> Sys<OwnedFd> {
    match mkdirat(&parent, name, Mode::RWXU) {
        Ok(()) | Err(Errno::EXIST) => copy::directory(parent.as_fd(), name),
        Err(why) => Err(why),
    }
}

fn home(hidden: impl AsFd) -> Sys<Option<OwnedFd>> {
    match copy::directory(hidden.as_fd(), CONSISTENT) {
        Ok(home) => Ok(Some(home)),
        Err(Errno::NOENT) => Ok(None),
        Err(why) => Err(why),
    }
}

/// The bytes that may be kept unless something else was configured: a part of what is free now.
pub fn usual_budget(root: impl AsFd) -> Sys<u64> {
    let free = rustix::fs::fstatvfs(root)?;
    Ok(free.f_bavail * free.f_frsize / KEPT_SHARE)
}

/// Makes an empty log for a state that is consistent now. It counts once [`Keep::open`] finds it.
pub fn prepare(hidden: &OwnedFd, header: Header) -> io::Result<()> {
    discard(hidden)?;
    let home = directory(hidden, CONSISTENT)?;
    directory(&home, GONE)?;
    directory(&home, CLONES)?;
    Log::create(&home, header)?;
    rustix::fs::fsync(&home)?;
    Ok(rustix::fs::fsync(hidden)?)
}

/// What there is to put back, or was.
pub fn look(hidden: impl AsFd) -> io::Result<Option<Header>> {
    match home(hidden)? {
        Some(home) => log::peek(&home),
        None => Ok(None),
    }
}

/// For status and lists.
pub fn shown(hidden: impl AsFd, keep: Option<&Keep>) -> Option<Shown> {
    let header = match look(hidden) {
        Ok(header) => header?,
        Err(why) => {
            tracing::debug!(%why, "the kept state cannot be looked at");
            return None;
        }
    };
    let (state, reason) = match header.stage {
        // Nothing is changed yet.
        Stage::Prepared => return None,
        Stage::Keeping => ("kept", None),
        Stage::GivenUp(why) => ("given_up", Some(why)),
    };
    let bytes = keep.map(Keep::used);
    Some(Shown { state, reason, generation: header.generation, since: header.since, budget_bytes: header.budget, bytes })
}

/// The same of the replica in a directory that no engine runs on.
pub fn shown_in(dir: &std::path::Path) -> Option<Shown> {
    let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::NOFOLLOW;
    let hidden = rustix::fs::open(dir.join(crate::apply::HIDDEN), flags | rustix::fs::OFlags::CLOEXEC, Mode::empty()).ok()?;
    shown(hidden, None)
}

/// The state is not needed any more. At once for who looks; what it took is freed with [`tidy`].
pub fn discard(hidden: &OwnedFd) -> io::Result<()> {
    if home(hidden)?.is_none() {
        return Ok(());
    }
    tidy(hidden)?;
    rustix::fs::renameat(hidden, CONSISTENT, hidden, DROPPED)?;
    Ok(rustix::fs::fsync(hidden)?)
}

/// Removes what was discarded.
pub fn tidy(hidden: &OwnedFd) -> Sys<()> {
    remove_tree(hidden, DROPPED, &AtomicBool::new(false))
}

fn key(dir: u64, name: &[u8]) -> u128 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&dir.to_le_bytes()).update(name);
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
    u128::from_le_bytes(bytes)
}

impl Inner {
    fn empty(log: Log) -> Inner {
        Inner {
            log,
            names: FxHashSet::default(),
            objects: IdSet::default(),
            files: FxHashMap::default(),
            born: IdSet::default(),
            outside: FxHashSet::default(),
            records: 0,
            used: 0,
            number: 0,
            shares: None,
        }
    }
}

/// What a log tells who goes on with it.
#[derive(Default)]
struct Known {
    names: FxHashSet<u128>,
    objects: IdSet,
    files: FxHashMap<u64, Original>,
    records: usize,
    used: u64,
}

impl Known {
    fn learn(&mut self, record: &Record, payload: u64) {
        self.records += 1;
        match record {
            Record::Flushed(used) => self.used = *used,
            Record::Attributes(attributes) => {
                self.objects.insert(crate::id::ObjectId(attributes.object.inode));
                if Kind::of(attributes.mode) == Kind::File {
                    self.files.entry(attributes.object.inode).or_default().size = attributes.size;
                }
            }
            Record::Name { dir, name, .. } => drop(self.names.insert(key(dir.inode, name))),
            Record::Data { inode, offset } => self.files.entry(*inode).or_default().saved.add(*offset, offset + payload),
            Record::Hole { inode, offset, length } => self.files.entry(*inode).or_default().saved.add(*offset, offset + length),
            Record::Clone { inode } => self.files.entry(*inode).or_default().cloned = true,
        }
    }
}

impl Keep {
    /// Goes on with what was prepared or kept by an earlier session; none if there is nothing to go on with. `ready` makes
    /// durable what the state starts from; `boot` is the boot of today.
    pub fn open(hidden: &OwnedFd, boot: &str, ready: impl FnOnce() -> Sys<()>) -> io::Result<Option<Arc<Keep>>> {
        let Some(home) = home(hidden)? else { return Ok(None) };
        let mut known = Known::default();
        let Some(mut log) = Log::open(&home, |record, (_, payload)| known.learn(&record, payload))? else { return Ok(None) };
        match log.header().stage {
            // What it starts from was in memory, perhaps, and that is lost.
            Stage::Prepared if log.header().boot != boot => return Ok(None),
            Stage::Prepared => {
                ready()?;
                log.set_stage(Stage::Keeping)?;
            }
            Stage::Keeping => {}
            Stage::GivenUp(_) => return Ok(None),
        }
        let (gone, clones) = (directory(&home, GONE)?, directory(&home, CLONES)?);
        let numbered = |name: &CString| name.to_str().ok()?.parse::<u64>().ok();
        let number = copy::names(gone.as_fd())?.iter().filter_map(numbered).max().unwrap_or(0);
        let length = log.length();
        let mut inner = Inner {
            names: known.names,
            objects: known.objects,
            files: known.files,
            records: known.records,
            used: known.used.max(length),
            number,
            ..Inner::empty(log)
        };
        for dir in [&home, &gone, &clones] {
            inner.outside.insert(rustix::fs::fstat(dir)?.st_ino);
        }
        Ok(Some(Arc::new(Keep {
            home,
            gone,
            clones,
            inner: Mutex::new(inner),
            active: AtomicBool::new(true),
            #[cfg(test)]
            leave_out: AtomicU64::new(0),
            saves: AtomicU64::new(0),
        })))
    }

    /// Whether changes are still saved.
    pub fn is_active(&self) -> bool {
        self.active.load(SeqCst)
    }

    /// Bytes of the budget that are used.
    pub fn used(&self) -> u64 {
        self.inner.lock().used
    }

    /// A directory that is no part of the tree.
    pub fn set_outside(&self, dir: impl AsFd) -> Sys<()> {
        let inode = rustix::fs::fstat(dir)?.st_ino;
        self.inner.lock().outside.insert(inode);
        Ok(())
    }

    /// From here on nothing is saved, and nothing can be put back. Only if even that cannot be made durable it is an error:
    /// then the change must not be made.
    fn give_up(&self, inner: &mut Inner, why: &str) -> Sys<()> {
        if !self.active.swap(false, SeqCst) {
            return Ok(());
        }
        tracing::warn!(why, used = inner.used, "the last consistent state is not kept any more; the resync goes on");
        let noted = inner.log.set_stage(Stage::GivenUp(why.to_owned()));
        if let Err(error) = noted {
            tracing::warn!(%error, "and that could not be noted: the whole log goes");
            rustix::fs::unlinkat(&self.home, c"log", rustix::fs::AtFlags::empty())?;
            rustix::fs::fsync(&self.home)?;
        }
        let _ = inner.log.shrink();
        (inner.names, inner.files) = Default::default();
        (inner.objects, inner.born) = Default::default();
        self.free();
        Ok(())
    }

    /// The file system has no room left: what is kept takes some.
    pub fn give_up_for_room(&self) -> Sys<()> {
        self.give_up(&mut self.inner.lock(), "the file system is full")
    }

    /// What was set aside goes, beside the stream.
    fn free(&self) {
        let Ok(home) = rustix::io::dup(&self.home) else { return };
        let work = move || {
            for name in [GONE, CLONES] {
                if let Err(why) = remove_tree(&home, name, &AtomicBool::new(false)) {
                    tracing::warn!(%why, "what was kept cannot be removed now");
                }
            }
        };
        if let Err(why) = std::thread::Builder::new().name("kept".into()).spawn(work) {
            tracing::warn!(%why, "what was kept is removed at the end of the resync");
        }
    }
}
