//! Id ↔ local file handle, for every object ever seen: about a hundred bytes each.

use crate::id::ObjectId;
use crate::sys::Handle;
use parking_lot::{Mutex, RwLock};
use rustc_hash::FxHashMap;
use rustix::fs::{FileType, Stat};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

const SHARDS: usize = 64;
/// Ids of the largest group that one mark of the journal names.
const SPAN: u64 = 4096;

/// What an object is, as far as opening it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Regular file.
    File,
    /// Directory.
    Directory,
    /// Symbolic link.
    Symlink,
    /// FIFO, socket, device.
    Special,
}

impl Kind {
    /// From `st_mode`.
    pub fn of(mode: u32) -> Kind {
        match FileType::from_raw_mode(mode) {
            FileType::RegularFile => Kind::File,
            FileType::Directory => Kind::Directory,
            FileType::Symlink => Kind::Symlink,
            _ => Kind::Special,
        }
    }
}

/// One object.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its local handle.
    pub handle: Handle,
    /// Its local inode number.
    pub inode: u64,
    /// A directory that held it when it was learnt: a hint.
    pub parent: ObjectId,
    /// What it is.
    pub kind: Kind,
    /// Excluded from replication (and everything below it).
    pub local: bool,
    /// The sync session in which the secondary learnt the names of this directory; 0 never.
    pub names_epoch: u32,
    /// The sync session in which the secondary got this object's content and attributes; 0 never.
    pub content_epoch: u32,
    /// How often the kernel was given this object and has not yet said that it forgot it.
    pub lookups: u64,
    /// How often its descriptor was closed because it must be opened anew.
    pub closed: u32,
}

impl Entry {
    /// An entry not known to any secondary yet.
    pub fn new(handle: Handle, stat: &Stat, parent: ObjectId) -> Entry {
        Entry {
            handle,
            inode: stat.st_ino,
            parent,
            kind: Kind::of(stat.st_mode),
            local: false,
            names_epoch: 0,
            content_epoch: 0,
            lookups: 0,
            closed: 0,
        }
    }
}

/// The table. Inode numbers are unique among objects that have a name; an orphan has lost its own.
pub struct Table {
    entries: Box<[RwLock<FxHashMap<u64, Entry>>]>,
    inodes: Box<[Mutex<FxHashMap<u64, u64>>]>,
    next: AtomicU64,
    device: u64,
    locals: AtomicU32,
}

impl Table {
    pub(super) fn new(device: u64) -> Table {
        Table {
            entries: (0..SHARDS).map(|_| RwLock::default()).collect(),
            inodes: (0..SHARDS).map(|_| Mutex::default()).collect(),
            next: AtomicU64::new(ObjectId::FIRST.0),
            device,
            locals: AtomicU32::new(0),
        }
    }

    fn entries(&self, id: ObjectId) -> &RwLock<FxHashMap<u64, Entry>> {
        &self.entries[id.0 as usize % SHARDS]
    }

    fn inodes(&self, inode: u64) -> &Mutex<FxHashMap<u64, u64>> {
        &self.inodes[inode as usize % SHARDS]
    }

    /// The device of the file system beneath.
    pub fn device(&self) -> u64 {
        self.device
    }

    /// A fresh id, never given before.
    pub fn next_id(&self) -> ObjectId {
        ObjectId(self.next.fetch_add(1, Ordering::Relaxed))
    }

    /// The id that will be given next; ids at and above it are not born yet.
    pub fn birth_floor(&self) -> ObjectId {
        ObjectId(self.next.load(Ordering::Relaxed))
    }

    /// Ids below `floor` were given by an earlier life of this replica.
    pub fn reserve(&self, floor: ObjectId) {
        self.next.fetch_max(floor.0, Ordering::Relaxed);
    }

    /// The entry of `id`.
    pub fn get(&self, id: ObjectId) -> Option<Entry> {
        self.entries(id).read().get(&id.0).cloned()
    }

    /// Looks at the entry of `id` without copying it.
    pub fn look<T>(&self, id: ObjectId, look: impl FnOnce(&Entry) -> T) -> Option<T> {
        self.entries(id).read().get(&id.0).map(look)
    }

    /// Changes the entry of `id`.
    pub fn change(&self, id: ObjectId, change: impl FnOnce(&mut Entry)) {
        if let Some(entry) = self.entries(id).write().get_mut(&id.0) {
            change(entry);
        }
    }

    /// Id of the named object with this inode number.
    pub fn by_inode(&self, inode: u64) -> Option<ObjectId> {
        self.inodes(inode).lock().get(&inode).copied().map(ObjectId)
    }

    /// Enters an object under a given id.
    pub fn insert(&self, id: ObjectId, entry: Entry) {
        self.inodes(entry.inode).lock().insert(entry.inode, id.0);
        self.entries(id).write().insert(id.0, entry);
        self.reserve(ObjectId(id.0 + 1));
    }

    /// Enters an object that was found on disk, unless another thread just did: one id either way.
    pub fn learn(&self, entry: Entry) -> ObjectId {
        let mut inodes = self.inodes(entry.inode).lock();
        if let Some(id) = inodes.get(&entry.inode) {
            return ObjectId(*id);
        }
        let id = self.next_id();
        inodes.insert(entry.inode, id.0);
        self.entries(id).write().insert(id.0, entry);
        id
    }

    /// The inode number no longer belongs to `id` (it may already belong to a newer object).
    pub fn unlink_inode(&self, inode: u64, id: ObjectId) {
        let mut inodes = self.inodes(inode).lock();
        if inodes.get(&inode) == Some(&id.0) {
            inodes.remove(&inode);
        }
    }

    /// The object is gone for good.
    pub fn remove(&self, id: ObjectId) {
        self.entries(id).write().remove(&id.0);
    }

    /// The objects from `first` to `last` that are known, in order.
    pub fn known_in(&self, first: ObjectId, last: ObjectId) -> Vec<(ObjectId, Kind)> {
        let end = ObjectId(last.0.min(self.next.load(Ordering::Relaxed)));
        let mut found: Vec<(ObjectId, Kind)> = if end.0.saturating_sub(first.0) < 2 * SPAN {
            (first.0..=end.0).filter_map(|id| self.look(ObjectId(id), |entry| (ObjectId(id), entry.kind))).collect()
        } else {
            let within = |(id, entry): (&u64, &Entry)| (*id >= first.0 && *id <= end.0).then_some((ObjectId(*id), entry.kind));
            self.entries.iter().flat_map(|shard| shard.read().iter().filter_map(within).collect::<Vec<_>>()).collect()
        };
        found.sort_unstable_by_key(|(id, _)| *id);
        found
    }

    /// Forgets all objects above `floor`: they were given by somebody whose ids no longer count.
    pub fn forget_above(&self, floor: ObjectId) {
        for (id, _) in self.known_in(ObjectId(floor.0.saturating_add(1)), ObjectId(u64::MAX)) {
            let inode = self.look(id, |entry| entry.inode);
            inode.into_iter().for_each(|inode| self.unlink_inode(inode, id));
            self.remove(id);
        }
    }

    /// Number of objects.
    pub fn len(&self) -> usize {
        self.entries.iter().map(|shard| shard.read().len()).sum()
    }

    /// Never true: the root is always there.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Marks an object as excluded from replication.
    pub fn set_local(&self, id: ObjectId) {
        self.locals.store(1, Ordering::Relaxed);
        self.change(id, |entry| entry.local = true);
    }

    /// Whether the object is excluded; free where nothing is excluded.
    pub fn is_local(&self, id: ObjectId) -> bool {
        self.locals.load(Ordering::Relaxed) != 0 && self.look(id, |entry| entry.local).unwrap_or(false)
    }
}
