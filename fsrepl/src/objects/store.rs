//! The table of objects on disk: a database that only holds what can be found out again, at the price of
//! comparing everything. So what cannot be read is put aside, and the next one begins empty.

use super::{Entry, Kind};
use crate::apply::identity;
use crate::id::ObjectId;
use crate::limits::{OBJECTS_CACHE, OBJECTS_ROOM};
use crate::sys::Handle;
use parking_lot::RwLock;
use redb::backends::FileBackend;
use redb::{Database, Durability, ReadableDatabase, ReadableTable, ReadableTableMetadata, Table, TableDefinition, WriteTransaction};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{FallocateFlags, Mode, OFlags, fallocate, openat, renameat};
use rustix::io::Errno;
use std::fs::File;
use std::io;
use std::ops::RangeInclusive;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use uuid::Uuid;

const FILE: &str = "objects.redb";
const ASIDE: &str = "objects.redb.damaged";
/// Layout of the tables and of their values.
const SCHEMA: u64 = 1;

const OBJECTS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("objects");
const INODES: TableDefinition<'_, u64, u64> = TableDefinition::new("inodes");
const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");

/// What the table knows beside its objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Meta {
    /// Objects up to this one are in both nodes' tables and on both disks.
    pub floor: ObjectId,
    /// Ids from here on were not given yet.
    pub next: ObjectId,
    /// The run of a primary that the table followed last; nil for none.
    pub incarnation: Uuid,
}

impl Default for Meta {
    fn default() -> Self {
        Meta { floor: ObjectId(0), next: ObjectId::FIRST, incarnation: Uuid::nil() }
    }
}

/// The database. Errors of kind `InvalidData` say that it is damaged.
pub struct Store {
    dir: OwnedFd,
    root: Handle,
    /// None where opening it again failed.
    open: RwLock<Option<Open>>,
}

struct Open {
    database: Database,
    file: File,
    /// Length up to which the file has its room on disk.
    held: AtomicU64,
}

impl Open {
    /// Takes room for what the file may need soon: a full disk must not keep a few changes from being written, when
    /// nothing new can be made anyway.
    fn hold_room(&self) {
        let Ok(length) = self.file.metadata().map(|metadata| metadata.len()) else { return };
        if length == self.held.load(Relaxed) {
            return;
        }
        match fallocate(&self.file, FallocateFlags::KEEP_SIZE, 0, length + OBJECTS_ROOM) {
            Ok(()) | Err(Errno::OPNOTSUPP) => self.held.store(length, Relaxed),
            Err(why) => tracing::debug!(%why, "no room in reserve for the table of objects"),
        }
    }
}

/// One transaction's worth of changes.
pub struct Batch<'a> {
    /// Objects to forget.
    pub gone: &'a [ObjectId],
    /// Objects to enter, or to enter anew.
    pub put: &'a [(ObjectId, Entry)],
    /// The rest.
    pub meta: Meta,
    /// Whether it is on disk when the call returns.
    pub durable: bool,
}

fn failed(why: impl Into<redb::Error>) -> io::Error {
    match why.into() {
        redb::Error::Io(why) => why,
        why @ (redb::Error::Corrupted(_)
        | redb::Error::UpgradeRequired(_)
        | redb::Error::RepairAborted
        | redb::Error::TableTypeMismatch { .. }
        | redb::Error::TableIsMultimap(_)
        | redb::Error::TypeDefinitionChanged { .. }) => io::Error::new(io::ErrorKind::InvalidData, why.to_string()),
        redb::Error::DatabaseAlreadyOpen => io::Error::new(io::ErrorKind::ResourceBusy, "another engine has the table of objects open"),
        why => io::Error::other(why.to_string()),
    }
}

impl Store {
    /// Opens the database in `dir` (the hidden directory), or makes it. `root` is the handle of the directory whose
    /// objects it holds: in a copy of the whole directory handles mean nothing.
    pub fn open(dir: impl AsFd, root: &Handle) -> io::Result<(Store, Meta)> {
        let dir = rustix::io::fcntl_dupfd_cloexec(dir, 0)?;
        let (open, meta) = open_or_begin(&dir, root)?;
        Ok((Store { dir, root: root.clone(), open: RwLock::new(Some(open)) }, meta))
    }

    /// After a failure nothing can be read or written until the database is opened again. What was not made
    /// durable before is lost.
    pub fn reopen(&self) -> io::Result<Meta> {
        let mut open = self.open.write();
        *open = None;
        let (again, meta) = open_or_begin(&self.dir, &self.root)?;
        *open = Some(again);
        Ok(meta)
    }

    fn read<T>(&self, read: impl FnOnce(&redb::ReadTransaction) -> Result<T, redb::Error>) -> io::Result<T> {
        let open = self.open.read();
        let open = open.as_ref().ok_or_else(|| io::Error::other("the table of objects is closed"))?;
        read(&open.database.begin_read().map_err(failed)?).map_err(failed)
    }

    /// The object, if it is there and whole.
    pub fn get(&self, id: ObjectId) -> io::Result<Option<Entry>> {
        self.read(|read| Ok(read.open_table(OBJECTS)?.get(id.0)?.and_then(|value| decode(id, value.value()))))
    }

    /// The object that had this inode number last.
    pub fn by_inode(&self, inode: u64) -> io::Result<Option<ObjectId>> {
        self.read(|read| Ok(read.open_table(INODES)?.get(inode)?.map(|id| ObjectId(id.value()))))
    }

    /// Number of objects.
    pub fn len(&self) -> io::Result<u64> {
        self.read(|read| Ok(read.open_table(OBJECTS)?.len()?))
    }

    /// All objects of a range.
    pub fn kinds(&self, range: RangeInclusive<u64>) -> io::Result<Vec<(ObjectId, Kind)>> {
        self.read(|read| {
            let mut found = Vec::new();
            for pair in read.open_table(OBJECTS)?.range(range)? {
                let (id, value) = pair?;
                let id = ObjectId(id.value());
                found.extend(decode(id, value.value()).map(|entry| (id, entry.kind)));
            }
            Ok(found)
        })
    }

    fn change<T>(&self, durable: bool, change: impl FnOnce(&WriteTransaction) -> Result<T, redb::Error>) -> io::Result<T> {
        // It may grow, and may be opened anew, in a thread that acts for a user.
        identity::as_root();
        let open = self.open.read();
        let open = open.as_ref().ok_or_else(|| io::Error::other("the table of objects is closed"))?;
        let mut write = open.database.begin_write().map_err(failed)?;
        write.set_durability(if durable { Durability::Immediate } else { Durability::None }).map_err(failed)?;
        // Opening after a crash must not walk through everything.
        write.set_quick_repair(durable);
        let outcome = change(&write).map_err(failed)?;
        write.commit().map_err(failed)?;
        if durable {
            open.hold_room();
        }
        Ok(outcome)
    }

    /// Writes a batch. Gives the objects that lost their inode number to one of the batch: they are gone, by a
    /// removal that was never recorded.
    pub fn write(&self, batch: &Batch<'_>) -> io::Result<Vec<ObjectId>> {
        self.change(batch.durable, |write| {
            let (mut objects, mut inodes) = (write.open_table(OBJECTS)?, write.open_table(INODES)?);
            for id in batch.gone {
                remove(&mut objects, &mut inodes, *id)?;
            }
            let mut replaced = Vec::new();
            for (id, entry) in batch.put {
                let before = objects.insert(id.0, &*encode(*id, entry))?.and_then(|value| decode(*id, value.value()));
                if let Some(before) = before.filter(|before| before.inode != entry.inode) {
                    unlink(&mut inodes, before.inode, *id)?;
                }
                let other = inodes.insert(entry.inode, id.0)?.map(|other| ObjectId(other.value()));
                if let Some(other) = other.filter(|other| other != id) {
                    let same = |entry: Entry| entry.inode;
                    let inode = objects.get(other.0)?.and_then(|value| decode(other, value.value())).map(same);
                    if inode == Some(entry.inode) {
                        objects.remove(other.0)?;
                        replaced.push(other);
                    }
                }
            }
            write_meta(write, &batch.meta)?;
            Ok(replaced)
        })
    }

    /// Forgets all objects above `floor`; durable with the next durable batch.
    pub fn forget_above(&self, floor: ObjectId) -> io::Result<()> {
        let Some(first) = floor.0.checked_add(1) else { return Ok(()) };
        self.change(false, |write| {
            let (mut objects, mut inodes) = (write.open_table(OBJECTS)?, write.open_table(INODES)?);
            let mut gone = Vec::new();
            objects.retain_in(first.., |id, value| {
                gone.extend(decode(ObjectId(id), value).map(|entry| (ObjectId(id), entry.inode)));
                false
            })?;
            gone.into_iter().try_for_each(|(id, inode)| unlink(&mut inodes, inode, id))
        })
    }

    /// Forgets all objects; durable with the next durable batch.
    pub fn clear(&self, meta: &Meta) -> io::Result<()> {
        self.change(false, |write| {
            write.delete_table(OBJECTS)?;
            write.delete_table(INODES)?;
            prepare(write, meta)
        })
    }
}

type Objects<'a> = Table<'a, u64, &'static [u8]>;
type Inodes<'a> = Table<'a, u64, u64>;

fn remove(objects: &mut Objects<'_>, inodes: &mut Inodes<'_>, id: ObjectId) -> Result<(), redb::Error> {
    let inode = objects.remove(id.0)?.and_then(|value| decode(id, value.value())).map(|entry| entry.inode);
    inode.map_or(Ok(()), |inode| unlink(inodes, inode, id))
}

/// The inode number may already be a younger object's.
fn unlink(inodes: &mut Inodes<'_>, inode: u64, id: ObjectId) -> Result<(), redb::Error> {
    if inodes.get(inode)?.is_some_and(|present| present.value() == id.0) {
        inodes.remove(inode)?;
    }
    Ok(())
}

fn open_or_begin(dir: &OwnedFd, root: &Handle) -> io::Result<(Open, Meta)> {
    match open_one(dir, root) {
        Err(why) if why.kind() == io::ErrorKind::InvalidData => {
            tracing::warn!(%why, aside = ASIDE, "the table of objects cannot be read and is begun anew: the next sync compares everything");
            renameat(dir, FILE, dir, ASIDE)?;
            open_one(dir, root)
        }
        other => other,
    }
}

fn open_one(dir: &OwnedFd, root: &Handle) -> io::Result<(Open, Meta)> {
    identity::as_root();
    let new = match rustix::fs::statat(dir, FILE, rustix::fs::AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => stat.st_size == 0,
        Err(Errno::NOENT) => true,
        Err(why) => return Err(why.into()),
    };
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = File::from(openat(dir, FILE, flags, Mode::RUSR | Mode::WUSR)?);
    let own = file.try_clone()?;
    let mut builder = Database::builder();
    builder.set_cache_size(OBJECTS_CACHE);
    // Nothing of ours is touched by a panic in there; what it does not understand is damage.
    let opened = catch_unwind(AssertUnwindSafe(|| builder.create_with_backend(FileBackend::new(file)?)));
    let database = opened.map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it makes no sense"))?.map_err(failed)?;
    if new {
        let mut write = database.begin_write().map_err(failed)?;
        write.set_quick_repair(true);
        prepare(&write, &Meta::default()).map_err(failed)?;
        write_root(&write, root).map_err(failed)?;
        write.commit().map_err(failed)?;
        rustix::fs::fsync(dir)?;
    }
    let meta = read_meta(&database, root)?;
    let open = Open { database, file: own, held: AtomicU64::new(0) };
    open.hold_room();
    Ok((open, meta))
}

fn prepare(write: &WriteTransaction, meta: &Meta) -> Result<(), redb::Error> {
    write.open_table(OBJECTS)?;
    write.open_table(INODES)?;
    write_meta(write, meta)
}

fn write_meta(write: &WriteTransaction, meta: &Meta) -> Result<(), redb::Error> {
    let mut table = write.open_table(META)?;
    for (key, value) in [("schema", SCHEMA), ("floor", meta.floor.0), ("next", meta.next.0)] {
        table.insert(key, &value.to_le_bytes()[..])?;
    }
    table.insert("incarnation", &meta.incarnation.as_bytes()[..])?;
    Ok(())
}

fn write_root(write: &WriteTransaction, root: &Handle) -> Result<(), redb::Error> {
    write.open_table(META)?.insert("root", &*handle_bytes(root))?;
    Ok(())
}

fn handle_bytes(handle: &Handle) -> Vec<u8> {
    let (handle_type, bytes) = handle.parts();
    [&handle_type.to_le_bytes(), bytes].concat()
}

fn read_meta(database: &Database, root: &Handle) -> io::Result<Meta> {
    let damaged = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
    // A table that should be there and is not is damage as well.
    let missing = |why: redb::TableError| match why {
        redb::TableError::TableDoesNotExist(name) => damaged(&format!("it has no {name}")),
        why => failed(why),
    };
    let read = database.begin_read().map_err(failed)?;
    read.open_table(OBJECTS).map_err(missing)?;
    read.open_table(INODES).map_err(missing)?;
    let table = read.open_table(META).map_err(missing)?;
    let get = |key: &str| table.get(key).map_err(failed)?.map(|value| value.value().to_vec()).ok_or_else(|| damaged("a field is missing"));
    let number = |key: &str| Ok(u64::from_le_bytes(get(key)?.try_into().map_err(|_| damaged("a field is none"))?)) as io::Result<u64>;
    if number("schema")? != SCHEMA {
        return Err(damaged("it is of another version"));
    }
    if get("root")? != handle_bytes(root) {
        return Err(damaged("it is another directory's"));
    }
    let incarnation = Uuid::from_slice(&get("incarnation")?).map_err(|_| damaged("a field is none"))?;
    Ok(Meta { floor: ObjectId(number("floor")?), next: ObjectId(number("next")?.max(ObjectId::FIRST.0)), incarnation })
}

/// Bytes of a value before the handle: digest, kind, parent, inode, type of the handle.
const FIXED: usize = 4 + 1 + 8 + 8 + 4;

/// The database does not see when the disk gives back something else: a wrong handle would be another file.
fn digest(id: ObjectId, rest: &[u8]) -> [u8; 4] {
    let mut hash = blake3::Hasher::new();
    hash.update(&id.0.to_le_bytes()).update(rest);
    let mut digest = [0; 4];
    digest.copy_from_slice(&hash.finalize().as_bytes()[..4]);
    digest
}

fn encode(id: ObjectId, entry: &Entry) -> Vec<u8> {
    let (kind, handle) = entry.handle.parts();
    let mut value = Vec::with_capacity(FIXED + handle.len());
    value.extend([0; 4]);
    value.push(match entry.kind {
        Kind::File => 1,
        Kind::Directory => 2,
        Kind::Symlink => 3,
        Kind::Special => 4,
    });
    value.extend(entry.parent.0.to_le_bytes());
    value.extend(entry.inode.to_le_bytes());
    value.extend(kind.to_le_bytes());
    value.extend(handle);
    let digest = digest(id, &value[4..]);
    value[..4].copy_from_slice(&digest);
    value
}

/// None for what is damaged: as if it were not there.
fn decode(id: ObjectId, value: &[u8]) -> Option<Entry> {
    let (told, rest) = value.split_first_chunk::<4>()?;
    if *told != digest(id, rest) {
        tracing::warn!(%id, "an object's record is damaged");
        return None;
    }
    let (kind, rest) = rest.split_first()?;
    let (parent, rest) = rest.split_first_chunk::<8>()?;
    let (inode, rest) = rest.split_first_chunk::<8>()?;
    let (handle_type, handle) = rest.split_first_chunk::<4>()?;
    let kind = match kind {
        1 => Kind::File,
        2 => Kind::Directory,
        3 => Kind::Symlink,
        4 => Kind::Special,
        _ => return None,
    };
    let handle = Handle::from_parts(i32::from_le_bytes(*handle_type), handle)?;
    Some(Entry::stored(handle, u64::from_le_bytes(*inode), kind, ObjectId(u64::from_le_bytes(*parent))))
}
