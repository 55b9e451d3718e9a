//! A copy of one object, or of a whole tree, on the same file system: blocks are shared where it can share them,
//! holes stay holes, and attributes come along.

use super::Budget;
use crate::apply::{own, read_xattrs};
use crate::objects::{Kind, set_mtime};
use crate::sys::{self, Sys};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat, makedev, mknodat, openat, statat};
use rustix::io::Errno;
use std::ffi::{CStr, CString};
use std::rc::Rc;

/// Why a copy was not finished.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// More than the budget.
    #[error("what would be kept does not fit into {0} bytes")]
    Budget(u64),
    /// The file system.
    #[error("{0}")]
    System(#[from] Errno),
}

const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Opens a directory below `parent`.
pub fn directory(parent: BorrowedFd<'_>, name: &CStr) -> Sys<OwnedFd> {
    openat(parent, name, DIRECTORY, Mode::empty())
}

/// Names in a directory, without `.` and `..`.
pub fn names(dir: BorrowedFd<'_>) -> Sys<Vec<CString>> {
    let own = openat(dir, c".", DIRECTORY, Mode::empty())?;
    let mut names = Vec::new();
    for entry in Dir::new(own)? {
        let name = entry?.file_name().to_owned();
        if name.as_c_str() != c"." && name.as_c_str() != c".." {
            names.push(name);
        }
    }
    Ok(names)
}

/// Copies what `name` in `from` is into `to`, with everything below it. What is there already stays.
pub fn tree(from: BorrowedFd<'_>, name: &CStr, to: BorrowedFd<'_>, budget: &mut Budget) -> Result<(), CopyError> {
    let mut open = vec![(Rc::new(rustix::io::dup(from)?), Rc::new(rustix::io::dup(to)?), name.to_owned())];
    while let Some((from, to, name)) = open.pop() {
        let stat = match statat(&*from, &*name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => continue,
            other => other?,
        };
        if Kind::of(stat.st_mode) != Kind::Directory {
            one((*from).as_fd(), &name, &stat, (*to).as_fd(), budget)?;
            continue;
        }
        shell((*from).as_fd(), &name, (*to).as_fd(), budget)?;
        let inner = (Rc::new(directory((*from).as_fd(), &name)?), Rc::new(directory((*to).as_fd(), &name)?));
        for child in names((*inner.0).as_fd())? {
            open.push((inner.0.clone(), inner.1.clone(), child));
        }
    }
    Ok(())
}

/// The directory itself, with its attributes and nothing in it; given open.
pub fn shell(from: BorrowedFd<'_>, name: &CStr, to: BorrowedFd<'_>, budget: &mut Budget) -> Result<OwnedFd, CopyError> {
    match rustix::fs::mkdirat(to, name, Mode::RWXU) {
        Ok(()) => budget.directories += 1,
        Err(Errno::EXIST) => return Ok(directory(to, name)?),
        Err(why) => return Err(why.into()),
    }
    let (source, made) = (directory(from, name)?, directory(to, name)?);
    attributes(source.as_fd(), made.as_fd())?;
    Ok(made)
}

/// Anything but a directory.
pub fn one(from: BorrowedFd<'_>, name: &CStr, stat: &Stat, to: BorrowedFd<'_>, budget: &mut Budget) -> Result<(), CopyError> {
    let outcome = match Kind::of(stat.st_mode) {
        Kind::File => return file(from, name, stat, to, budget),
        Kind::Symlink => {
            let target = rustix::fs::readlinkat(from, name, Vec::new())?;
            rustix::fs::symlinkat(&*target, to, name)
        }
        Kind::Special => {
            let device = makedev(rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev));
            mknodat(to, name, FileType::from_raw_mode(stat.st_mode), Mode::from_raw_mode(stat.st_mode & 0o7777), device)
        }
        Kind::Directory => return Ok(()),
    };
    match outcome {
        Ok(()) => {
            budget.files += 1;
            let made = openat(to, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
            rustix::fs::chownat(
                to,
                name,
                Some(rustix::fs::Uid::from_raw(stat.st_uid)),
                Some(rustix::fs::Gid::from_raw(stat.st_gid)),
                AtFlags::SYMLINK_NOFOLLOW,
            )?;
            Ok(set_mtime(made.as_fd(), crate::objects::mtime(stat))?)
        }
        Err(Errno::EXIST) => Ok(()),
        Err(why) => Err(why.into()),
    }
}

fn file(from: BorrowedFd<'_>, name: &CStr, stat: &Stat, to: BorrowedFd<'_>, budget: &mut Budget) -> Result<(), CopyError> {
    let open = OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let source = openat(from, name, OFlags::RDONLY | OFlags::NONBLOCK | open, Mode::empty())?;
    let made = match openat(to, name, OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | open, Mode::RUSR | Mode::WUSR) {
        Err(Errno::EXIST) => return Ok(()),
        other => other?,
    };
    // Counted as if nothing could be shared: the budget promises room, not savings.
    budget.take(stat.st_blocks as u64 * 512)?;
    budget.files += 1;
    content(source.as_fd(), made.as_fd(), stat.st_size as u64)?;
    attributes(source.as_fd(), made.as_fd())?;
    Ok(())
}

fn content(source: BorrowedFd<'_>, made: BorrowedFd<'_>, size: u64) -> Sys<()> {
    rustix::fs::ftruncate(made, size)?;
    if rustix::fs::ioctl_ficlone(made, source).is_ok() {
        return Ok(());
    }
    let mut at = 0;
    while at < size {
        at = match sys::seek(source, at as i64, libc::SEEK_DATA) {
            Ok(data) => data as u64,
            Err(Errno::NXIO) => break,
            Err(Errno::INVAL) => at,
            Err(why) => return Err(why),
        };
        let end = sys::seek(source, at as i64, libc::SEEK_HOLE).map_or(size, |hole| hole as u64).min(size);
        while at < end {
            let (mut from, mut to) = (at, at);
            match rustix::fs::copy_file_range(source, Some(&mut from), made, Some(&mut to), (end - at) as usize) {
                Ok(0) => return Ok(()),
                Ok(copied) => at += copied as u64,
                Err(Errno::INTR) => {}
                Err(why) => return Err(why),
            }
        }
    }
    Ok(())
}

fn attributes(source: BorrowedFd<'_>, made: BorrowedFd<'_>) -> Sys<()> {
    let stat = rustix::fs::fstat(source)?;
    let fresh = rustix::fs::fstat(made)?;
    own(made, &fresh, stat.st_uid, stat.st_gid, stat.st_mode)?;
    for (name, value) in read_xattrs(source)? {
        if let Ok(name) = CString::new(name.into_vec()) {
            // Attributes that may not be set twice, or not here, are no reason to keep nothing.
            let _ = sys::set_xattr(made, &name, &value, 0);
        }
    }
    let fresh = rustix::fs::fstat(made)?;
    own(made, &fresh, stat.st_uid, stat.st_gid, stat.st_mode)?;
    set_mtime(made, crate::objects::mtime(&stat))
}
