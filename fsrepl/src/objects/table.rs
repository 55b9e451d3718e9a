//! Id ↔ local file handle. In memory is what is in use, about a hundred bytes each; with a table on disk the rest
//! is looked up there.
//!
//! What must hold: what memory has and the disk has not is in [`Changes`], in front of the disk, until it is
//! written; and it stays in memory as long. Order of locks: inodes, changes, entries.

mod disk;

use super::changes::{Change, Changes, Told};
use super::store::{Meta, Store};
use super::{Entry, Kind};
use crate::id::ObjectId;
use crate::limits::{OBJECTS_IN_MEMORY, OBJECTS_RANGE};
use crate::sys::Handle;
use parking_lot::{Mutex, RwLock};
use rustc_hash::FxHashMap;
use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicI64, AtomicU32, AtomicU64, AtomicUsize, Ordering::Relaxed, Ordering::SeqCst};
use uuid::Uuid;

const SHARDS: usize = 64;

type Shard = RwLock<FxHashMap<u64, Entry>>;

/// The table. Inode numbers are unique among objects that have a name; an orphan has lost its own.
pub struct Table {
    entries: Box<[Shard]>,
    inodes: Box<[Mutex<FxHashMap<u64, u64>>]>,
    /// Counts changes, by shard: what was read from disk before one does not count.
    versions: Box<[AtomicU64]>,
    changes: Mutex<Changes>,
    /// How many of them wait.
    waiting: AtomicUsize,
    told: Mutex<Told>,
    store: Option<Store>,
    /// One writes to the disk at a time.
    writer: Mutex<()>,
    next: AtomicU64,
    floor: AtomicU64,
    incarnation: Mutex<Uuid>,
    device: u64,
    locals: AtomicU32,
    /// Entries in memory, and how many are worth a look for some that may go.
    count: AtomicUsize,
    room: AtomicUsize,
    /// How often entries left memory.
    trims: AtomicU64,
    /// How often a descriptor was closed to be opened anew.
    closings: AtomicU32,
    /// Objects on disk.
    stored: AtomicI64,
}

impl Table {
    /// A table that lives in memory only.
    pub(super) fn new(device: u64) -> Table {
        Table::made(device, None, Meta::default())
    }

    /// What `store` holds is known from the start.
    pub(super) fn over(device: u64, store: Store, meta: Meta) -> io::Result<Table> {
        let stored = store.len()? as i64;
        let table = Table::made(device, Some(store), meta);
        table.stored.store(stored, Relaxed);
        table.reserve(ObjectId(meta.floor.0.saturating_add(1)));
        Ok(table)
    }

    fn made(device: u64, store: Option<Store>, meta: Meta) -> Table {
        Table {
            entries: (0..SHARDS).map(|_| RwLock::default()).collect(),
            inodes: (0..SHARDS).map(|_| Mutex::default()).collect(),
            versions: (0..SHARDS).map(|_| AtomicU64::new(0)).collect(),
            changes: Mutex::default(),
            waiting: AtomicUsize::new(0),
            told: Mutex::default(),
            store,
            writer: Mutex::default(),
            next: AtomicU64::new(meta.next.0),
            floor: AtomicU64::new(meta.floor.0),
            incarnation: Mutex::new(meta.incarnation),
            device,
            locals: AtomicU32::new(0),
            count: AtomicUsize::new(0),
            room: AtomicUsize::new(OBJECTS_IN_MEMORY),
            trims: AtomicU64::new(0),
            closings: AtomicU32::new(0),
            stored: AtomicI64::new(0),
        }
    }

    fn entries(&self, id: ObjectId) -> &Shard {
        &self.entries[id.0 as usize % SHARDS]
    }

    fn inodes(&self, inode: u64) -> &Mutex<FxHashMap<u64, u64>> {
        &self.inodes[inode as usize % SHARDS]
    }

    fn version(&self, id: ObjectId) -> &AtomicU64 {
        &self.versions[id.0 as usize % SHARDS]
    }

    /// The device of the file system beneath.
    pub fn device(&self) -> u64 {
        self.device
    }

    /// The id that will be given next; ids at and above it are not born yet, and what has one below is in the table.
    pub fn birth_floor(&self) -> ObjectId {
        let _nobody_is_entering = self.changes.lock();
        ObjectId(self.next.load(Relaxed))
    }

    /// Ids below `floor` were given by an earlier life of this replica.
    pub fn reserve(&self, floor: ObjectId) {
        self.next.fetch_max(floor.0, Relaxed);
    }

    /// Objects up to this one are in both nodes' tables and on both disks, as of the last [`Table::commit`].
    pub fn floor(&self) -> ObjectId {
        ObjectId(self.floor.load(SeqCst))
    }

    /// The run of a primary that this table followed last; nil for none.
    pub fn incarnation(&self) -> Uuid {
        *self.incarnation.lock()
    }

    /// This table follows another run of a primary. Durable with the next [`Table::commit`].
    pub fn set_incarnation(&self, incarnation: Uuid) {
        *self.incarnation.lock() = incarnation;
    }

    /// Runs `use_it` on the entry in memory, which is fetched from disk if it must.
    fn with<T>(&self, id: ObjectId, mut use_it: impl FnMut(&Shard) -> Option<T>) -> Option<T> {
        loop {
            if let Some(outcome) = use_it(self.entries(id)) {
                return Some(outcome);
            }
            if !self.load(id) {
                return None;
            }
            self.make_room_if_short();
        }
    }

    /// The entry of `id`.
    pub fn get(&self, id: ObjectId) -> Option<Entry> {
        self.with(id, |shard| shard.read().get(&id.0).cloned())
    }

    /// Looks at the entry of `id` without copying it.
    pub fn look<T>(&self, id: ObjectId, look: impl FnOnce(&Entry) -> T) -> Option<T> {
        let mut look = Some(look);
        self.with(id, |shard| {
            let shard = shard.read();
            let entry = shard.get(&id.0)?;
            look.take().map(|look| look(entry))
        })
    }

    /// Changes the entry of `id`.
    pub fn change(&self, id: ObjectId, change: impl FnOnce(&mut Entry)) {
        let mut change = Some(change);
        let touched = self.with(id, |shard| {
            let mut shard = shard.write();
            let entry = shard.get_mut(&id.0)?;
            let before = (entry.parent, entry.lasts());
            change.take()?(entry);
            Some((before != (entry.parent, entry.lasts()), entry.lasts()))
        });
        match touched {
            Some((true, true)) => self.note(id, Change::Put),
            Some((true, false)) => self.note(id, Change::Gone),
            _ => {}
        }
    }

    fn note(&self, id: ObjectId, change: Change) {
        self.note_in(&mut self.changes.lock(), id, change);
    }

    fn note_in(&self, changes: &mut Changes, id: ObjectId, change: Change) {
        self.version(id).fetch_add(1, SeqCst);
        if self.store.is_some() && id != ObjectId::ROOT {
            changes.note(id, change);
            self.waiting.store(changes.waiting(), Relaxed);
        }
    }

    /// Reads from disk; after a failure once more, when whoever met it has opened the database again.
    fn read<T: Default>(&self, read: impl Fn(&Store) -> io::Result<T>) -> T {
        let Some(store) = &self.store else { return T::default() };
        read(store).unwrap_or_else(|_| {
            let _nobody_writes = self.writer.lock();
            read(store).unwrap_or_else(|why| {
                tracing::error!(%why, "the table of objects cannot be read: what it holds is taken for new");
                T::default()
            })
        })
    }

    /// Fetches an entry from disk. False if it is not there either.
    fn load(&self, id: ObjectId) -> bool {
        if self.store.is_none() {
            return false;
        }
        loop {
            let version = self.version(id).load(SeqCst);
            if self.changes.lock().gone(id) {
                return self.entries(id).read().contains_key(&id.0);
            }
            let found = self.read(|store| store.get(id));
            let _still = self.changes.lock();
            if self.version(id).load(SeqCst) != version {
                continue;
            }
            let mut shard = self.entries(id).write();
            if let Some(mut entry) = found
                && !shard.contains_key(&id.0)
            {
                entry.closed = self.closings.load(Relaxed);
                (entry.names_epoch, entry.content_epoch) = self.told.lock().take(id);
                shard.insert(id.0, entry);
                self.count.fetch_add(1, Relaxed);
            }
            return shard.contains_key(&id.0);
        }
    }

    /// Id of the named object with this inode number. From disk it is only what had the number last: see
    /// [`super::Objects::identify`].
    pub fn by_inode(&self, inode: u64) -> Option<ObjectId> {
        let mut inodes = self.inodes(inode).lock();
        if let Some(id) = inodes.get(&inode) {
            return Some(ObjectId(*id));
        }
        let id = self.read(|store| store.by_inode(inode))?;
        if !self.load(id) || self.entries(id).read().get(&id.0).is_none_or(|entry| entry.inode != inode || entry.nameless) {
            return None;
        }
        inodes.insert(inode, id.0);
        drop(inodes);
        self.make_room_if_short();
        Some(id)
    }

    /// Puts the entry into memory, as a change. The caller has made the inode number its own.
    fn enter(&self, id: Option<ObjectId>, mut entry: Entry) -> (ObjectId, Option<u64>) {
        let mut changes = self.changes.lock();
        let next = self.next.load(Relaxed);
        let id = id.unwrap_or(ObjectId(next));
        self.next.fetch_max(id.0.saturating_add(1), Relaxed);
        if entry.lasts() {
            self.note_in(&mut changes, id, if id.0 >= next { Change::New } else { Change::Put });
        }
        entry.closed = self.closings.load(Relaxed);
        let before = self.entries(id).write().insert(id.0, entry).map(|before| before.inode);
        if before.is_none() {
            self.count.fetch_add(1, Relaxed);
        }
        (id, before)
    }

    /// Enters an object under a given id. What had the id before is gone.
    pub fn insert(&self, id: ObjectId, entry: Entry) {
        let inode = entry.inode;
        let before = {
            let mut inodes = self.inodes(inode).lock();
            inodes.insert(inode, id.0);
            self.enter(Some(id), entry).1
        };
        if let Some(before) = before.filter(|before| *before != inode) {
            self.forget_inode(before, id);
        }
        self.make_room_if_short();
    }

    /// Enters an object that was just made, under an id never given before.
    pub fn add(&self, entry: Entry) -> ObjectId {
        let mut inodes = self.inodes(entry.inode).lock();
        let inode = entry.inode;
        let (id, _) = self.enter(None, entry);
        inodes.insert(inode, id.0);
        drop(inodes);
        self.make_room_if_short();
        id
    }

    /// How often entries have left memory, for [`Table::learn`].
    pub(super) fn trims(&self) -> u64 {
        self.trims.load(SeqCst)
    }

    /// Enters an object that was found on disk. None if it may be known meanwhile, by another thread: `trims` is from
    /// before the caller asked.
    pub(super) fn learn(&self, entry: Entry, trims: u64) -> Option<ObjectId> {
        let mut inodes = self.inodes(entry.inode).lock();
        if inodes.contains_key(&entry.inode) || self.trims() != trims {
            return None;
        }
        let inode = entry.inode;
        let (id, _) = self.enter(None, entry);
        inodes.insert(inode, id.0);
        drop(inodes);
        self.make_room_if_short();
        Some(id)
    }

    /// Whether what has the object's inode number now has this handle; `parent` holds it. False if the object is
    /// gone and something else got its number.
    pub(super) fn verify(&self, id: ObjectId, handle: &Handle, parent: ObjectId) -> bool {
        let mut same = false;
        self.change(id, |entry| {
            same = entry.handle == *handle;
            if same {
                (entry.verified, entry.parent) = (true, parent);
            }
        });
        same
    }

    fn forget_inode(&self, inode: u64, id: ObjectId) {
        let mut inodes = self.inodes(inode).lock();
        if inodes.get(&inode) == Some(&id.0) {
            inodes.remove(&inode);
        }
    }

    /// The object has lost its last name: its inode number no longer belongs to it (it may already belong to a newer
    /// object), and it will not outlive this run.
    pub fn unlink_inode(&self, inode: u64, id: ObjectId) {
        self.change(id, |entry| entry.nameless = true);
        self.forget_inode(inode, id);
    }

    /// The object is gone for good.
    pub fn remove(&self, id: ObjectId) {
        let gone = {
            let mut changes = self.changes.lock();
            let gone = self.entries(id).write().remove(&id.0);
            if gone.as_ref().is_none_or(Entry::lasts) {
                self.note_in(&mut changes, id, Change::Gone);
            }
            gone
        };
        if let Some(entry) = gone {
            self.count.fetch_sub(1, Relaxed);
            self.forget_inode(entry.inode, id);
        }
        self.make_room_if_short();
    }

    /// Number of objects; about, while they come and go.
    pub fn len(&self) -> usize {
        if self.store.is_none() {
            return self.count.load(Relaxed);
        }
        (1 + self.stored.load(Relaxed) + self.changes.lock().growth()).max(1) as usize
    }

    /// Never true: the root is always there.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Marks an object as excluded from replication.
    pub fn set_local(&self, id: ObjectId) {
        self.locals.store(1, Relaxed);
        self.change(id, |entry| entry.local = true);
    }

    /// Whether the object is excluded; free where nothing is excluded.
    pub fn is_local(&self, id: ObjectId) -> bool {
        self.locals.load(Relaxed) != 0 && self.look(id, |entry| entry.local).unwrap_or(false)
    }

    /// The object's descriptor is being closed because it must be opened anew.
    pub(super) fn close(&self, id: ObjectId) {
        let mut shard = self.entries(id).write();
        let closings = self.closings.fetch_add(1, Relaxed).wrapping_add(1);
        if let Some(entry) = shard.get_mut(&id.0) {
            entry.closed = closings;
        }
    }

    /// All objects known with ids from `first` to `last`, in order. Some may be gone: what was removed is left out,
    /// what a crash made disappear is not.
    pub fn known_in(&self, first: ObjectId, last: ObjectId) -> Vec<(ObjectId, Kind)> {
        let mut known = BTreeMap::new();
        let mut dropped = Vec::new();
        let mut see = |id: u64, entry: &Entry| match entry.lasts() {
            true => drop(known.insert(id, entry.kind)),
            false => dropped.push(id),
        };
        // Memory first: what leaves it meanwhile is on disk.
        if last.0.saturating_sub(first.0) < OBJECTS_RANGE {
            for id in first.0..=last.0 {
                if let Some(entry) = self.entries(ObjectId(id)).read().get(&id) {
                    see(id, entry);
                }
            }
        } else {
            for shard in &self.entries {
                shard.read().iter().filter(|(id, _)| (first.0..=last.0).contains(id)).for_each(|(id, entry)| see(*id, entry));
            }
        }
        // What is gone may still be on the disk that is read, and written away by the time it is looked for below.
        let gone = self.changes.lock().all_gone();
        for (id, kind) in self.read(|store| store.kinds(first.0..=last.0)) {
            if !gone.contains(&id.0) {
                known.entry(id.0).or_insert(kind);
            }
        }
        let changes = self.changes.lock();
        for id in dropped {
            known.remove(&id);
        }
        known.into_iter().map(|(id, kind)| (ObjectId(id), kind)).filter(|(id, _)| !changes.gone(*id)).collect()
    }
}

#[cfg(test)]
mod tests;
