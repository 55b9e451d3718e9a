//! The table and its disk: what is written when, what leaves memory, and what is forgotten.

use super::{Change, SHARDS, Table, Told};
use crate::id::ObjectId;
use crate::limits::{OBJECTS_IN_MEMORY, OBJECTS_PENDING, OBJECTS_PENDING_MOST};
use crate::objects::Entry;
use crate::objects::store::{Batch, Meta, Store};
use std::io;
use std::sync::atomic::{Ordering::Relaxed, Ordering::SeqCst};

impl Table {
    /// Makes everything known so far durable, with `floor` (which never goes back: a lower one changes nothing).
    pub fn commit(&self, floor: ObjectId) -> io::Result<()> {
        self.write(Some(floor))?;
        if self.count.load(Relaxed) > OBJECTS_IN_MEMORY {
            self.trim();
        }
        Ok(())
    }

    /// To be called now and then: keeps what waits in memory small, without waiting for the disk.
    pub fn tidy(&self) {
        self.tidy_beyond(OBJECTS_PENDING, 0);
    }

    /// Memory stays bounded also when nobody has time for [`Table::tidy`].
    pub(super) fn make_room_if_short(&self) {
        let crowded = self.count.load(Relaxed) > self.room.load(Relaxed) + OBJECTS_IN_MEMORY;
        if crowded || self.waiting.load(Relaxed) > OBJECTS_PENDING_MOST {
            self.tidy_beyond(OBJECTS_PENDING_MOST, OBJECTS_IN_MEMORY);
        }
    }

    pub(super) fn tidy_beyond(&self, pending: usize, slack: usize) {
        if self.store.is_none() {
            return;
        }
        if self.waiting.load(Relaxed) > pending
            && let Err(why) = self.write(None)
        {
            tracing::warn!(%why, "the table of objects cannot be written");
        }
        if self.count.load(Relaxed) > self.room.load(Relaxed) + slack {
            self.trim();
        }
    }

    fn meta(&self) -> Meta {
        Meta { floor: self.floor(), next: ObjectId(self.next.load(Relaxed)), incarnation: self.incarnation() }
    }

    /// Writes what waits; durably, with a floor.
    pub(super) fn write(&self, floor: Option<ObjectId>) -> io::Result<()> {
        let Some(store) = &self.store else { return Ok(()) };
        let _writer = self.writer.lock();
        if let Some(floor) = floor {
            self.reserve(ObjectId(floor.0.saturating_add(1)));
        }
        let mut meta = self.meta();
        meta.floor = meta.floor.max(floor.unwrap_or(meta.floor));
        let changes = {
            let mut changes = self.changes.lock();
            meta.next = ObjectId(self.next.load(Relaxed));
            self.waiting.store(0, Relaxed);
            changes.begin()
        };
        let (mut gone, mut put) = (Vec::new(), Vec::new());
        for (id, change) in changes {
            match self.entries(id).read().get(&id.0) {
                _ if change == Change::Gone => gone.push(id),
                Some(entry) if entry.lasts() => put.push((id, entry.clone())),
                Some(_) => gone.push(id),
                // It went meanwhile, and that waits.
                None => {}
            }
        }
        match store.write(&Batch { gone: &gone, put: &put, meta, durable: floor.is_some() }) {
            Ok(replaced) => {
                self.changes.lock().done();
                self.floor.store(meta.floor.0, SeqCst);
                self.stored.store(store.len().unwrap_or(0) as i64, Relaxed);
                self.drop_replaced(&replaced);
                Ok(())
            }
            Err(why) => {
                self.recover(store, &why);
                Err(why)
            }
        }
    }

    /// Something else has the inode number of these objects: a crash had lost that they were removed.
    pub(super) fn drop_replaced(&self, replaced: &[ObjectId]) {
        for id in replaced {
            let changes = self.changes.lock();
            let mut shard = self.entries(*id).write();
            if !changes.touches(*id) && shard.get(&id.0).is_some_and(Entry::lasts) {
                shard.remove(&id.0);
                self.count.fetch_sub(1, Relaxed);
            }
            self.version(*id).fetch_add(1, SeqCst);
        }
    }

    /// After a failure the database has to be opened again, and holds what was durable last: everything in memory
    /// is written once more.
    pub(super) fn recover(&self, store: &Store, why: &io::Error) {
        let meta = store.reopen();
        let mut changes = self.changes.lock();
        changes.put_back();
        for (number, shard) in self.entries.iter().enumerate() {
            self.versions[number].fetch_add(1, SeqCst);
            for (id, _) in shard.read().iter().filter(|(id, entry)| **id != ObjectId::ROOT.0 && entry.lasts()) {
                changes.note(ObjectId(*id), Change::Put);
            }
        }
        match meta {
            Ok(meta) => {
                self.floor.fetch_min(meta.floor.0, SeqCst);
                self.reserve(meta.next);
            }
            Err(again) => tracing::error!(%why, %again, "the table of objects is lost until it can be opened again"),
        }
    }

    /// Lets go of entries that are on disk and that nobody needs now, until there is room.
    pub(super) fn trim(&self) {
        self.trim_to(OBJECTS_IN_MEMORY / 4 * 3);
    }

    pub(super) fn trim_to(&self, most: usize) {
        if self.store.is_none() {
            return;
        }
        for number in 0..SHARDS {
            if self.count.load(Relaxed) <= most {
                break;
            }
            let mut dropped = Vec::new();
            {
                let changes = self.changes.lock();
                let mut told = self.told.lock();
                let mut shard = self.entries[number].write();
                self.trims.fetch_add(1, SeqCst);
                shard.retain(|id, entry| {
                    let id = ObjectId(*id);
                    let stays = id == ObjectId::ROOT || entry.lookups > 0 || !entry.lasts() || changes.touches(id);
                    if !stays {
                        told.keep(id, (entry.names_epoch, entry.content_epoch));
                        dropped.push((entry.inode, id));
                    }
                    stays
                });
                if shard.capacity() > 2 * shard.len() {
                    shard.shrink_to_fit();
                }
            }
            self.count.fetch_sub(dropped.len(), Relaxed);
            for (inode, id) in dropped {
                self.forget_inode(inode, id);
            }
        }
        // What the kernel holds stays: another look is worth while when much has come since.
        self.room.store(OBJECTS_IN_MEMORY.max(self.count.load(Relaxed) + OBJECTS_IN_MEMORY / 4), Relaxed);
    }

    /// Forgets all objects above `floor`: they are not those that the peer means by these ids. Nobody may use
    /// the table meanwhile. Durable with the next [`Table::commit`].
    pub fn forget_above(&self, floor: ObjectId) -> io::Result<()> {
        let _writer = self.writer.lock();
        if let Some(store) = &self.store {
            store.forget_above(floor)?;
            self.stored.store(store.len()? as i64, Relaxed);
        }
        self.drop_all(|id| id.0 > floor.0);
        Ok(())
    }

    /// Forgets everything but the root, and the floor. Nobody may use the table meanwhile. Durable with the next
    /// [`Table::commit`].
    pub fn clear(&self) -> io::Result<()> {
        let _writer = self.writer.lock();
        self.floor.store(0, SeqCst);
        if let Some(store) = &self.store {
            store.clear(&self.meta())?;
            self.stored.store(0, Relaxed);
        }
        self.drop_all(|id| id != ObjectId::ROOT);
        Ok(())
    }

    fn drop_all(&self, dropped: impl Fn(ObjectId) -> bool) {
        let mut changes = self.changes.lock();
        changes.forget(&dropped);
        *self.told.lock() = Told::default();
        for (shard, version) in self.entries.iter().zip(&self.versions) {
            version.fetch_add(1, SeqCst);
            let mut shard = shard.write();
            let before = shard.len();
            shard.retain(|id, _| !dropped(ObjectId(*id)));
            self.count.fetch_sub(before - shard.len(), Relaxed);
        }
        drop(changes);
        for inodes in &self.inodes {
            inodes.lock().retain(|_, id| !dropped(ObjectId(*id)));
        }
    }
}
