//! Open descriptors: one per object whatever the number of opens, a bounded number in all. Objects without
//! a name are pinned instead, because nothing but an open descriptor keeps them alive.

use super::Kind;
use crate::apply::DirEntry;
use crate::id::ObjectId;
use crate::limits::{OPEN_OBJECTS, ORPHAN_FORGOTTEN};
use crate::sys::{self, Sys};
use parking_lot::{Mutex, RwLock};
use rustc_hash::FxHashMap;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Instant;

const SHARDS: usize = 64;

/// An object with an open descriptor.
pub struct Live {
    /// Which object.
    pub id: ObjectId,
    /// What it is.
    pub kind: Kind,
    fd: OwnedFd,
    writable: Result<(), Errno>,
    used: AtomicBool,
    appends: bool,
    plain_mode: AtomicBool,
    /// Serialises reading a directory through the shared descriptor's position.
    pub position: Mutex<Cursor>,
}

/// Where the shared descriptor of a directory stands, and entries that were read but did not fit into the
/// last answer.
#[derive(Default)]
pub struct Cursor {
    at: Option<u64>,
    rest_from: u64,
    rest: VecDeque<DirEntry>,
}

impl Cursor {
    /// The entries that follow `offset`, if they were read already.
    pub fn take(&mut self, offset: u64) -> Option<VecDeque<DirEntry>> {
        (!self.rest.is_empty() && self.rest_from == offset && offset != 0).then(|| std::mem::take(&mut self.rest))
    }

    /// The descriptor's position, if it is known.
    pub fn at(&self) -> Option<u64> {
        self.at
    }

    /// The descriptor stands at `offset`.
    pub fn set(&mut self, offset: u64) {
        self.at = Some(offset);
    }

    /// Keeps what did not fit: it follows `offset`.
    pub fn keep(&mut self, offset: u64, rest: VecDeque<DirEntry>) {
        (self.rest_from, self.rest) = (offset, rest);
    }

    /// The position is unknown.
    pub fn moved(&mut self) {
        self.at = None;
    }

    /// Nothing that was read counts any more.
    pub fn clear(&mut self) {
        self.at = None;
        self.rest.clear();
    }
}

impl Live {
    pub(super) fn new(id: ObjectId, kind: Kind, fd: OwnedFd, writable: Result<(), Errno>) -> Live {
        Live {
            id,
            kind,
            fd,
            writable,
            used: AtomicBool::new(true),
            appends: false,
            plain_mode: AtomicBool::new(false),
            position: Mutex::default(),
        }
    }

    /// The inode is append-only: nothing but its end may be written.
    pub(super) fn appending(mut self) -> Live {
        self.appends = true;
        self
    }

    /// Whether the inode is append-only (its descriptor writes at the end whatever the offset).
    pub fn appends(&self) -> bool {
        self.appends
    }

    /// Whether the file has set-id bits, which a write by most callers clears. Asked once: the caller holds
    /// the object's lock, and who sets them says so ([`Live::mode_changes`]).
    pub fn has_set_id(&self) -> bool {
        if self.plain_mode.load(Ordering::Relaxed) {
            return false;
        }
        let has = rustix::fs::fstat(&self.fd).map_or(true, |stat| stat.st_mode & 0o6000 != 0);
        self.plain_mode.store(!has, Ordering::Relaxed);
        has
    }

    /// The permission bits are about to change.
    pub fn mode_changes(&self) {
        self.plain_mode.store(false, Ordering::Relaxed);
    }

    /// The names in this directory changed: what was read ahead is stale.
    pub fn changed(&self) {
        self.position.lock().clear();
    }

    /// Whether fsync(2) works on the descriptor (it does not on O_PATH).
    pub fn flushable(&self) -> bool {
        self.writable != Err(Errno::BADF)
    }

    /// The descriptor, if content may be changed through it; else why not (EPERM, EROFS).
    pub fn for_writing(&self) -> Sys<BorrowedFd<'_>> {
        self.writable.map(|()| self.fd.as_fd())
    }
}

impl AsFd for Live {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

#[derive(Default)]
struct Orphans {
    pinned: FxHashMap<u64, Arc<Live>>,
}

type Shard = RwLock<FxHashMap<u64, Arc<Live>>>;

pub(super) struct Cache {
    shards: Box<[Shard]>,
    count: AtomicUsize,
    /// Descriptors that may be open here: half of what the process may have, the rest is for what is under way
    /// and for objects without a name.
    limit: usize,
    /// Oldest first. What left the map meanwhile is passed over: only the map (and who uses it) keeps it open.
    order: Mutex<VecDeque<Weak<Live>>>,
    orphans: RwLock<Orphans>,
    any_orphan: AtomicBool,
    pinned: AtomicUsize,
    /// Orphans whose descriptors are being closed.
    closing: AtomicUsize,
    /// When an orphan came last, in milliseconds after `start`.
    orphaned: AtomicU64,
    start: Instant,
}

impl Default for Cache {
    fn default() -> Self {
        Cache {
            shards: (0..SHARDS).map(|_| RwLock::default()).collect(),
            count: AtomicUsize::new(0),
            limit: descriptors().map_or(OPEN_OBJECTS, |most| OPEN_OBJECTS.min(most / 2)),
            order: Mutex::default(),
            orphans: RwLock::default(),
            any_orphan: AtomicBool::new(false),
            pinned: AtomicUsize::new(0),
            closing: AtomicUsize::new(0),
            orphaned: AtomicU64::new(0),
            start: Instant::now(),
        }
    }
}

/// The limit of open files of this process.
fn descriptors() -> Option<usize> {
    rustix::process::getrlimit(rustix::process::Resource::Nofile).current.and_then(|most| usize::try_from(most).ok())
}

impl Cache {
    fn shard(&self, id: ObjectId) -> &Shard {
        &self.shards[id.0 as usize % SHARDS]
    }

    pub(super) fn get(&self, id: ObjectId) -> Option<Arc<Live>> {
        if let Some(live) = self.shard(id).read().get(&id.0) {
            live.used.store(true, Ordering::Relaxed);
            return Some(live.clone());
        }
        if !self.any_orphan.load(Ordering::Acquire) {
            return None;
        }
        self.orphans.read().pinned.get(&id.0).cloned()
    }

    /// Enters `live` unless another thread was first; gives the one that is in. None if it does not count any
    /// more (`counts` is asked when nobody can take it out).
    pub(super) fn put(&self, live: Live, counts: impl FnOnce() -> bool) -> Option<Arc<Live>> {
        let live = Arc::new(live);
        {
            let mut shard = self.shard(live.id).write();
            if let Some(first) = shard.get(&live.id.0) {
                return Some(first.clone());
            }
            if !counts() {
                return None;
            }
            shard.insert(live.id.0, live.clone());
        }
        let mut order = self.order.lock();
        order.push_back(Arc::downgrade(&live));
        self.count.fetch_add(1, Ordering::Relaxed);
        self.make_room(&mut order);
        if order.len() > 2 * self.limit {
            order.retain(|live| live.strong_count() > 0);
        }
        Some(live)
    }

    /// Keeps the number of descriptors within the limit. Called for each new one, so two at a time are enough.
    fn make_room(&self, order: &mut VecDeque<Weak<Live>>) {
        for _ in 0..2 {
            if self.count.load(Ordering::Relaxed) + self.pinned.load(Ordering::Relaxed) > self.limit {
                self.evict(order);
            }
        }
    }

    /// Second chance: the oldest object not used since it was last passed over goes.
    fn evict(&self, order: &mut VecDeque<Weak<Live>>) {
        for _ in 0..2 * order.len() {
            let Some(oldest) = order.pop_front() else { return };
            let Some(live) = oldest.upgrade() else { continue };
            if live.used.swap(false, Ordering::Relaxed) && order.len() > 1 {
                order.push_back(oldest);
                continue;
            }
            let mut shard = self.shard(live.id).write();
            if shard.get(&live.id.0).is_some_and(|entered| Arc::ptr_eq(entered, &live)) {
                shard.remove(&live.id.0);
                self.count.fetch_sub(1, Ordering::Relaxed);
                return;
            }
        }
    }

    /// Takes an object out of the map.
    fn take(&self, id: ObjectId) -> Option<Arc<Live>> {
        let live = self.shard(id).write().remove(&id.0)?;
        self.count.fetch_sub(1, Ordering::Relaxed);
        Some(live)
    }

    /// Closes everything that has a name.
    pub(super) fn clear(&self) {
        let mut order = self.order.lock();
        for shard in &self.shards {
            let closed = std::mem::take(&mut *shard.write());
            self.count.fetch_sub(closed.len(), Ordering::Relaxed);
        }
        order.clear();
    }

    pub(super) fn remove(&self, id: ObjectId) {
        self.take(id);
    }

    /// Pins an object that loses its last name; what it has open for reading and writing is kept, else it is
    /// opened when it is needed ([`Cache::open_orphan`]): most are gone at once.
    pub(super) fn orphan(&self, id: ObjectId, pin: OwnedFd, kind: Kind) {
        let live = self.take(id).unwrap_or_else(|| Arc::new(Live::new(id, kind, pin, Err(Errno::BADF))));
        self.orphaned.store(self.start.elapsed().as_millis() as u64, Ordering::Relaxed);
        {
            // Said under the lock: whoever forgets the last orphan takes it back under the same.
            let mut orphans = self.orphans.write();
            self.any_orphan.store(true, Ordering::Release);
            if orphans.pinned.insert(id.0, live).is_none() {
                self.pinned.fetch_add(1, Ordering::Relaxed);
            }
        }
        self.make_room(&mut self.order.lock());
    }

    /// Whether orphans hold as many descriptors as they should.
    pub(super) fn many_orphans(&self) -> bool {
        self.pinned.load(Ordering::Relaxed) >= self.limit / 2
    }

    /// Whether an orphan is being closed, or may be: the kernel says a moment after a removal that nobody has
    /// the file open.
    pub(super) fn room_may_come(&self) -> bool {
        let age = (self.start.elapsed().as_millis() as u64).saturating_sub(self.orphaned.load(Ordering::Relaxed));
        self.closing.load(Ordering::Acquire) > 0
            || self.any_orphan.load(Ordering::Acquire) && u128::from(age) < ORPHAN_FORGOTTEN.as_millis()
    }

    /// Opens a pinned object for reading and writing. Files and directories only: a FIFO would wait for its
    /// other end, a device would act.
    pub(super) fn open_orphan(&self, pinned: Arc<Live>) -> Sys<Arc<Live>> {
        let flags = match pinned.kind {
            Kind::File => libc::O_RDWR | libc::O_NONBLOCK,
            Kind::Directory => libc::O_RDONLY | libc::O_DIRECTORY,
            _ => return Ok(pinned),
        };
        let mut orphans = self.orphans.write();
        let Some(place) = orphans.pinned.get_mut(&pinned.id.0) else { return Err(Errno::STALE) };
        if !place.flushable() {
            *place = Arc::new(Live::new(pinned.id, pinned.kind, sys::reopen(pinned.as_fd(), flags)?, Ok(())));
        }
        Ok(place.clone())
    }

    pub(super) fn is_orphan(&self, id: ObjectId) -> bool {
        self.any_orphan.load(Ordering::Acquire) && self.orphans.read().pinned.contains_key(&id.0)
    }

    pub(super) fn forget_orphan(&self, id: ObjectId) -> bool {
        if !self.any_orphan.load(Ordering::Acquire) {
            return false;
        }
        self.closing.fetch_add(1, Ordering::AcqRel);
        let mut orphans = self.orphans.write();
        let gone = orphans.pinned.remove(&id.0);
        self.pinned.fetch_sub(usize::from(gone.is_some()), Ordering::Relaxed);
        if orphans.pinned.is_empty() {
            self.any_orphan.store(false, Ordering::Release);
            orphans.pinned.shrink_to(64);
        }
        drop(orphans);
        let was = gone.is_some();
        drop(gone);
        self.closing.fetch_sub(1, Ordering::AcqRel);
        was
    }
}
