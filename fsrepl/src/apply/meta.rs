//! Attributes, extended attributes, inode flags.

use super::identity;
use super::names::chown;
use super::volume::{Caller, Tracked, Volume};
use crate::id::ObjectId;
use crate::limits::XATTR_LIST;
use crate::objects::{Kind, Live, mtime};
use crate::op::{self, Bytes, Flags, Op, SetAttr, Xattr, kind};
use crate::sys::{self, Sys, cstr};
use rustix::fd::{AsFd, BorrowedFd};
use rustix::fs::{AtFlags, Stat, Timespec, Timestamps};
use rustix::io::Errno;
use std::ffi::{CString, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

/// What an application wants changed.
#[derive(Clone, Copy, Debug)]
pub struct Wish {
    /// Permission bits.
    pub mode: Option<u32>,
    /// Owner.
    pub uid: Option<u32>,
    /// Group.
    pub gid: Option<u32>,
    /// Size.
    pub size: Option<u64>,
    /// Access and modification time, in the form of utimensat(2).
    pub times: Option<(Timespec, Timespec)>,
    /// Whether the modification time is among them.
    pub mtime: bool,
}

/// SETATTR that makes the secondary's attributes those of `stat`.
pub(super) fn attr_op(id: ObjectId, stat: &Stat, fields: u32) -> Op<'static> {
    let body = SetAttr { size: stat.st_size as u64, mode: stat.st_mode & 0o7777, uid: stat.st_uid, gid: stat.st_gid };
    Op { aux: fields, ..Op::new(kind::SETATTR, id).mtime(mtime(stat)).body(&body) }
}

impl Volume {
    /// Attributes.
    pub fn stat(&self, id: ObjectId) -> Sys<Stat> {
        self.objects.stat(id)
    }

    /// Changes attributes; `done` gets them as they are afterwards.
    pub fn setattr(&self, who: Caller, id: ObjectId, wish: Wish, done: impl FnOnce(Sys<Stat>) + Send + 'static) {
        let held = self.objects.locks.one(id);
        let tracked = self.track();
        match self.setattr_here(who, id, &wish, &tracked) {
            Err(why) => {
                tracked.failed(why);
                done(Err(why));
            }
            Ok((live, stat)) => {
                let ended = self.also_stable_path(&live, Box::new(move |result| done(result.map(|()| stat))));
                let fields =
                    if wish.size.is_some() { op::ATTR_SIZE } else { 0 } | if wish.mtime { op::ATTR_MTIME } else { 0 } | op::ATTR_OWNER_MODE;
                let seq = self.send(self.stays(id), ended, |sync| {
                    // What the secondary does not have yet gets its attributes with the content.
                    let travels = match sync {
                        Some(_) if wish.size.is_some() => self.layout_travels(sync, id),
                        Some(epoch) => self.content_known(id, epoch),
                        None => true,
                    };
                    travels.then(|| attr_op(id, &stat, fields))
                });
                tracked.finish(seq);
            }
        }
        drop(held);
        self.help();
    }

    fn also_stable_path(&self, live: &Arc<Live>, done: super::Done) -> super::Done {
        // Only what is open for reading can be flushed; links and devices live in their directory's journal.
        if matches!(live.kind, Kind::File | Kind::Directory) && live.flushable() { self.also_stable(live, done) } else { done }
    }

    fn setattr_here(&self, who: Caller, id: ObjectId, wish: &Wish, tracked: &Tracked<'_>) -> Sys<(Arc<Live>, Stat)> {
        let needs_file = wish.size.is_some() || self.outlet.as_ref().is_some_and(|outlet| outlet.stable());
        let live = if needs_file { self.objects.live(id)? } else { self.objects.any_fd(id)? };
        if wish.mode.is_some() && live.kind == Kind::Symlink {
            return Err(Errno::OPNOTSUPP);
        }
        if let Some(size) = wish.size {
            let fd = live.for_writing()?;
            let old = rustix::fs::fstat(fd)?.st_size as u64;
            tracked.extent(id, old.min(size), old.abs_diff(size).max(1))?;
            identity::as_writer(who.uid, who.gid, who.pid, &live, || rustix::fs::ftruncate(fd, size))?;
            self.objects.times.take(id);
        } else {
            tracked.attrs(id)?;
        }
        // A request without any wish is chown(-1, -1), or the kernel that wants set-id bits cleared: the same.
        let nothing = wish.mode.is_none() && wish.size.is_none() && wish.times.is_none();
        if nothing || wish.uid.is_some() || wish.gid.is_some() {
            chown_as(who, &live, wish)?;
        }
        if let Some(mode) = wish.mode {
            identity::as_root();
            self.objects.mode_changes(id);
            sys::chmod(live.as_fd(), mode & 0o7777)?;
        }
        if let Some((last_access, last_modification)) = wish.times {
            identity::as_root();
            if wish.mtime {
                self.objects.times.take(id);
            }
            rustix::fs::utimensat(&*live, c"", &Timestamps { last_access, last_modification }, AtFlags::EMPTY_PATH)?;
        }
        let mut stat = rustix::fs::statat(&*live, c"", AtFlags::EMPTY_PATH)?;
        self.objects.overlay(id, &mut stat);
        Ok((live, stat))
    }

    /// Reads an extended attribute; with an empty buffer, its size.
    pub fn getxattr(&self, id: ObjectId, name: &OsStr, into: &mut [u8]) -> Sys<usize> {
        identity::as_root();
        sys::get_xattr(self.objects.any_fd(id)?.as_fd(), &cstr(name)?, into)
    }

    /// Lists extended attributes; with an empty buffer, the size of the list.
    pub fn listxattr(&self, id: ObjectId, into: &mut [u8]) -> Sys<usize> {
        identity::as_root();
        sys::list_xattr(self.objects.any_fd(id)?.as_fd(), into)
    }

    /// Sets (`value`) or removes an extended attribute.
    pub fn setxattr(
        &self,
        who: Caller,
        id: ObjectId,
        name: &OsStr,
        value: Option<&[u8]>,
        flags: i32,
        done: impl FnOnce(Sys<()>) + Send + 'static,
    ) {
        let held = self.objects.locks.one(id);
        let tracked = self.track();
        match self.setxattr_here(who, id, name, (value, flags), &tracked) {
            Err(why) => {
                tracked.failed(why);
                done(Err(why));
            }
            Ok((live, stat)) => {
                let ended = self.also_stable_path(&live, Box::new(done));
                let code = if value.is_some() { kind::SETXATTR } else { kind::REMOVEXATTR };
                let make = |sync: Option<u32>| {
                    if sync.is_some_and(|epoch| !self.content_known(id, epoch)) {
                        return None;
                    }
                    let body = Xattr { name: Bytes::from(name.as_bytes().to_vec()), mode: stat.st_mode & 0o7777 };
                    Some(Op { payload: value.unwrap_or(&[]), ..Op::new(code, id).mtime(mtime(&stat)).body(&body) })
                };
                let seq = self.send_data(self.stays(id), ended, &make);
                tracked.finish(seq);
            }
        }
        drop(held);
        self.help();
    }

    fn setxattr_here(
        &self,
        who: Caller,
        id: ObjectId,
        name: &OsStr,
        (value, flags): (Option<&[u8]>, i32),
        tracked: &Tracked<'_>,
    ) -> Sys<(Arc<Live>, Stat)> {
        let stable = self.outlet.as_ref().is_some_and(|outlet| outlet.stable());
        let live = if stable { self.objects.live(id)? } else { self.objects.any_fd(id)? };
        tracked.attrs(id)?;
        let path = cstr(name)?;
        let set = || match value {
            Some(value) => sys::set_xattr(live.as_fd(), &path, value, flags),
            None => sys::remove_xattr(live.as_fd(), &path),
        };
        identity::as_root();
        // Setting an ACL clears set-gid unless the caller is in the group: the kernel beneath decides that.
        let acl = path.as_bytes().starts_with(b"system.posix_acl_");
        let keeps_setgid = !acl || who.uid == 0 || rustix::fs::statat(&*live, c"", AtFlags::EMPTY_PATH)?.st_mode & 0o2000 == 0;
        if keeps_setgid {
            set()?;
        } else {
            identity::with_groups(who.uid, who.gid, who.pid, set)?;
        }
        let mut stat = rustix::fs::statat(&*live, c"", AtFlags::EMPTY_PATH)?;
        self.objects.times.overlay(id, &mut stat);
        Ok((live, stat))
    }

    /// Reads or sets inode flags by one of the four calls of [`sys::inode_flags`]; `data` is its structure.
    pub fn inode_flags(&self, id: ObjectId, call: u32, mut data: Vec<u8>, done: impl FnOnce(Sys<Vec<u8>>) + Send + 'static) {
        if matches!(call, sys::GET_FLAGS | sys::GET_FSXATTR) {
            identity::as_root();
            let got = self.objects.live(id).and_then(|live| sys::inode_flags(live.as_fd(), call, &mut data));
            return done(got.map(|()| data));
        }
        let held = self.objects.locks.one(id);
        let tracked = self.track();
        let outcome = (|| {
            let live = self.objects.live(id)?;
            tracked.attrs(id)?;
            // An immutable file takes no times: what is decided goes first.
            self.objects.write_time_locked(id)?;
            identity::as_root();
            sys::inode_flags(live.as_fd(), call, &mut data)?;
            // Append-only and immutable decide how the file can be opened.
            if !self.objects.is_orphan(id) {
                self.objects.close(id);
            }
            Ok(live)
        })();
        match outcome {
            Err(why) => {
                tracked.failed(why);
                done(Err(why));
            }
            Ok(live) => {
                let body = Flags { call, data: Bytes::from(data) };
                let ended = self.also_stable_path(&live, Box::new(move |result| done(result.map(|()| Vec::new()))));
                let seq = self.send(self.stays(id), ended, |sync| {
                    sync.is_none_or(|epoch| self.content_known(id, epoch)).then(|| Op::new(kind::FLAGS, id).body(&body))
                });
                tracked.finish(seq);
            }
        }
        drop(held);
        self.help();
    }
}

/// Changes the owner, which the kernel has allowed already. Whether a set-gid bit without group execution
/// stays depends on the caller's groups: then the caller is who asks beneath.
fn chown_as(who: Caller, live: &Live, wish: &Wish) -> Sys<()> {
    let (uid, gid) = (wish.uid.map(rustix::fs::Uid::from_raw), wish.gid.map(rustix::fs::Gid::from_raw));
    let chown = || rustix::fs::chownat(live, c"", uid, gid, AtFlags::EMPTY_PATH);
    identity::as_root();
    if who.uid != 0 && rustix::fs::statat(live, c"", AtFlags::EMPTY_PATH)?.st_mode & 0o2010 == 0o2000 {
        match identity::with_groups(who.uid, who.gid, who.pid, chown) {
            // Allowed by a capability that the request does not carry.
            Err(Errno::PERM) => {}
            other => return other,
        }
    }
    chown()
}

/// Names of all extended attributes of an object.
pub fn xattr_names(fd: BorrowedFd<'_>) -> Sys<Vec<CString>> {
    // Most objects have none: a megabyte of zeros for sixteen of them would be most of the work.
    let mut few = [0; 512];
    let mut many = Vec::new();
    let (names, length): (&[u8], usize) = match sys::list_xattr(fd, &mut few) {
        Err(Errno::OPNOTSUPP) => (&few, 0),
        Err(Errno::RANGE) => {
            many.resize(XATTR_LIST, 0);
            let length = sys::list_xattr(fd, &mut many)?;
            (&many, length)
        }
        other => (&few, other?),
    };
    Ok(names[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty()).filter_map(|name| CString::new(name).ok()).collect())
}

/// All extended attributes of an object with their values.
pub fn read_xattrs(fd: BorrowedFd<'_>) -> Sys<Vec<(Bytes, Bytes)>> {
    let names = xattr_names(fd)?;
    if names.is_empty() {
        return Ok(Vec::new());
    }
    let mut value = vec![0; 64 * 1024];
    let mut all = Vec::with_capacity(names.len());
    for name in names {
        let length = match sys::get_xattr(fd, &name, &mut value) {
            Err(Errno::NODATA) => continue,
            other => other?,
        };
        all.push((Bytes::from(name.as_bytes().to_vec()), Bytes::from(value[..length].to_vec())));
    }
    Ok(all)
}

/// Gives an object owner and permission bits, as far as they differ: each call costs a journal entry.
/// True if something was changed.
pub(crate) fn own(fd: BorrowedFd<'_>, stat: &Stat, uid: u32, gid: u32, mode: u32) -> Sys<bool> {
    let mut present = stat.st_mode & 0o7777;
    let owner = (stat.st_uid, stat.st_gid) != (uid, gid);
    if owner {
        chown(fd, uid, gid)?;
        present &= 0o1777; // chown may have cleared set-id bits
    }
    let bits = Kind::of(stat.st_mode) != Kind::Symlink && present != mode & 0o7777;
    if bits {
        sys::chmod(fd, mode & 0o7777)?;
    }
    Ok(owner || bits)
}
