//! Names: create, link, unlink, rename.

use super::volume::{Caller, Done, Tracked, Volume};
use super::{HIDDEN, identity};
use crate::id::{ObjectId, Seq};
use crate::objects::{Entry, Kind, Live, mtime};
use crate::op::{self, Bytes, Create, Name, Op, Rename, kind};
use crate::sys::{self, Sys, cstr};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{AtFlags, Mode, OFlags, RenameFlags, Stat};
use rustix::io::Errno;
use std::ffi::{CStr, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

/// What to create.
#[derive(Clone, Copy, Debug)]
pub struct New<'a> {
    /// Directory.
    pub parent: ObjectId,
    /// Name.
    pub name: &'a OsStr,
    /// Type and permission bits as asked.
    pub mode: u32,
    /// The caller's umask.
    pub umask: u32,
    /// Device number.
    pub rdev: u64,
    /// Target, for a symbolic link.
    pub target: Option<&'a OsStr>,
}

/// An object and its attributes.
pub type Found = (ObjectId, Stat);

fn is_directory((_, stat): &Found) -> bool {
    Kind::of(stat.st_mode) == Kind::Directory
}

fn bytes(name: &OsStr) -> Bytes {
    Bytes::from(name.as_bytes().to_vec())
}

impl Volume {
    fn hidden(parent: ObjectId, name: &OsStr) -> bool {
        parent == ObjectId::ROOT && name == HIDDEN
    }

    /// Finds a name.
    pub fn lookup(&self, parent: ObjectId, name: &OsStr) -> Sys<Found> {
        if Self::hidden(parent, name) {
            return Err(Errno::NOENT);
        }
        let dir = self.objects.live(parent)?;
        let path = cstr(name)?;
        let found = self.identify(parent, &dir, name, &path)?;
        Ok(found)
    }

    pub(super) fn identify(&self, parent: ObjectId, dir: &Live, name: &OsStr, path: &CStr) -> Sys<Found> {
        let mut stat = match rustix::fs::statat(dir, path, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::ACCESS) => {
                identity::as_root();
                rustix::fs::statat(dir, path, AtFlags::SYMLINK_NOFOLLOW)?
            }
            other => other?,
        };
        let id = self.objects.identify(dir.as_fd(), parent, path, &stat)?;
        if self.name_stays(parent, dir.as_fd(), name) {
            self.objects.table.set_local(id);
        }
        self.objects.times.overlay(id, &mut stat);
        Ok((id, stat))
    }

    /// Creates a file, directory, symbolic link or device; `done` gets it with its attributes.
    pub fn create(&self, who: Caller, new: New<'_>, done: impl FnOnce(Sys<Found>) + Send + 'static) {
        if Self::hidden(new.parent, new.name) {
            return done(Err(Errno::PERM));
        }
        let held = self.objects.locks.one(new.parent);
        let tracked = self.track();
        match self.create_here(who, &new, &tracked) {
            Err(why) => {
                tracked.failed(why);
                done(Err(why));
            }
            Ok((dir, id, stat, local)) => {
                let ended = self.also_stable(&dir, Box::new(move |result| done(result.map(|()| (id, stat)))));
                let ended = match self.stable_child(id, &stat) {
                    Some(child) => self.also_stable(&child, ended),
                    None => ended,
                };
                let parent_mtime = self.dir_mtime(&dir);
                let time = self.send_dir_time(local, new.parent, &dir);
                let seq = self.send(local, ended, |sync| {
                    if let Some(epoch) = sync {
                        if !self.names_known(new.parent, epoch) {
                            return None;
                        }
                        self.objects.table.change(id, |entry| (entry.names_epoch, entry.content_epoch) = (epoch, epoch));
                    }
                    let create = describe(new.parent, new.name, &stat, (new.mode, new.umask), new.target, parent_mtime);
                    Some(Op::new(kind::CREATE, id).mtime(mtime(&stat)).body(&create))
                });
                tracked.finish(seq.max(time));
            }
        }
        drop(held);
        self.help();
    }

    fn stable_child(&self, id: ObjectId, stat: &Stat) -> Option<Arc<Live>> {
        let stable = self.outlet.as_ref().is_some_and(|outlet| outlet.stable());
        (stable && matches!(Kind::of(stat.st_mode), Kind::File | Kind::Directory)).then(|| self.objects.live(id).ok()).flatten()
    }

    fn create_here(&self, who: Caller, new: &New<'_>, tracked: &Tracked<'_>) -> Sys<(Arc<Live>, ObjectId, Stat, bool)> {
        let dir = self.objects.live(new.parent)?;
        let path = cstr(new.name)?;
        tracked.entries(new.parent)?;
        let fd = self.objects.with_room(|| make_as(who, &dir, &path, new))?;
        dir.changed();
        let stat = rustix::fs::statat(&fd, c"", AtFlags::EMPTY_PATH)?;
        let kind = Kind::of(stat.st_mode);
        let mut entry = Entry::new(sys::name_to_handle(fd.as_fd(), c"")?, &stat, new.parent);
        entry.local = self.name_stays(new.parent, dir.as_fd(), new.name);
        let local = entry.local;
        let id = self.objects.table.add(entry);
        if local {
            self.objects.table.set_local(id);
        }
        if kind == Kind::File {
            self.objects.adopt(id, kind, fd);
        }
        Ok((dir, id, stat, local))
    }

    /// Makes another name for a file.
    pub fn link(&self, id: ObjectId, parent: ObjectId, name: &OsStr, done: impl FnOnce(Sys<Found>) + Send + 'static) {
        if Self::hidden(parent, name) {
            return done(Err(Errno::PERM));
        }
        let held = self.objects.locks.many(&[id, parent]);
        let tracked = self.track();
        match self.link_here(id, parent, name, &tracked) {
            Err(why) => {
                tracked.failed(why);
                done(Err(why));
            }
            Ok((dir, stat)) => {
                let ended = self.also_stable(&dir, Box::new(move |result| done(result.map(|()| (id, stat)))));
                let parent_mtime = self.dir_mtime(&dir);
                let time = self.send_dir_time(self.objects.table.is_local(id), parent, &dir);
                let seq = self.send(self.stays(id), ended, |sync| {
                    if let Some(epoch) = sync {
                        return self.place(epoch, id, parent, name, &stat, parent_mtime);
                    }
                    Some(Op::new(kind::LINK, id).body(&Name { parent, name: bytes(name), parent_mtime }))
                });
                tracked.finish(seq.max(time));
            }
        }
        drop(held);
        self.help();
    }

    fn link_here(&self, id: ObjectId, parent: ObjectId, name: &OsStr, tracked: &Tracked<'_>) -> Sys<(Arc<Live>, Stat)> {
        let (object, dir) = (self.objects.any_fd(id)?, self.objects.live(parent)?);
        if self.objects.table.is_local(id) != self.name_stays(parent, dir.as_fd(), name) {
            return Err(Errno::XDEV);
        }
        tracked.entries(parent)?;
        identity::as_root();
        rustix::fs::linkat(&*object, c"", &*dir, &*cstr(name)?, AtFlags::EMPTY_PATH)?;
        dir.changed();
        let mut stat = rustix::fs::statat(&*object, c"", AtFlags::EMPTY_PATH)?;
        self.objects.times.overlay(id, &mut stat);
        Ok((dir, stat))
    }

    /// Removes a name; `directory` says which of unlink(2) and rmdir(2) was asked for.
    pub fn unlink(&self, parent: ObjectId, name: &OsStr, directory: bool, done: impl FnOnce(Sys<()>) + Send + 'static) {
        // The kernel holds the directory while this request runs: the name cannot change under us.
        let id = match self.lookup(parent, name) {
            Ok((id, _)) => id,
            Err(why) => return done(Err(why)),
        };
        let held = self.objects.locks.many(&[parent, id]);
        let tracked = self.track();
        match self.unlink_here(parent, name, id, directory, &tracked) {
            Err(why) => {
                tracked.failed(why);
                done(Err(why));
            }
            Ok((dir, last)) => {
                let ended = self.also_stable(&dir, Box::new(done));
                let parent_mtime = self.dir_mtime(&dir);
                let local = self.objects.table.is_local(id);
                let time = self.send_dir_time(local, parent, &dir);
                let seq = self.send(local, ended, |sync| {
                    if sync.is_some_and(|epoch| !self.names_known(parent, epoch)) {
                        return None;
                    }
                    let body = Name { parent, name: bytes(name), parent_mtime };
                    // Its other names may be in directories that the secondary does not know yet.
                    if sync.is_some() && !last {
                        return Some(Op::new(kind::PARK, id).body(&body));
                    }
                    let flags = if directory { op::VARIANT } else { 0 };
                    Some(Op { flags, ..Op::new(kind::UNLINK, id).body(&body) })
                });
                tracked.finish(seq.max(time));
            }
        }
        drop(held);
        self.help();
    }

    /// Gives the directory, and whether the object lost its last name.
    fn unlink_here(&self, parent: ObjectId, name: &OsStr, id: ObjectId, directory: bool, tracked: &Tracked<'_>) -> Sys<(Arc<Live>, bool)> {
        let dir = self.objects.live(parent)?;
        let path = cstr(name)?;
        tracked.entries(parent)?;
        identity::as_root();
        let pin = open_path(&dir, &path)?;
        let stat = rustix::fs::statat(&pin, c"", AtFlags::EMPTY_PATH)?;
        let flags = if directory { AtFlags::REMOVEDIR } else { AtFlags::empty() };
        if !directory && stat.st_nlink <= 1 {
            self.objects.keep_unnamed(id, &pin);
        }
        rustix::fs::unlinkat(&*dir, &*path, flags).inspect_err(|_| self.objects.keeps_name(id))?;
        dir.changed();
        let last = directory || stat.st_nlink <= 1;
        if last {
            self.objects.orphan(id, stat.st_ino, pin);
        }
        Ok((dir, last))
    }

    /// Renames; `flags` as in renameat2(2).
    pub fn rename(&self, from: (ObjectId, &OsStr), to: (ObjectId, &OsStr), flags: u32, done: impl FnOnce(Sys<()>) + Send + 'static) {
        if Self::hidden(to.0, to.1) {
            return done(Err(Errno::PERM));
        }
        if flags & !(libc::RENAME_NOREPLACE | libc::RENAME_EXCHANGE) != 0 {
            return done(Err(Errno::INVAL));
        }
        let (moved, replaced) = match (self.lookup(from.0, from.1), self.lookup(to.0, to.1)) {
            (Ok(moved), Ok(replaced)) => (moved, Some(replaced)),
            (Ok(moved), Err(Errno::NOENT)) => (moved, None),
            (Err(why), _) | (_, Err(why)) => return done(Err(why)),
        };
        identity::as_root();
        let exchanged = replaced.filter(|_| flags & libc::RENAME_EXCHANGE != 0).is_some_and(|(id, _)| self.is_directory(id));
        let moves = from.0 != to.0 && (self.is_directory(moved.0) || exchanged);
        let still = moves.then(|| self.ongoing.still());
        let loose = if moves { (self.loose(from.0).filter(|_| exchanged), self.loose(to.0)) } else { (None, None) };
        let held = self.objects.locks.many(&[from.0, to.0, moved.0, replaced.map_or(moved.0, |(id, _)| id)]);
        let tracked = self.track();
        match self.rename_here(from, to, flags, (moved, replaced), &tracked) {
            Err(why) => {
                tracked.failed(why);
                done(Err(why));
            }
            Ok((from_dir, to_dir, kept)) => {
                let ended = self.also_stable(&from_dir, Box::new(done));
                let ended = self.also_stable(&to_dir, ended);
                let name = |(parent, name): (ObjectId, &OsStr), dir: &Arc<Live>| Name {
                    parent,
                    name: bytes(name),
                    parent_mtime: self.dir_mtime(dir),
                };
                let body = Rename { from: name(from, &from_dir), to: name(to, &to_dir), flags };
                let local = self.objects.table.is_local(moved.0);
                let time = self.send_dir_time(local, from.0, &from_dir).max(self.send_dir_time(local, to.0, &to_dir));
                let mut seq = self.send_rename(body, moved, (replaced, kept), loose, ended).max(time);
                if flags & libc::RENAME_EXCHANGE != 0 {
                    seq = [Some(moved), replaced].into_iter().flatten().map(|moved| self.send_moved(moved)).fold(seq, Seq::max);
                }
                tracked.finish(seq);
            }
        }
        drop(held);
        drop(still);
        self.help();
    }

    /// Gives both directories, and what lost its name here and has others.
    fn rename_here(
        &self,
        from: (ObjectId, &OsStr),
        to: (ObjectId, &OsStr),
        flags: u32,
        (moved, replaced): (Found, Option<Found>),
        tracked: &Tracked<'_>,
    ) -> Sys<(Arc<Live>, Arc<Live>, Option<ObjectId>)> {
        let (from_dir, to_dir) = (self.objects.live(from.0)?, self.objects.live(to.0)?);
        let target_stays = self.name_stays(to.0, to_dir.as_fd(), to.1);
        if self.objects.table.is_local(moved.0) != target_stays
            || replaced.is_some_and(|(id, _)| self.objects.table.is_local(id) != target_stays)
        {
            return Err(Errno::XDEV);
        }
        tracked.entries(from.0)?;
        tracked.entries(to.0)?;
        identity::as_root();
        let exchange = flags & libc::RENAME_EXCHANGE != 0;
        if exchange {
            [Some(moved), replaced].into_iter().flatten().filter(is_directory).try_for_each(|(id, _)| tracked.attrs(id))?;
        }
        let lost = replaced.filter(|(id, _)| !exchange && *id != moved.0);
        let lost = match lost {
            Some((id, _)) => {
                let pin = open_path(&to_dir, &cstr(to.1)?)?;
                let stat = rustix::fs::statat(&pin, c"", AtFlags::EMPTY_PATH)?;
                Some((id, stat, pin))
            }
            None => None,
        };
        if let Some((id, stat, pin)) = &lost
            && stat.st_nlink <= 1
            && Kind::of(stat.st_mode) != Kind::Directory
        {
            self.objects.keep_unnamed(*id, pin);
        }
        let renamed = rustix::fs::renameat_with(&*from_dir, &*cstr(from.1)?, &*to_dir, &*cstr(to.1)?, RenameFlags::from_bits_retain(flags));
        if let (Err(_), Some((id, _, _))) = (renamed, &lost) {
            self.objects.keeps_name(*id);
        }
        renamed?;
        from_dir.changed();
        to_dir.changed();
        self.objects.table.change(moved.0, |entry| entry.parent = to.0);
        if exchange && let Some((id, _)) = replaced {
            self.objects.table.change(id, |entry| entry.parent = from.0);
        }
        let mut kept = None;
        if let Some((id, stat, pin)) = lost {
            if stat.st_nlink <= 1 || Kind::of(stat.st_mode) == Kind::Directory {
                self.objects.orphan(id, stat.st_ino, pin);
            } else {
                kept = Some(id);
            }
        }
        Ok((from_dir, to_dir, kept))
    }

    /// While a resync runs, a rename between a directory that the secondary knows and one that it does not
    /// know becomes leaving the one (park), or arriving in the other (place).
    ///
    /// Why this stays right where most directories are known from the start: of a known directory the secondary
    /// has every name, and each name is the right object, wherever the directory itself may be there. So
    /// * known to known: both names mean the same there. What is replaced may be a directory that is known to
    ///   nobody yet and full of what left it here: the secondary parks it.
    /// * known to unknown: the object is parked under its id, and found there when the other directory is listed.
    /// * unknown to known: the object is looked up by its id, wherever it is there; its old name goes, for a
    ///   directory at once, for a file when the old directory is listed: it is unknown, so it will be.
    /// * unknown to unknown: both will be listed.
    ///
    /// What never happens is that a name leaves a known directory without an operation that says so. One thing is
    /// new: a known directory whose own place is unknown (`loose`) may there lie below what moves into it. Then
    /// the secondary parks the nearest loose directory first; its right place is in an unknown directory.
    fn send_rename(
        &self,
        body: Rename,
        moved: Found,
        (replaced, kept): (Option<Found>, Option<ObjectId>),
        (loose_from, loose_to): (Option<ObjectId>, Option<ObjectId>),
        ended: Done,
    ) -> Seq {
        let (from, to) = (body.from.parent, body.to.parent);
        let exchange = body.flags & libc::RENAME_EXCHANGE != 0;
        let local = self.objects.table.is_local(moved.0);
        let half = |epoch: u32| (self.names_known(from, epoch), self.names_known(to, epoch));
        let name = |name: &Name| std::ffi::OsString::from(OsStr::from_bytes(&name.name));
        let (from_name, to_name) = (name(&body.from), name(&body.to));
        let number = |loose: Option<ObjectId>| loose.map_or(0, |id| id.0);
        // An exchange across the border needs two steps: first what comes here, then what goes.
        if exchange && let Some(other) = replaced {
            self.send(local, Box::new(|_| ()), |sync| match half(sync?) {
                (true, false) => {
                    let op = self.place(sync?, other.0, from, &from_name, &other.1, body.from.parent_mtime)?;
                    Some(Op { offset: number(loose_from), ..op })
                }
                _ => None,
            });
        }
        // What is replaced may have its other names in directories that the secondary does not know yet.
        if let Some(kept) = kept {
            self.send(local, Box::new(|_| ()), |sync| (half(sync?) == (true, true)).then(|| Op::new(kind::PARK, kept).body(&body.to)));
        }
        self.send(local, ended, |sync| match sync.map(half) {
            None => Some(Op::new(kind::RENAME, moved.0).body(&body)),
            Some((true, true)) => {
                let loose = number(loose_to.or(loose_from));
                Some(Op { offset: loose, ..Op::new(kind::RENAME, moved.0).body(&body) })
            }
            Some((false, false)) => None,
            Some((true, false)) if exchange => None,
            Some((true, false)) => Some(Op::new(kind::PARK, moved.0).body(&body.from)),
            Some((false, true)) => {
                let op = self.place(sync?, moved.0, to, &to_name, &moved.1, body.to.parent_mtime)?;
                Some(Op { offset: number(loose_to), ..op })
            }
        })
    }

    /// What is excluded stays here, but the directory that holds it is replicated, and has another modification time now.
    /// The caller holds its lock.
    fn send_dir_time(&self, local: bool, dir: ObjectId, live: &Live) -> Seq {
        let stat = rustix::fs::fstat(live).ok().filter(|_| local && !self.objects.table.is_local(dir));
        let Some(stat) = stat else { return 0 };
        self.send(false, Box::new(|_| ()), |sync| {
            sync.is_none_or(|epoch| self.content_known(dir, epoch)).then(|| super::meta::attr_op(dir, &stat, 0))
        })
    }

    /// xfs stamps directories that an exchange gives another parent. The secondary's kernel does so at another time.
    fn send_moved(&self, (id, before): Found) -> Seq {
        let stat = self.objects.stat(id).ok().filter(|stat| is_directory(&(id, before)) && mtime(stat) != mtime(&before));
        let Some(stat) = stat else { return 0 };
        self.send(self.stays(id), Box::new(|_| ()), |sync| {
            sync.is_none_or(|epoch| self.content_known(id, epoch)).then(|| super::meta::attr_op(id, &stat, op::ATTR_OWNER_MODE))
        })
    }

    /// An object arrives under a name in a directory that the secondary of sync session `epoch` knows.
    fn place(
        &self,
        epoch: u32,
        id: ObjectId,
        parent: ObjectId,
        name: &OsStr,
        stat: &Stat,
        parent_mtime: crate::id::Stamp,
    ) -> Option<Op<'static>> {
        if !self.names_known(parent, epoch) {
            return None;
        }
        let target = (Kind::of(stat.st_mode) == Kind::Symlink).then(|| self.readlink(id).ok()).flatten();
        let target = target.as_deref().map(OsStr::from_bytes);
        let create = describe(parent, name, stat, (stat.st_mode, 0), target, parent_mtime);
        self.arrivals.lock().push(id);
        Some(Op::new(kind::PLACE, id).mtime(mtime(stat)).body(&create))
    }

    /// Target of a symbolic link.
    pub fn readlink(&self, id: ObjectId) -> Sys<Vec<u8>> {
        let live = self.objects.any_fd(id)?;
        Ok(rustix::fs::readlinkat(&*live, c"", Vec::new())?.into_bytes())
    }

    pub(super) fn dir_mtime(&self, dir: &Live) -> crate::id::Stamp {
        rustix::fs::fstat(dir).map(|stat| mtime(&stat)).unwrap_or_default()
    }
}

fn open_path(dir: &Live, path: &CStr) -> Sys<OwnedFd> {
    rustix::fs::openat(dir, path, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
}

pub(crate) fn describe(
    parent: ObjectId,
    name: &OsStr,
    stat: &Stat,
    asked: (u32, u32),
    target: Option<&OsStr>,
    parent_mtime: crate::id::Stamp,
) -> Create {
    Create {
        parent,
        name: bytes(name),
        asked,
        mode: stat.st_mode,
        uid: stat.st_uid,
        gid: stat.st_gid,
        rdev: stat.st_rdev,
        target: target.map(bytes),
        parent_mtime,
    }
}

/// Creates as the caller. The kernel has already allowed the request, so a refusal here can only come from
/// rights that the request does not carry: first the supplementary groups, then the caller's capabilities.
fn make_as(who: Caller, dir: &Live, path: &CStr, new: &New<'_>) -> Sys<OwnedFd> {
    identity::umask(new.umask);
    let groups_matter = new.mode & 0o2010 == 0o2010 && who.uid != 0;
    let first = if groups_matter {
        Err(Errno::ACCESS)
    } else {
        identity::as_caller(who.uid, who.gid);
        make(dir, path, new)
    };
    match first {
        Err(Errno::ACCESS) => {}
        other => return other,
    }
    match identity::with_groups(who.uid, who.gid, who.pid, || make(dir, path, new)) {
        Err(Errno::ACCESS | Errno::PERM) => {}
        other => return other,
    }
    identity::as_root();
    let fd = make(dir, path, new)?;
    let parent = rustix::fs::fstat(dir)?;
    let gid = if parent.st_mode & 0o2000 != 0 { parent.st_gid } else { who.gid };
    let mode = rustix::fs::statat(&fd, c"", AtFlags::EMPTY_PATH)?.st_mode;
    chown(&fd, who.uid, gid)?;
    if mode & 0o6000 != 0 && Kind::of(mode) != Kind::Symlink {
        sys::chmod(fd.as_fd(), mode & 0o7777)?;
    }
    Ok(fd)
}

pub(crate) fn chown(fd: impl AsFd, uid: u32, gid: u32) -> Sys<()> {
    let (uid, gid) = (rustix::fs::Uid::from_raw(uid), rustix::fs::Gid::from_raw(gid));
    rustix::fs::chownat(fd, c"", Some(uid), Some(gid), AtFlags::EMPTY_PATH)
}

/// Makes the object and gives a descriptor of it: readable and writable for files, O_PATH otherwise.
pub(crate) fn make(dir: &Live, path: &CStr, new: &New<'_>) -> Sys<OwnedFd> {
    let mode = Mode::from_raw_mode(new.mode & 0o7777);
    match Kind::of(new.mode) {
        Kind::File => {
            let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            return rustix::fs::openat(dir, path, flags, mode);
        }
        Kind::Directory => rustix::fs::mkdirat(dir, path, mode)?,
        Kind::Symlink => rustix::fs::symlinkat(&*cstr(new.target.unwrap_or_default())?, dir, path)?,
        Kind::Special => rustix::fs::mknodat(dir, path, rustix::fs::FileType::from_raw_mode(new.mode), mode, new.rdev)?,
    }
    identity::as_root();
    open_path(dir, path)
}
