//! What an object is on this node, but for its content: asked of the secondary, and computed here, by the same code.

use crate::apply::{Exclude, HIDDEN, identity, read_directory, xattr_names};
use crate::id::ObjectId;
use crate::limits::{RESYNC_ROUND, VERIFY_ANSWER, VERIFY_NAMES};
use crate::objects::{Kind, Live, Objects, flags, mtime};
use crate::op::{Bytes, Detail, Entries};
use crate::resync::digest;
use crate::sys::{self, Sys};
use rustix::fd::{AsFd, BorrowedFd};
use rustix::fs::AtFlags;
use rustix::io::Errno;
use std::ffi::{CStr, CString};
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

/// The beginning of the digest of a value.
fn short(value: &[u8]) -> [u8; 16] {
    digest::of(value)
}

/// The details of one object, and how many names they cover. The caller holds the object's lock where that has to be
/// one moment. Names that `exclude` matches are left out.
pub fn detail(objects: &Objects, id: ObjectId, exclude: &Exclude) -> Sys<(Detail, usize)> {
    identity::as_root();
    let live = objects.for_reading(id)?;
    let mut stat = rustix::fs::statat(&*live, c"", AtFlags::EMPTY_PATH)?;
    if stat.st_nlink == 0 {
        return Err(Errno::STALE);
    }
    objects.times.overlay(id, &mut stat);
    let kind = Kind::of(stat.st_mode);
    let mut xattrs = Vec::new();
    for name in xattr_names(live.as_fd())? {
        xattrs.push((Bytes::from(name.to_bytes().to_vec()), value_of(live.as_fd(), &name)?));
    }
    xattrs.sort_unstable();
    let target = match kind {
        Kind::Symlink => Some(Bytes::from(rustix::fs::readlinkat(&*live, c"", Vec::new())?.into_bytes())),
        _ => None,
    };
    let (names, count) = match kind {
        Kind::Directory => {
            let entries = sorted(objects, &live, exclude)?;
            (Some(digest_of(&entries)), entries.len())
        }
        _ => (None, 0),
    };
    let detail = Detail {
        mode: stat.st_mode,
        uid: stat.st_uid,
        gid: stat.st_gid,
        size: (kind == Kind::File).then_some(stat.st_size as u64),
        mtime: mtime(&stat),
        rdev: if kind == Kind::Special { stat.st_rdev } else { 0 },
        target,
        xattrs,
        flags: if matches!(kind, Kind::File | Kind::Directory) { flags::get(&live) } else { None },
        names,
    };
    Ok((detail, count))
}

fn value_of(fd: BorrowedFd<'_>, name: &CStr) -> Sys<[u8; 16]> {
    loop {
        let size = sys::get_xattr(fd, name, &mut [])?;
        let mut value = vec![0; size];
        match sys::get_xattr(fd, name, &mut value) {
            Ok(got) => return Ok(short(&value[..got])),
            // It grew meanwhile.
            Err(Errno::RANGE) => {}
            Err(why) => return Err(why),
        }
    }
}

/// The names in a directory with what they are, sorted. An object that is in no table has the id 0.
pub fn sorted(objects: &Objects, dir: &Arc<Live>, exclude: &Exclude) -> Sys<Vec<(Bytes, ObjectId)>> {
    let mut names = Vec::new();
    for entry in read_directory(dir)? {
        if dir.id == ObjectId::ROOT && entry.name == HIDDEN || exclude.matches(dir.as_fd(), &entry.name) {
            continue;
        }
        let path = CString::new(entry.name.as_bytes()).map_err(|_| Errno::INVAL)?;
        let id = owner(objects, dir.as_fd(), &path, entry.inode);
        names.push((Bytes::from(entry.name.as_bytes().to_vec()), id));
    }
    names.sort_unstable();
    Ok(names)
}

/// Inode numbers are used again, handles are not.
fn owner(objects: &Objects, dir: BorrowedFd<'_>, name: &CStr, inode: u64) -> ObjectId {
    let is_it = |id: &ObjectId| {
        let handle = sys::name_to_handle(dir, name);
        handle.is_ok_and(|handle| objects.table.look(*id, |entry| entry.handle == handle) == Some(true))
    };
    objects.table.by_inode(inode).filter(is_it).unwrap_or(ObjectId(0))
}

fn digest_of(entries: &[(Bytes, ObjectId)]) -> [u8; 16] {
    let mut hash = blake3::Hasher::new();
    for (name, id) in entries {
        hash.update(&(name.len() as u64).to_le_bytes()).update(name).update(&id.0.to_le_bytes());
    }
    let mut short = [0; 16];
    short.copy_from_slice(&hash.finalize().as_bytes()[..16]);
    short
}

/// The secondary's answer to `Details`: as many as fit, one at least.
pub fn details(objects: &Objects, ids: &[ObjectId]) -> Vec<Option<Detail>> {
    let (mut answers, mut bytes, mut names) = (Vec::new(), 0, 0);
    for id in ids.iter().take(RESYNC_ROUND) {
        // A decided time is being written: then it is neither in memory nor on disk.
        let held = objects.locks.one(*id);
        let found = detail(objects, *id, &Exclude::default()).ok();
        drop(held);
        bytes += found.as_ref().map_or(1, |(detail, _)| size_of(detail));
        names += found.as_ref().map_or(0, |(_, count)| *count);
        answers.push(found.map(|(detail, _)| detail));
        if bytes >= VERIFY_ANSWER || names >= VERIFY_NAMES {
            break;
        }
    }
    answers
}

fn size_of(detail: &Detail) -> usize {
    let xattrs: usize = detail.xattrs.iter().map(|(name, _)| name.len() + 24).sum();
    128 + xattrs + detail.target.as_ref().map_or(0, |target| target.len())
}

/// The secondary's answer to `Entries`.
pub fn entries(objects: &Objects, dir: ObjectId, after: &[u8]) -> Option<Entries> {
    identity::as_root();
    let live = objects.for_reading(dir).ok().filter(|live| live.kind == Kind::Directory)?;
    let all = sorted(objects, &live, &Exclude::default()).ok()?;
    let rest = all.into_iter().skip_while(|(name, _)| !after.is_empty() && name[..] <= *after);
    let mut part = Entries::default();
    let mut bytes = 0;
    for (name, id) in rest {
        if bytes >= VERIFY_ANSWER {
            part.more = true;
            break;
        }
        bytes += name.len() + 16;
        part.entries.push((name, id));
    }
    Some(part)
}

/// The secondary's answer to `Data`.
pub fn data(objects: &Objects, id: ObjectId, from: u64) -> Option<u64> {
    identity::as_root();
    let live = objects.for_reading(id).ok().filter(|live| live.kind == Kind::File)?;
    digest::next_data(&*live, from).ok().flatten()
}

/// Names of what two details of one object differ in; names in a directory are not among them.
pub fn differing(here: &Detail, there: &Detail) -> Vec<String> {
    let mut what = Vec::new();
    let mut note = |differs: bool, word: &str| {
        if differs {
            what.push(word.to_owned());
        }
    };
    note(here.mode & libc::S_IFMT != there.mode & libc::S_IFMT, "type");
    note(here.mode & 0o7777 != there.mode & 0o7777, "mode");
    note((here.uid, here.gid) != (there.uid, there.gid), "owner");
    note(here.size != there.size, "size");
    note(here.mtime != there.mtime, "mtime");
    note(here.rdev != there.rdev, "device");
    note(here.target != there.target, "target");
    // A file system without inode flags is no difference.
    note(here.flags.is_some() && there.flags.is_some() && here.flags != there.flags, "flags");
    let both = here.xattrs.iter().chain(&there.xattrs);
    let mut names: Vec<_> = both.map(|(name, _)| name).collect();
    names.sort_unstable();
    names.dedup();
    for name in names {
        let value = |detail: &Detail| detail.xattrs.iter().find(|(other, _)| other == name).map(|(_, value)| *value);
        if value(here) != value(there) {
            what.push(format!("xattr {}", String::from_utf8_lossy(name)));
        }
    }
    what
}
