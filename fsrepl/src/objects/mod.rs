//! What the objects of a replica are called and how they are reached: ids, local file handles, open
//! descriptors, locks, and modification times not written yet.

mod before;
mod changes;
mod entry;
pub mod flags;
mod lazy;
mod live;
mod locks;
mod store;
mod table;
mod times;
mod unnamed;

pub use entry::{Entry, Kind};
pub use lazy::Lazy;
pub use live::{Cursor, Live};
pub use locks::{Held, Locks};
pub use table::Table;
pub use times::{Times, now as times_now};

use crate::apply::{HIDDEN, identity};
use crate::id::{ObjectId, Stamp};
use crate::kept::consistent::Keep;
use crate::sys::{self, Sys};
use parking_lot::RwLock;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, Stat};
use rustix::io::Errno;
use std::ffi::CStr;
use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// All objects of one replica on this node.
pub struct Objects {
    root: Arc<OwnedFd>,
    /// Ids, handles, inode numbers.
    pub table: Table,
    /// Locks by id.
    pub locks: Locks,
    /// Modification times that are decided but not written.
    pub times: Times,
    live: live::Cache,
    unnamed: unnamed::Unnamed,
    /// The state before a resync, while one runs here.
    keep: RwLock<Option<Arc<Keep>>>,
    keeping: AtomicBool,
}

impl Objects {
    /// Starts with the root only, and keeps ids in memory. `root` is a readable descriptor of the directory on the
    /// private mount.
    pub fn new(root: OwnedFd) -> Sys<Objects> {
        let stat = rustix::fs::fstat(&root)?;
        let handle = sys::name_to_handle(root.as_fd(), c"")?;
        Ok(Objects::over(root, Table::new(stat.st_dev), Entry::new(handle, &stat, ObjectId::ROOT)))
    }

    /// Starts with what the table in `hidden` (the hidden directory) knows, which one engine at a time can have open.
    /// A table that cannot be read is begun anew.
    pub fn open(root: OwnedFd, hidden: impl AsFd) -> io::Result<Objects> {
        let stat = rustix::fs::fstat(&root)?;
        let handle = sys::name_to_handle(root.as_fd(), c"")?;
        let (store, meta) = store::Store::open(hidden, &handle)?;
        Ok(Objects::over(root, Table::over(stat.st_dev, store, meta)?, Entry::new(handle, &stat, ObjectId::ROOT)))
    }

    fn over(root: OwnedFd, table: Table, entry: Entry) -> Objects {
        table.insert(ObjectId::ROOT, entry);
        Objects {
            root: Arc::new(root),
            table,
            locks: Locks::default(),
            times: Times::default(),
            live: live::Cache::default(),
            unnamed: Default::default(),
            keep: RwLock::default(),
            keeping: AtomicBool::new(false),
        }
    }

    /// Forgets all objects above `floor`, but never the root, with what is open of them. Nobody may use them meanwhile.
    pub fn forget_above(&self, floor: ObjectId) -> io::Result<()> {
        let floor = floor.max(ObjectId::ROOT);
        self.write_old_times(0);
        self.live.clear();
        self.table.forget_above(floor)
    }

    /// Forgets all objects but the root. Nobody may use them meanwhile.
    pub fn clear(&self) -> io::Result<()> {
        self.write_old_times(0);
        self.live.clear();
        self.table.clear()
    }

    /// The root directory's descriptor, readable.
    pub fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    fn open_object(&self, id: ObjectId, entry: &Entry) -> Sys<Live> {
        let live = |fd, writable| Live::new(id, entry.kind, fd, writable);
        identity::as_root();
        let open = |flags| sys::open_by_handle(self.root.as_fd(), &entry.handle, flags | libc::O_NOFOLLOW | libc::O_NONBLOCK);
        match entry.kind {
            Kind::File => match open(libc::O_RDWR) {
                Ok(fd) => Ok(live(fd, Ok(()))),
                // An append-only inode opens for writing only with O_APPEND, an immutable one not at all.
                Err(why @ (Errno::PERM | Errno::ROFS | Errno::ACCESS)) => match open(libc::O_RDWR | libc::O_APPEND) {
                    Ok(fd) => Ok(live(fd, Ok(())).appending()),
                    Err(_) => Ok(live(open(libc::O_RDONLY)?, Err(why))),
                },
                Err(why) => Err(why),
            },
            Kind::Directory => Ok(live(open(libc::O_RDONLY | libc::O_DIRECTORY)?, Ok(()))),
            _ => Ok(live(open(libc::O_PATH)?, Err(Errno::PERM))),
        }
    }

    /// The open object; opened by its handle when it is not. ESTALE when it is gone.
    pub fn live(&self, id: ObjectId) -> Sys<Arc<Live>> {
        if let Some(live) = self.live.get(id) {
            if live.flushable() {
                return Ok(live);
            }
            identity::as_root();
            return self.live.open_orphan(live);
        }
        loop {
            let entry = self.table.get(id).ok_or(Errno::STALE)?;
            let live = self.open_object(id, &entry)?;
            // It may have been closed meanwhile because it can be opened in another way than before.
            if let Some(live) = self.live.put(live, || self.table.look(id, |now| now.closed) == Some(entry.closed)) {
                return Ok(live);
            }
        }
    }

    /// Adopts a descriptor that was just opened for a new object (readable and writable for files).
    pub fn adopt(&self, id: ObjectId, kind: Kind, fd: OwnedFd) -> Arc<Live> {
        self.live.put(Live::new(id, kind, fd, Ok(())), || true).expect("a descriptor of its own counts")
    }

    /// The permission bits of `id` are about to change: what is known of them no longer counts.
    pub fn mode_changes(&self, id: ObjectId) {
        if let Some(live) = self.live.get(id) {
            live.mode_changes();
        }
    }

    /// Forgets the descriptor of `id`, so that the next use opens it again.
    pub fn close(&self, id: ObjectId) {
        self.table.close(id);
        self.live.remove(id);
    }

    /// Some descriptor of the object, good for metadata only.
    pub fn any_fd(&self, id: ObjectId) -> Sys<Arc<Live>> {
        if let Some(live) = self.live.get(id) {
            return Ok(live);
        }
        let entry = self.table.get(id).ok_or(Errno::STALE)?;
        identity::as_root();
        let fd = sys::open_by_handle(self.root.as_fd(), &entry.handle, libc::O_PATH | libc::O_NOFOLLOW)?;
        // Not cached: a walk over millions of files must not push out what the application has open.
        Ok(Arc::new(Live::new(id, entry.kind, fd, Err(Errno::BADF))))
    }

    /// The object open for reading, without a place among what the application has open: for a walk over many.
    pub fn for_reading(&self, id: ObjectId) -> Sys<Arc<Live>> {
        if let Some(live) = self.live.get(id).filter(|live| live.flushable()) {
            return Ok(live);
        }
        let entry = self.table.get(id).ok_or(Errno::STALE)?;
        let flags = match entry.kind {
            Kind::File => libc::O_RDONLY | libc::O_NONBLOCK,
            Kind::Directory => libc::O_RDONLY | libc::O_DIRECTORY,
            _ => libc::O_PATH,
        };
        identity::as_root();
        let fd = sys::open_by_handle(self.root.as_fd(), &entry.handle, flags | libc::O_NOFOLLOW)?;
        Ok(Arc::new(Live::new(id, entry.kind, fd, Err(Errno::PERM))))
    }

    /// Attributes as applications must see them: a decided but not yet written modification time included.
    pub fn stat(&self, id: ObjectId) -> Sys<Stat> {
        let live = self.any_fd(id)?;
        let mut stat = rustix::fs::statat(&*live, c"", AtFlags::EMPTY_PATH)?;
        self.overlay(id, &mut stat);
        Ok(stat)
    }

    /// Makes attributes read from disk those that applications see: with the decided modification time, and
    /// without the hidden directory among the links of the root.
    pub fn overlay(&self, id: ObjectId, stat: &mut Stat) {
        self.times.overlay(id, stat);
        if self.unnamed.has(id) {
            stat.st_nlink = 0;
        }
        if id == ObjectId::ROOT && stat.st_nlink > 2 {
            identity::as_root();
            let hidden = rustix::fs::statat(&*self.root, HIDDEN, AtFlags::SYMLINK_NOFOLLOW);
            stat.st_nlink -= u64::from(hidden.is_ok_and(|stat| Kind::of(stat.st_mode) == Kind::Directory));
        }
    }

    /// Id of what `name` in `dir` is, given its attributes; learnt now if it was not known.
    pub fn identify(&self, dir: BorrowedFd<'_>, parent: ObjectId, name: &CStr, stat: &Stat) -> Sys<ObjectId> {
        loop {
            let trims = self.table.trims();
            if let Some(id) = self.known(dir, parent, name, stat)? {
                return Ok(id);
            }
            let handle = sys::name_to_handle(dir, name)?;
            if let Some(id) = self.table.learn(Entry::new(handle, stat, parent), trims) {
                return Ok(id);
            }
        }
    }

    /// Id of what `name` in `dir` is, given its attributes, if it is known. What only the table on disk says of an
    /// inode number is verified: a crash may have lost that the object was removed, and the number is another's.
    pub fn known(&self, dir: BorrowedFd<'_>, parent: ObjectId, name: &CStr, stat: &Stat) -> Sys<Option<ObjectId>> {
        if stat.st_dev != self.table.device() {
            return Err(Errno::XDEV);
        }
        let Some(id) = self.table.by_inode(stat.st_ino) else { return Ok(None) };
        if self.table.look(id, |entry| entry.verified) == Some(true) {
            return Ok(Some(id));
        }
        if self.table.verify(id, &sys::name_to_handle(dir, name)?, parent) {
            return Ok(Some(id));
        }
        // Is it still the name of that inode? Otherwise the handle says nothing of the object.
        if rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)?.st_ino != stat.st_ino {
            return Err(Errno::NOENT);
        }
        tracing::debug!(%id, inode = stat.st_ino, "an object went in a crash");
        self.removed(id, stat.st_ino);
        Ok(None)
    }

    /// Where files without a name may wait when descriptors are short: inside the hidden directory.
    pub fn settle(&self, hidden: impl AsFd) -> Sys<()> {
        self.unnamed.settle(hidden)
    }

    /// To be called before the last name of a file goes: where descriptors are short it gets a hidden one.
    pub fn keep_unnamed(&self, id: ObjectId, pin: impl AsFd) {
        if self.live.many_orphans()
            && let Err(why) = self.unnamed.keep(id, pin)
        {
            // A full disk must not prevent removals: a descriptor keeps it.
            tracing::debug!(%id, %why, "no hidden name for a removed file");
        }
    }

    /// The last name did not go after all.
    pub fn keeps_name(&self, id: ObjectId) {
        self.unnamed.forget(id);
    }

    /// The last name of `id` is removed: `pin` keeps the inode reachable until [`Objects::forget`].
    pub fn orphan(&self, id: ObjectId, inode: u64, pin: OwnedFd) {
        self.table.unlink_inode(inode, id);
        if !self.unnamed.has(id) {
            self.live.orphan(id, pin, self.table.get(id).map_or(Kind::File, |entry| entry.kind));
        }
        self.times.take(id);
    }

    /// Runs `act` again while it finds no room and a file that was just removed may still be making some.
    pub fn with_room<T>(&self, mut act: impl FnMut() -> Sys<T>) -> Sys<T> {
        loop {
            // Asked before: room that came meanwhile is worth one more attempt.
            let may_come = self.live.room_may_come();
            match act() {
                Err(Errno::NOSPC | Errno::DQUOT) if may_come => std::thread::sleep(std::time::Duration::from_millis(1)),
                other => return other,
            }
        }
    }

    /// Whether the object has no name any more.
    pub fn is_orphan(&self, id: ObjectId) -> bool {
        self.live.is_orphan(id) || self.unnamed.has(id)
    }

    /// The kernel is being given this object once more.
    pub fn looked_up(&self, id: ObjectId) {
        self.table.change(id, |entry| entry.lookups += 1);
    }

    /// The kernel gives back `lookups` of what it was given. Counted, because what it forgot earlier may be
    /// read after a later lookup and removal: only the last one ends an object without a name.
    pub fn forget_lookups(&self, id: ObjectId, lookups: u64) {
        let mut left = 0;
        self.table.change(id, |entry| {
            entry.lookups = entry.lookups.saturating_sub(lookups);
            left = entry.lookups;
        });
        if left == 0 {
            self.forget(id);
        }
    }

    /// Nobody can reach an orphan any more.
    pub fn forget(&self, id: ObjectId) {
        if self.live.forget_orphan(id) || self.forget_unnamed(id) {
            self.table.remove(id);
            // Somebody may have opened it by its handle while it lost its name; nobody can any more.
            self.live.remove(id);
        }
    }

    fn forget_unnamed(&self, id: ObjectId) -> bool {
        if !self.unnamed.has(id) {
            return false;
        }
        self.live.remove(id);
        identity::as_root();
        self.unnamed.forget(id)
    }

    /// The object is gone from this node (secondary: its last name was removed).
    pub fn removed(&self, id: ObjectId, inode: u64) {
        self.table.unlink_inode(inode, id);
        self.table.remove(id);
        self.live.remove(id);
        self.times.take(id);
    }

    /// Writes one decided modification time to the file, under the object's lock.
    pub fn write_time(&self, id: ObjectId) -> Sys<()> {
        let _held = self.locks.one(id);
        self.write_time_locked(id)
    }

    /// The same, when the caller holds the object's lock.
    pub fn write_time_locked(&self, id: ObjectId) -> Sys<()> {
        let Some(stamp) = self.times.take(id) else { return Ok(()) };
        let live = self.any_fd(id)?;
        // Mostly the kernel stamped the file with the same tick; writing it again would only move ctime.
        let stat = rustix::fs::statat(&*live, c"", AtFlags::EMPTY_PATH)?;
        if mtime(&stat) == stamp {
            return Ok(());
        }
        match set_mtime(live.as_fd(), stamp) {
            // Append-only objects change and take no times.
            Err(Errno::PERM) => {
                let live = self.live(id)?;
                self.before_attributes(&*live)?;
                flags::unlocked(&live, || set_mtime(live.as_fd(), stamp))
            }
            other => other,
        }
    }

    /// Writes decided modification times that are older than `age_ms`; what cannot be written is dropped
    /// with the object.
    pub fn write_old_times(&self, age_ms: u64) -> usize {
        let old = self.times.older_than(age_ms);
        let written = old.len();
        for id in old {
            if let Err(why) = self.write_time(id)
                && why != Errno::STALE
            {
                tracing::debug!(%id, %why, "modification time not written");
            }
        }
        written
    }
}

/// Sets the modification time only.
pub fn set_mtime(fd: BorrowedFd<'_>, stamp: Stamp) -> Sys<()> {
    use rustix::fs::{Timespec, Timestamps, UTIME_OMIT};
    let omit = Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT as _ };
    let times = Timestamps { last_access: omit, last_modification: Timespec { tv_sec: stamp.sec, tv_nsec: stamp.nsec as _ } };
    identity::as_root();
    rustix::fs::utimensat(fd, c"", &times, AtFlags::EMPTY_PATH)
}

/// Modification time out of attributes.
pub fn mtime(stat: &Stat) -> Stamp {
    Stamp { sec: stat.st_mtime, nsec: stat.st_mtime_nsec as u32 }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A removal that came while the last orphan was forgotten was not seen any more, and stayed open for good.
    #[test]
    fn orphans_come_while_others_are_forgotten() {
        let temp = tempfile::tempdir().unwrap();
        let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::DIRECTORY;
        let root = || rustix::fs::open(temp.path(), flags, rustix::fs::Mode::empty()).unwrap();
        let objects = Objects::new(root()).unwrap();
        let pin = root();
        std::thread::scope(|threads| {
            for first in [1_000, 1_000_000] {
                let (objects, pin) = (&objects, &pin);
                threads.spawn(move || {
                    for id in (first..first + 20_000).map(ObjectId) {
                        objects.live.orphan(id, pin.try_clone().unwrap(), Kind::File);
                        assert!(objects.live.forget_orphan(id), "{id} is not forgotten");
                    }
                });
            }
        });
    }

    #[test]
    fn what_was_opened_before_a_close_is_not_kept() {
        let temp = tempfile::tempdir().unwrap();
        std::fs::write(temp.path().join("file"), "").unwrap();
        let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::DIRECTORY;
        let objects = Objects::new(rustix::fs::open(temp.path(), flags, rustix::fs::Mode::empty()).unwrap()).unwrap();
        let stat = rustix::fs::statat(objects.root(), c"file", AtFlags::empty()).unwrap();
        let id = objects.identify(objects.root(), ObjectId::ROOT, c"file", &stat).unwrap();
        // As `live` does it, with a close by another thread between opening and entering.
        let entry = objects.table.get(id).unwrap();
        let opened = objects.open_object(id, &entry).unwrap();
        objects.close(id);
        assert!(objects.live.put(opened, || objects.table.look(id, |now| now.closed) == Some(entry.closed)).is_none());
        assert!(objects.live(id).is_ok());
    }
}
