//! The secondary's side of a resync: park → place → purge. Objects that are in the wrong place are parked in
//! the hidden directory, placed where the primary has them, and what nobody claimed is purged at the end.

use crate::apply::remote::{ApplyError, Incoming, component, link_into, make_new, told};
use crate::apply::{Exclude, HIDDEN, own, read_directory, xattr_names};
use crate::id::ObjectId;
use crate::objects::{Entry, Kind, Live, Objects, flags};
use crate::op::{self, Create, Name, SyncMeta, SyncNames};
use crate::sys::{self, Sys};
use rustc_hash::FxHashMap;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, Mode, OFlags, Stat};
use rustix::io::Errno;
use std::ffi::{CStr, CString};
use std::os::unix::ffi::OsStrExt;
use std::rc::Rc;

const PARKED: &CStr = c"parked";

/// State of one resync on the secondary.
pub struct Target {
    parked: OwnedFd,
    counter: u64,
    /// Names of the directory that is being compared, not yet mentioned by the primary.
    unmentioned: FxHashMap<Vec<u8>, u64>,
    exclude: Exclude,
}

fn nonsense<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> Result<T, ApplyError> {
    op::decode(bytes).map_err(ApplyError::Nonsense)
}

impl Target {
    /// Begins a resync: what an earlier one left parked goes first.
    pub fn new(hidden: &OwnedFd, exclude: Exclude) -> Sys<Target> {
        remove_tree(hidden, PARKED)?;
        rustix::fs::mkdirat(hidden, PARKED, Mode::RWXU)?;
        let parked = rustix::fs::openat(hidden, PARKED, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        Ok(Target { parked, counter: 0, unmentioned: FxHashMap::default(), exclude })
    }

    /// One part of a directory.
    pub fn names(&mut self, objects: &Objects, op: &Incoming<'_>) -> Result<(), ApplyError> {
        let part: SyncNames = nonsense(op.body)?;
        let dir = told("resync", objects.live(op.object))?;
        if op.flags & op::FIRST != 0 {
            self.begin_directory(op.object, &dir)?;
        }
        for (id, create) in &part.entries {
            self.unmentioned.remove(&create.name[..]);
            self.put(objects, &dir, *id, create)?;
        }
        if op.flags & op::MORE == 0 {
            for (name, inode) in std::mem::take(&mut self.unmentioned) {
                self.park(objects, &dir, &component(&name)?, inode)?;
            }
            objects.times.set(op.object, op.mtime);
        }
        Ok(())
    }

    fn begin_directory(&mut self, id: ObjectId, dir: &Live) -> Result<(), ApplyError> {
        if id == ObjectId::ROOT {
            // The one directory that is never claimed, and so not yet unlocked.
            flags::set(dir, 0);
        }
        let present = told("resync", read_directory(dir))?;
        self.unmentioned = present
            .into_iter()
            .filter(|entry| !(id == ObjectId::ROOT && entry.name == HIDDEN))
            .filter(|entry| !self.exclude.matches(dir.as_fd(), &entry.name))
            .map(|entry| (entry.name.as_bytes().to_vec(), entry.inode))
            .collect();
        Ok(())
    }

    /// Puts object `id` under its name in `dir`, whatever was there.
    fn put(&mut self, objects: &Objects, dir: &Live, id: ObjectId, create: &Create) -> Result<(), ApplyError> {
        let path = component(&create.name)?;
        let present = match rustix::fs::statat(dir, &*path, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Some(stat),
            Err(Errno::NOENT) => None,
            Err(why) => return told("resync", Err(why)),
        };
        if let Some(inode) = objects.table.look(id, |entry| entry.inode).filter(|_| objects.any_fd(id).is_ok()) {
            return self.put_known(objects, dir, id, inode, &path, present);
        }
        if let Some(stat) = present {
            if self.claim(objects, dir, id, create, &path, &stat)? {
                return Ok(());
            }
            self.park(objects, dir, &path, stat.st_ino)?;
        }
        make_new(objects, dir, id, create)
    }

    fn put_known(
        &mut self,
        objects: &Objects,
        dir: &Live,
        id: ObjectId,
        inode: u64,
        path: &CString,
        present: Option<Stat>,
    ) -> Result<(), ApplyError> {
        if present.as_ref().is_some_and(|stat| stat.st_ino == inode) {
            return Ok(());
        }
        if let Some(stat) = present {
            self.park(objects, dir, path, stat.st_ino)?;
        }
        let place = parked_name(id);
        let put = || match rustix::fs::renameat(&self.parked, &*place, dir, &**path) {
            Err(Errno::NOENT) => link_into(objects, id, dir, path),
            other => told("resync", other),
        };
        match put() {
            // It became immutable after it had left for a directory that was not known then.
            Err(ApplyError::System { why: Errno::PERM, .. }) => {
                let _held = objects.locks.one(id);
                flags::unlocked(&*told("resync", objects.live(id))?, put)
            }
            other => other,
        }
    }

    /// What is already there under the right name becomes object `id`, if it is of its kind and nobody's.
    fn claim(&self, objects: &Objects, dir: &Live, id: ObjectId, create: &Create, path: &CString, stat: &Stat) -> Result<bool, ApplyError> {
        let same_kind = stat.st_mode & libc::S_IFMT == create.mode & libc::S_IFMT;
        if !same_kind || objects.table.by_inode(stat.st_ino).is_some() || stat.st_dev != objects.table.device() {
            return Ok(false);
        }
        let same_thing = match Kind::of(stat.st_mode) {
            Kind::Symlink => {
                let target = told("resync", rustix::fs::readlinkat(dir, &**path, Vec::new()))?;
                create.target.as_ref().is_some_and(|wanted| wanted[..] == *target.as_bytes())
            }
            Kind::Special => stat.st_rdev == create.rdev,
            Kind::File | Kind::Directory => true,
        };
        if same_thing {
            let handle = told("resync", sys::name_to_handle(dir.as_fd(), path))?;
            objects.table.insert(id, Entry::new(handle, stat, create.parent));
            self.unlock(objects, id)?;
        }
        Ok(same_thing)
    }

    /// An immutable or append-only replica cannot be healed: its flags come back with its attributes.
    fn unlock(&self, objects: &Objects, id: ObjectId) -> Result<(), ApplyError> {
        let kind = objects.table.look(id, |entry| entry.kind);
        if !matches!(kind, Some(Kind::File | Kind::Directory)) {
            return Ok(());
        }
        let live = told("resync", objects.live(id))?;
        if live.kind == Kind::File && live.for_writing().is_ok() && !live.appends() {
            return Ok(());
        }
        flags::set(&live, 0);
        objects.close(id);
        Ok(())
    }

    /// Takes a name out of `dir`: a known object keeps its id in the parking place.
    fn park(&mut self, objects: &Objects, dir: &Live, path: &CString, inode: u64) -> Result<(), ApplyError> {
        let place = match objects.table.by_inode(inode) {
            Some(id) => parked_name(id),
            None => {
                self.counter += 1;
                CString::new(format!("x{}", self.counter)).expect("no NUL in it")
            }
        };
        self.park_as(dir, path, &place)
    }

    fn park_as(&self, dir: &Live, path: &CString, place: &CStr) -> Result<(), ApplyError> {
        let park = || rustix::fs::renameat(dir, &**path, &self.parked, place);
        let parked = match park() {
            Err(Errno::PERM) => told("park", unlock_name(dir.as_fd(), path))?.around(park),
            other => other,
        };
        match parked {
            // Two names of one inode: renaming one onto the other does nothing.
            Ok(()) => match rustix::fs::unlinkat(dir, &**path, AtFlags::empty()) {
                Err(Errno::NOENT) | Ok(()) => Ok(()),
                Err(why) => told("park", Err(why)),
            },
            Err(why) => told("park", Err(why)),
        }
    }

    /// PARK: the primary moved a known object to a directory that is not known yet.
    pub fn parked(&mut self, objects: &Objects, op: &Incoming<'_>) -> Result<(), ApplyError> {
        let name: Name = nonsense(op.body)?;
        let dir = told("park", objects.live(name.parent))?;
        self.park_as(&dir, &component(&name.name)?, &parked_name(op.object))?;
        objects.times.set(name.parent, name.parent_mtime);
        Ok(())
    }

    /// PLACE: an object arrives in a known directory.
    pub fn placed(&mut self, objects: &Objects, op: &Incoming<'_>) -> Result<(), ApplyError> {
        let create: Create = nonsense(op.body)?;
        let dir = told("place", objects.live(create.parent))?;
        self.put(objects, &dir, op.object, &create)?;
        objects.times.set(create.parent, create.parent_mtime);
        Ok(())
    }

    /// Makes room for UNLINK or RENAME of a directory whose surplus has not been compared yet.
    pub fn park_directory(&mut self, objects: &Objects, name: &Name) -> Result<(), ApplyError> {
        let dir = told("park", objects.live(name.parent))?;
        let path = component(&name.name)?;
        let stat = told("park", rustix::fs::statat(&*dir, &*path, AtFlags::SYMLINK_NOFOLLOW))?;
        self.park(objects, &dir, &path, stat.st_ino)?;
        objects.times.set(name.parent, name.parent_mtime);
        Ok(())
    }

    /// Every name is in place: what is parked belongs to nobody.
    pub fn purge(&mut self) -> Result<(), ApplyError> {
        for name in told("purge", names_in(&self.parked))? {
            told("purge", remove_tree(&self.parked, &name))?;
        }
        Ok(())
    }

    /// SYNC_META: attributes and extended attributes as they are on the primary.
    pub fn meta(&self, objects: &Objects, op: &Incoming<'_>) -> Result<(), ApplyError> {
        let meta: SyncMeta = nonsense(op.body)?;
        let _held = objects.locks.one(op.object);
        let live = told("resync", objects.live(op.object))?;
        if let Some(size) = meta.size {
            let fd = told("truncate", live.for_writing())?;
            told("truncate", rustix::fs::ftruncate(fd, size))?;
        }
        let stat = told("resync", rustix::fs::statat(&*live, c"", AtFlags::EMPTY_PATH))?;
        told("resync", own(live.as_fd(), &stat, meta.uid, meta.gid, meta.mode))?;
        set_xattrs(&live, &meta)?;
        // An ACL changes the mode and a set-id bit may have gone with the owner: the primary's mode is last.
        let stat = told("resync", rustix::fs::statat(&*live, c"", AtFlags::EMPTY_PATH))?;
        told("resync", own(live.as_fd(), &stat, meta.uid, meta.gid, meta.mode))?;
        objects.times.set(op.object, op.mtime);
        if let Some(flags) = meta.flags.filter(|flags| flags::get(&live) != Some(*flags)) {
            // What becomes immutable takes no times any more.
            told("resync", objects.write_time_locked(op.object))?;
            flags::set(&live, flags);
            objects.close(op.object);
        }
        Ok(())
    }
}

fn parked_name(id: ObjectId) -> CString {
    CString::new(format!("i{}", id.0)).expect("no NUL in it")
}

fn set_xattrs(live: &Live, meta: &SyncMeta) -> Result<(), ApplyError> {
    for name in told("xattr", xattr_names(live.as_fd()))? {
        if !meta.xattrs.iter().any(|(wanted, _)| wanted[..] == *name.to_bytes()) {
            told("xattr", sys::remove_xattr(live.as_fd(), &name))?;
        }
    }
    for (name, value) in &meta.xattrs {
        let name = CString::new(&name[..]).map_err(|_| ApplyError::Nonsense("an attribute name with a NUL".into()))?;
        told("xattr", sys::set_xattr(live.as_fd(), &name, value, 0))?;
    }
    Ok(())
}

fn names_in(dir: &OwnedFd) -> Sys<Vec<CString>> {
    let own = rustix::fs::openat(dir, c".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let mut names = Vec::new();
    for entry in rustix::fs::Dir::new(own)? {
        let entry = entry?;
        let name = entry.file_name();
        if name != c"." && name != c".." {
            names.push(name.to_owned());
        }
    }
    Ok(names)
}

/// Removes what `name` is, with everything below it. Iterative: trees can be deeper than stacks.
pub(crate) fn remove_tree(parent: &OwnedFd, name: &CStr) -> Sys<()> {
    let mut open = vec![(Rc::new(rustix::io::dup(parent)?), name.to_owned())];
    while let Some((dir, name)) = open.last() {
        let dir: &OwnedFd = dir;
        match rustix::fs::unlinkat(dir, &**name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {
                open.pop();
                continue;
            }
            Err(Errno::ISDIR) => {}
            Err(Errno::PERM) => match unlock_name(dir.as_fd(), name)?.around(|| rustix::fs::unlinkat(dir, &**name, AtFlags::empty())) {
                Ok(()) => {
                    open.pop();
                    continue;
                }
                Err(Errno::ISDIR) => {}
                Err(why) => return Err(why),
            },
            Err(why) => return Err(why),
        }
        match rustix::fs::unlinkat(dir, &**name, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => {
                open.pop();
                continue;
            }
            Err(Errno::NOTEMPTY | Errno::EXIST) => {}
            Err(Errno::NOTDIR) => continue,
            // It stays unlocked: what is in it goes as well.
            Err(Errno::PERM) => drop(unlock_name(dir.as_fd(), name)?),
            Err(why) => return Err(why),
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let inner = Rc::new(rustix::fs::openat(dir, &**name, flags, Mode::empty())?);
        for child in names_in(&inner)? {
            open.push((inner.clone(), child));
        }
    }
    Ok(())
}

/// Something immutable that was unlocked, and how it was locked.
struct Unlocked {
    fd: OwnedFd,
    flags: [u8; 8],
}

impl Unlocked {
    /// Acts, and locks it again: under another name it may be where it belongs.
    fn around(mut self, act: impl FnOnce() -> Sys<()>) -> Sys<()> {
        let outcome = act();
        // What is gone for good needs no flags.
        let _ = sys::inode_flags(self.fd.as_fd(), sys::SET_FLAGS, &mut self.flags);
        outcome
    }
}

/// Something immutable is in the way of a removal.
fn unlock_name(dir: BorrowedFd<'_>, name: &CStr) -> Sys<Unlocked> {
    let mode = rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)?.st_mode;
    if !matches!(Kind::of(mode), Kind::File | Kind::Directory) {
        return Err(Errno::PERM);
    }
    let open = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = rustix::fs::openat(dir, name, open, Mode::empty())?;
    let mut data = [0; 8];
    sys::inode_flags(fd.as_fd(), sys::GET_FLAGS, &mut data)?;
    let before = data;
    let present = u32::from_ne_bytes([data[0], data[1], data[2], data[3]]);
    data[..4].copy_from_slice(&(present & !flags::LOCKING).to_ne_bytes());
    sys::inode_flags(fd.as_fd(), sys::SET_FLAGS, &mut data)?;
    Ok(Unlocked { fd, flags: before })
}
