//! Outcomes that arrive from the primary, applied to this node's tree. Nothing is decided here: what cannot
//! be applied as it was on the primary is an error, and the replica is no mirror any more.

use super::identity;
use super::meta::own;
use super::names::{New, make};
use crate::id::{ObjectId, Stamp};
use crate::objects::{Entry, Kind, Live, Objects, set_mtime};
use crate::op::{self, Create, Fallocate, Flags, Name, Rename, SetAttr, Xattr, kind};
use crate::sys::{self, Sys, cstr};
use rustix::fd::AsFd;
use rustix::fs::{AtFlags, RenameFlags, Stat};
use rustix::io::Errno;
use std::ffi::{CString, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

/// One frame of an operation.
#[derive(Clone, Copy)]
pub struct Incoming<'a> {
    /// One of [`kind`].
    pub kind: u8,
    /// Frame flags.
    pub flags: u8,
    /// Object.
    pub object: ObjectId,
    /// Offset.
    pub offset: u64,
    /// Modification time of the object.
    pub mtime: Stamp,
    /// As in [`op::Op`].
    pub aux: u32,
    /// Body.
    pub body: &'a [u8],
    /// Data.
    pub payload: &'a [u8],
}

/// What failed.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// A system call.
    #[error("{what}: {why}")]
    System {
        /// Which operation.
        what: &'static str,
        /// What the kernel said.
        why: Errno,
    },
    /// The operation itself.
    #[error("an operation makes no sense: {0}")]
    Nonsense(String),
}

/// What must be flushed before an operation counts as stable.
#[derive(Clone)]
pub enum Touched {
    /// Nothing more than what was flushed before.
    Nothing,
    /// These objects.
    Objects(Vec<Arc<Live>>),
}

pub(crate) fn told<T>(what: &'static str, result: Sys<T>) -> Result<T, ApplyError> {
    result.map_err(|why| ApplyError::System { what, why })
}

fn body<T: serde::de::DeserializeOwned>(op: &Incoming<'_>) -> Result<T, ApplyError> {
    op::decode(op.body).map_err(ApplyError::Nonsense)
}

/// A name is one component and nothing else: a hostile peer must not reach out of a directory.
pub(crate) fn component(name: &[u8]) -> Result<CString, ApplyError> {
    let bad = name.is_empty() || name == b"." || name == b".." || name.contains(&b'/') || name.len() > 255;
    match CString::new(name) {
        Ok(name) if !bad => Ok(name),
        _ => Err(ApplyError::Nonsense("a name that is none".into())),
    }
}

/// Applies one frame. The caller keeps the order.
pub fn apply(objects: &Objects, op: &Incoming<'_>) -> Result<Touched, ApplyError> {
    identity::as_root();
    match op.kind {
        kind::WRITE => write(objects, op),
        kind::FALLOCATE => fallocate(objects, op),
        kind::CREATE => create(objects, op),
        kind::LINK => link(objects, op),
        kind::UNLINK => unlink(objects, op),
        kind::RENAME => rename(objects, op),
        kind::SETATTR => setattr(objects, op),
        kind::SETXATTR | kind::REMOVEXATTR => xattr(objects, op),
        kind::FLAGS => flags(objects, op),
        kind::FSYNC => fsync(objects, op),
        other => Err(ApplyError::Nonsense(format!("unknown operation {other}"))),
    }
}

fn write(objects: &Objects, op: &Incoming<'_>) -> Result<Touched, ApplyError> {
    let live = told("write", objects.live(op.object))?;
    let fd = told("write", live.for_writing())?;
    told("keep", objects.before_content(&*live, op.offset, op.offset + op.payload.len() as u64))?;
    let mut done = 0;
    while done < op.payload.len() {
        match rustix::io::pwrite(fd, &op.payload[done..], op.offset + done as u64) {
            Ok(0) => return told("write", Err(Errno::IO)),
            Ok(written) => done += written,
            Err(Errno::INTR) => {}
            Err(why) => return told("write", Err(why)),
        }
    }
    // A resync gives the time with the attributes.
    if op.flags & op::MORE == 0 && op.mtime != Stamp::default() {
        objects.times.set(op.object, op.mtime);
    }
    Ok(Touched::Objects(vec![live]))
}

fn fallocate(objects: &Objects, op: &Incoming<'_>) -> Result<Touched, ApplyError> {
    let length = body::<Fallocate>(op)?.length;
    let live = told("fallocate", objects.live(op.object))?;
    let fd = told("fallocate", live.for_writing())?;
    // What is collapsed or inserted moves everything behind it.
    let shifts = op.aux as i32 & (libc::FALLOC_FL_COLLAPSE_RANGE | libc::FALLOC_FL_INSERT_RANGE) != 0;
    let to = if shifts { u64::MAX } else { op.offset.saturating_add(length) };
    told("keep", objects.before_content(&*live, op.offset, to))?;
    told("fallocate", sys::fallocate(fd, op.aux as i32, op.offset, length))?;
    if op.mtime != Stamp::default() {
        objects.times.set(op.object, op.mtime);
    }
    Ok(Touched::Objects(vec![live]))
}

/// The object that CREATE describes, made in `dir` under `name` and entered under `id`.
pub(crate) fn make_new(objects: &Objects, dir: &Live, id: ObjectId, create: &Create) -> Result<(), ApplyError> {
    let path = component(&create.name)?;
    let (mode, mask) = create.asked;
    let asked = mode & 0o7777 | create.mode & libc::S_IFMT;
    identity::umask(mask);
    let target = create.target.as_ref().map(|target| OsStr::from_bytes(target));
    let new = New { parent: create.parent, name: OsStr::from_bytes(&create.name), mode: asked, umask: mask, rdev: create.rdev, target };
    told("keep", objects.before_name(dir, &path))?;
    let fd = told("create", make(dir, &path, &new))?;
    let stat = told("create", rustix::fs::statat(&fd, c"", AtFlags::EMPTY_PATH))?;
    objects.born(stat.st_ino);
    told("create", own(fd.as_fd(), &stat, create.uid, create.gid, create.mode))?;
    let handle = told("create", sys::name_to_handle(fd.as_fd(), c""))?;
    objects.table.insert(id, Entry::new(handle, &stat, create.parent));
    if Kind::of(stat.st_mode) == Kind::File {
        objects.close(id);
        objects.adopt(id, Kind::File, fd);
    }
    Ok(())
}

fn create(objects: &Objects, op: &Incoming<'_>) -> Result<Touched, ApplyError> {
    let create: Create = body(op)?;
    let dir = told("create", objects.live(create.parent))?;
    make_new(objects, &dir, op.object, &create)?;
    objects.times.set(op.object, op.mtime);
    objects.times.set(create.parent, create.parent_mtime);
    let mut touched = vec![dir];
    if op.flags & op::STABLE != 0 && matches!(Kind::of(create.mode), Kind::File | Kind::Directory) {
        touched.push(told("create", objects.live(op.object))?);
    }
    Ok(Touched::Objects(touched))
}

fn link(objects: &Objects, op: &Incoming<'_>) -> Result<Touched, ApplyError> {
    let name: Name = body(op)?;
    let dir = told("link", objects.live(name.parent))?;
    link_into(objects, op.object, &dir, &component(&name.name)?)?;
    objects.times.set(name.parent, name.parent_mtime);
    Ok(Touched::Objects(vec![dir]))
}

/// Another name for a known object.
pub(crate) fn link_into(objects: &Objects, id: ObjectId, dir: &Live, path: &CString) -> Result<(), ApplyError> {
    let object = told("link", objects.any_fd(id))?;
    told("keep", objects.before_name(dir, path))?;
    told("link", rustix::fs::linkat(&*object, c"", dir, &**path, AtFlags::EMPTY_PATH))
}

fn unlink(objects: &Objects, op: &Incoming<'_>) -> Result<Touched, ApplyError> {
    let name: Name = body(op)?;
    let dir = told("unlink", objects.live(name.parent))?;
    let path = component(&name.name)?;
    let directory = op.flags & op::VARIANT != 0;
    let stat = told("unlink", rustix::fs::statat(&*dir, &*path, AtFlags::SYMLINK_NOFOLLOW))?;
    remove(objects, &dir, &path, &stat, directory)?;
    if directory || stat.st_nlink <= 1 {
        objects.removed(op.object, stat.st_ino);
    }
    objects.times.set(name.parent, name.parent_mtime);
    Ok(Touched::Objects(vec![dir]))
}

/// Removes a name, unless what it is has to be kept.
fn remove(objects: &Objects, dir: &Live, path: &CString, stat: &Stat, directory: bool) -> Result<(), ApplyError> {
    if directory {
        return match told("unlink", objects.keep_directory(dir, path))? {
            true => Ok(()),
            false => told("unlink", rustix::fs::unlinkat(dir, &**path, AtFlags::REMOVEDIR)),
        };
    }
    told("keep", objects.before_removal(dir, path, stat))?;
    told("unlink", rustix::fs::unlinkat(dir, &**path, AtFlags::empty()))
}

/// Both names change; what is `replaced` has to be kept.
fn before_rename(
    objects: &Objects,
    (from, old): (&Live, &CString),
    (to, new): (&Live, &CString),
    replaced: Option<&Stat>,
) -> Result<(), ApplyError> {
    told("keep", objects.before_name(from, old))?;
    told("keep", objects.before_name(to, new))?;
    let Some(stat) = replaced else { return Ok(()) };
    if Kind::of(stat.st_mode) != Kind::Directory {
        return told("keep", objects.before_removal(to, new, stat));
    }
    // The rename finds nothing in its way then; it would not take anything but a directory for it.
    let source = rustix::fs::statat(from, &**old, AtFlags::SYMLINK_NOFOLLOW).ok();
    let fits = source.is_some_and(|source| Kind::of(source.st_mode) == Kind::Directory && source.st_ino != stat.st_ino);
    if fits { told("rename", objects.keep_directory(to, new)).map(drop) } else { Ok(()) }
}

fn rename(objects: &Objects, op: &Incoming<'_>) -> Result<Touched, ApplyError> {
    let rename: Rename = body(op)?;
    let (from, to) = (told("rename", objects.live(rename.from.parent))?, told("rename", objects.live(rename.to.parent))?);
    let (old, new) = (component(&rename.from.name)?, component(&rename.to.name)?);
    let replaced = rustix::fs::statat(&*to, &*new, AtFlags::SYMLINK_NOFOLLOW).ok();
    let replaced = replaced.map(|stat| (stat, objects.known(to.as_fd(), rename.to.parent, &new, &stat)));
    let flags = RenameFlags::from_bits_retain(rename.flags & 3);
    before_rename(objects, (&from, &old), (&to, &new), replaced.as_ref().map(|(stat, _)| stat).filter(|_| flags.is_empty()))?;
    told("rename", rustix::fs::renameat_with(&*from, &*old, &*to, &*new, flags))?;
    if let Some((replaced, Ok(Some(id)))) = replaced.filter(|_| rename.flags & libc::RENAME_EXCHANGE == 0)
        && (replaced.st_nlink <= 1 || Kind::of(replaced.st_mode) == Kind::Directory)
        && id != op.object
    {
        objects.removed(id, replaced.st_ino);
    }
    objects.times.set(rename.from.parent, rename.from.parent_mtime);
    objects.times.set(rename.to.parent, rename.to.parent_mtime);
    Ok(Touched::Objects(vec![from, to]))
}

fn setattr(objects: &Objects, op: &Incoming<'_>) -> Result<Touched, ApplyError> {
    let attr: SetAttr = body(op)?;
    let _held = objects.locks.one(op.object);
    let sized = op.aux & op::ATTR_SIZE != 0;
    let live = told("setattr", if sized { objects.live(op.object) } else { objects.any_fd(op.object) })?;
    told("keep", objects.before_attributes(&*live))?;
    if sized {
        // What a call that failed has left behind also tells the size, of files that cannot be changed as well.
        let present = told("truncate", rustix::fs::fstat(&*live))?.st_size as u64;
        if present != attr.size {
            let fd = told("truncate", live.for_writing())?;
            told("keep", objects.before_size(&*live, present, attr.size))?;
            told("truncate", rustix::fs::ftruncate(fd, attr.size))?;
        }
    }
    if op.aux & op::ATTR_OWNER_MODE != 0 {
        let stat = told("setattr", rustix::fs::statat(&*live, c"", AtFlags::EMPTY_PATH))?;
        told("setattr", own(live.as_fd(), &stat, attr.uid, attr.gid, attr.mode))?;
    }
    if op.aux & op::ATTR_MTIME != 0 {
        objects.times.take(op.object);
        told("utimens", set_mtime(live.as_fd(), op.mtime))?;
    } else {
        objects.times.set(op.object, op.mtime);
    }
    touched_if_open(objects, op)
}

/// Links and devices cannot be flushed by themselves: they live in their directory.
fn touched_if_open(objects: &Objects, op: &Incoming<'_>) -> Result<Touched, ApplyError> {
    let kind = objects.table.look(op.object, |entry| entry.kind);
    if op.flags & op::STABLE != 0 && matches!(kind, Some(Kind::File | Kind::Directory)) {
        return Ok(Touched::Objects(vec![told("open", objects.live(op.object))?]));
    }
    Ok(Touched::Nothing)
}

fn xattr(objects: &Objects, op: &Incoming<'_>) -> Result<Touched, ApplyError> {
    let xattr: Xattr = body(op)?;
    let object = told("xattr", objects.any_fd(op.object))?;
    let name = told("xattr", cstr(OsStr::from_bytes(&xattr.name)))?;
    told("keep", objects.before_attributes(&*object))?;
    if op.kind == kind::SETXATTR {
        told("setxattr", sys::set_xattr(object.as_fd(), &name, op.payload, 0))?;
    } else {
        match sys::remove_xattr(object.as_fd(), &name) {
            // An ACL that says no more than the mode is no attribute: gone already.
            Err(Errno::NODATA) => {}
            other => told("removexattr", other)?,
        }
    }
    if object.kind != Kind::Symlink {
        let stat = told("xattr", rustix::fs::statat(&*object, c"", AtFlags::EMPTY_PATH))?;
        told("xattr", own(object.as_fd(), &stat, stat.st_uid, stat.st_gid, xattr.mode))?;
    }
    touched_if_open(objects, op)
}

fn flags(objects: &Objects, op: &Incoming<'_>) -> Result<Touched, ApplyError> {
    let flags: Flags = body(op)?;
    let _held = objects.locks.one(op.object);
    told("flags", objects.write_time_locked(op.object))?;
    let live = told("flags", objects.live(op.object))?;
    told("keep", objects.before_attributes(&*live))?;
    let mut data = flags.data.into_vec();
    data.resize(data.len().max(28), 0);
    told("flags", sys::inode_flags(live.as_fd(), flags.call, &mut data))?;
    objects.close(op.object);
    touched_if_open(objects, op)
}

fn fsync(objects: &Objects, op: &Incoming<'_>) -> Result<Touched, ApplyError> {
    if op.flags & op::VARIANT == 0 {
        told("fsync", objects.write_time(op.object))?;
    }
    Ok(Touched::Objects(vec![told("fsync", objects.live(op.object))?]))
}
