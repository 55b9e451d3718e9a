//! What the secondary's side of a resync needs of a file system: where a directory is, moving what is immutable,
//! removing whole trees.

use crate::objects::{Kind, flags};
use crate::sys::{self, Sys};
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;
use std::ffi::{CStr, CString};
use std::os::unix::ffi::OsStrExt;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// The directory that `name` is.
pub fn open_directory(dir: impl AsFd, name: &CStr) -> Sys<OwnedFd> {
    rustix::fs::openat(dir, name, DIRECTORY, Mode::empty())
}

/// The directory that holds `dir`, and its name there. The kernel's word is only a hint, because what it says is
/// a path; the inode counts.
pub fn place_of(dir: impl AsFd) -> Sys<(OwnedFd, CString)> {
    let dir = dir.as_fd();
    let inode = rustix::fs::fstat(dir)?.st_ino;
    let above = open_directory(dir, c"..")?;
    let is_it = |name: &CStr| rustix::fs::statat(&above, name, AtFlags::SYMLINK_NOFOLLOW).is_ok_and(|stat| stat.st_ino == inode);
    let path = std::fs::read_link(format!("/proc/self/fd/{}", dir.as_raw_fd())).unwrap_or_default();
    let said = path.file_name().and_then(|name| CString::new(name.as_bytes()).ok());
    if let Some(name) = said.filter(|name| is_it(name)) {
        return Ok((above, name));
    }
    let mut name = None;
    for entry in rustix::fs::Dir::read_from(&above)? {
        let entry = entry?;
        if entry.ino() == inode && is_it(entry.file_name()) {
            name = Some(entry.file_name().to_owned());
        }
    }
    name.map(|name| (above, name)).ok_or(Errno::NOENT)
}

/// All names in a directory.
pub fn names_in(dir: &OwnedFd) -> Sys<Vec<CString>> {
    let own = open_directory(dir, c".")?;
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

/// Removes what `name` is, with everything below it, until it is done or told to stop. Iterative: trees can be
/// deeper than stacks.
pub fn remove_tree(parent: &OwnedFd, name: &CStr, stop: &AtomicBool) -> Sys<()> {
    let mut open = vec![(Rc::new(rustix::io::dup(parent)?), name.to_owned())];
    while let Some((dir, name)) = open.last() {
        if stop.load(Relaxed) {
            return Ok(());
        }
        let dir: &OwnedFd = dir;
        let directory = match remove(dir, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => false,
            Err(Errno::ISDIR) => true,
            Err(why) => return Err(why),
        };
        if directory {
            match remove(dir, name, AtFlags::REMOVEDIR) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(Errno::NOTEMPTY | Errno::EXIST) => {
                    let inner = Rc::new(open_directory(dir, name)?);
                    // What is in it goes as well: it stays unlocked.
                    std::mem::forget(Unlocked::new(inner.as_fd())?);
                    for child in names_in(&inner)? {
                        open.push((inner.clone(), child));
                    }
                    continue;
                }
                Err(Errno::NOTDIR) => continue,
                Err(why) => return Err(why),
            }
        }
        open.pop();
    }
    Ok(())
}

fn remove(dir: &OwnedFd, name: &CStr, flags: AtFlags) -> Sys<()> {
    match rustix::fs::unlinkat(dir, name, flags) {
        Err(Errno::PERM) => {
            let it = open_plain(dir.as_fd(), name)?;
            let fds: Vec<BorrowedFd<'_>> = it.iter().map(AsFd::as_fd).collect();
            freely(&fds, || rustix::fs::unlinkat(dir, name, flags))
        }
        other => other,
    }
}

/// A descriptor of what can have inode flags: files and directories.
pub fn open_plain(dir: BorrowedFd<'_>, name: &CStr) -> Sys<Option<OwnedFd>> {
    let mode = rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)?.st_mode;
    if !matches!(Kind::of(mode), Kind::File | Kind::Directory) {
        return Ok(None);
    }
    let open = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    rustix::fs::openat(dir, name, open, Mode::empty()).map(Some)
}

/// Something immutable or append-only that was unlocked, until this is dropped.
pub struct Unlocked<'a> {
    fd: BorrowedFd<'a>,
    flags: [u8; 8],
}

impl<'a> Unlocked<'a> {
    /// None if it is not locked.
    fn new(fd: BorrowedFd<'a>) -> Sys<Option<Unlocked<'a>>> {
        let mut data = [0; 8];
        match sys::inode_flags(fd, sys::GET_FLAGS, &mut data) {
            // A file system without flags.
            Err(Errno::NOTTY | Errno::OPNOTSUPP | Errno::NOSYS) => return Ok(None),
            other => other?,
        }
        let before = data;
        let present = u32::from_ne_bytes([data[0], data[1], data[2], data[3]]);
        if present & flags::LOCKING == 0 {
            return Ok(None);
        }
        data[..4].copy_from_slice(&(present & !flags::LOCKING).to_ne_bytes());
        sys::inode_flags(fd, sys::SET_FLAGS, &mut data)?;
        Ok(Some(Unlocked { fd, flags: before }))
    }
}

impl Drop for Unlocked<'_> {
    fn drop(&mut self) {
        // What is gone for good needs no flags.
        let _ = sys::inode_flags(self.fd, sys::SET_FLAGS, &mut self.flags);
    }
}

/// Unlocks all of `fds`.
pub fn unlock_all<'a>(fds: &[BorrowedFd<'a>]) -> Sys<Vec<Unlocked<'a>>> {
    fds.iter().filter_map(|fd| Unlocked::new(*fd).transpose()).collect()
}

/// Acts; where an immutable or append-only object forbids it, with all of `fds` unlocked meanwhile.
pub fn freely<T>(fds: &[BorrowedFd<'_>], act: impl Fn() -> Sys<T>) -> Sys<T> {
    match act() {
        Err(Errno::PERM) => {}
        other => return other,
    }
    let _unlocked = unlock_all(fds)?;
    act()
}
