//! What is asked before a change: afterwards what was there is on the disk, or given up.
//!
//! Errors of these questions are rare by design: what cannot be saved is given up, and the change goes on.

use super::log::{Attributes, Object, Record};
use super::{Inner, Keep, key};
use crate::apply::read_xattrs;
use crate::id::ObjectId;
use crate::limits::{CONSISTENT_BATCH, CONSISTENT_BLOCK, CONSISTENT_RECORDS};
use crate::objects::{Kind, flags};
use crate::op::Bytes;
use crate::resync::target::{freely, names_in, open_plain};
use crate::sys::{self, Sys};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, Mode, OFlags, Stat, openat, statat};
use rustix::io::Errno;
use std::ffi::{CStr, CString};
use std::io;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

/// Why something is not saved.
#[derive(Debug, thiserror::Error)]
enum Unsaved {
    #[error("more than {0} bytes would be needed")]
    Budget(u64),
    #[error("more than {CONSISTENT_RECORDS} things changed")]
    Records,
    #[error("it cannot be saved: {0}")]
    Io(#[from] io::Error),
}

impl From<Errno> for Unsaved {
    fn from(why: Errno) -> Unsaved {
        Unsaved::Io(why.into())
    }
}

type Saved<T = ()> = Result<T, Unsaved>;

impl Inner {
    fn charge(&mut self, bytes: u64) -> Saved {
        self.used = self.used.saturating_add(bytes);
        let budget = self.log.header().budget;
        if self.used > budget { Err(Unsaved::Budget(budget)) } else { Ok(()) }
    }

    fn add(&mut self, record: &Record, payload: &[u8]) -> Saved {
        self.records += 1;
        if self.records > CONSISTENT_RECORDS {
            return Err(Unsaved::Records);
        }
        // The room first: it is there for the data, not for our word that there is none left.
        self.charge(payload.len() as u64)?;
        let bytes = self.log.add(record, payload, self.used)?;
        self.charge(bytes - payload.len() as u64)
    }

    fn is_born(&self, inode: u64) -> bool {
        self.born.contains(ObjectId(inode))
    }
}

impl Keep {
    /// Runs `save`; what it cannot save is given up.
    fn guarded(&self, save: impl FnOnce(&mut Inner) -> Saved) -> Sys<()> {
        if !self.is_active() {
            return Ok(());
        }
        let mut inner = self.inner.lock();
        if !self.is_active() {
            return Ok(());
        }
        match save(&mut inner).and_then(|()| Ok(inner.log.flush()?)) {
            Ok(()) => Ok(()),
            Err(why) => self.give_up(&mut inner, &why.to_string()),
        }
    }

    /// For the control of the tests: whether this save is the one to be left out.
    fn left_out(&self) -> bool {
        let number = self.saves.fetch_add(1, SeqCst) + 1;
        #[cfg(test)]
        return number == self.leave_out.load(SeqCst);
        #[cfg(not(test))]
        {
            let _ = number;
            false
        }
    }

    /// The object was made just now.
    pub fn born(&self, inode: u64) {
        if self.is_active() {
            self.inner.lock().born.insert(ObjectId(inode));
        }
    }

    /// Attributes of the object are about to change.
    pub fn attributes(&self, object: BorrowedFd<'_>) -> Sys<()> {
        self.guarded(|inner| self.save_attributes(inner, object).map(drop))
    }

    /// What `name` in `dir` is, is about to change.
    pub fn name(&self, dir: BorrowedFd<'_>, name: &CStr) -> Sys<()> {
        self.guarded(|inner| self.save_name(inner, dir, name))
    }

    /// What `name` in `dir` is, is about to be removed or replaced, and was `stat`: if that is its last name, it gets another.
    pub fn last_name(&self, dir: BorrowedFd<'_>, name: &CStr, stat: &Stat) -> Sys<()> {
        self.guarded(|inner| {
            self.save_name(inner, dir, name)?;
            if stat.st_nlink > 1 || Kind::of(stat.st_mode) == Kind::Directory || inner.is_born(stat.st_ino) || self.left_out() {
                return Ok(());
            }
            inner.charge(stat.st_blocks as u64 * 512)?;
            let place = next_place(inner);
            match rustix::fs::linkat(dir, name, &self.gone, &*place, AtFlags::empty()) {
                // It is immutable: it will not be removed either, but unlocked first, and this is asked again.
                Err(Errno::PERM) => Ok(()),
                other => Ok(other?),
            }
        })
    }

    /// The directory `name` in `dir` is about to be removed, if it is empty: it is moved aside. False: remove it.
    pub fn move_directory(&self, dir: BorrowedFd<'_>, name: &CStr) -> Sys<bool> {
        let mut moved = Ok(false);
        self.guarded(|inner| {
            self.save_name(inner, dir, name)?;
            // What is not there, or no directory, is for the caller to find out.
            let Ok(stat) = statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) else { return Ok(()) };
            if Kind::of(stat.st_mode) != Kind::Directory || inner.is_born(stat.st_ino) {
                return Ok(());
            }
            let inside = super::copy::directory(dir, name)?;
            if !names_in(&inside)?.is_empty() {
                moved = Err(Errno::NOTEMPTY);
                return Ok(());
            }
            if self.left_out() {
                return Ok(());
            }
            let place = next_place(inner);
            match rustix::fs::renameat(dir, name, &self.gone, &*place) {
                Err(why @ (Errno::PERM | Errno::BUSY)) => moved = Err(why),
                other => {
                    other?;
                    moved = Ok(true);
                }
            }
            Ok(())
        })?;
        moved
    }

    /// Several names of a directory are about to change: one flush for all of them.
    pub fn names<'a>(&self, dir: BorrowedFd<'_>, names: impl Iterator<Item = &'a CStr>) -> Sys<()> {
        self.guarded(|inner| {
            for name in names {
                self.save_name(inner, dir, name)?;
            }
            Ok(())
        })
    }

    /// Moves what `name` in `dir` is, whole, out of the way instead of removing it; gives what to [`Keep::weigh`]. None:
    /// remove it.
    pub fn take(&self, dir: BorrowedFd<'_>, name: &CStr) -> Sys<Option<CString>> {
        let mut taken = None;
        self.guarded(|inner| {
            if self.left_out() {
                return Ok(());
            }
            let it = open_plain(dir, name)?;
            let place = next_place(inner);
            let fds: Vec<_> = it.iter().map(AsFd::as_fd).collect();
            match rustix::fs::renameat(dir, name, &self.gone, &*place) {
                Err(Errno::PERM) => {
                    fds.iter().try_for_each(|fd| self.save_attributes(inner, *fd).map(drop))?;
                    inner.log.flush()?;
                    freely(&fds, || rustix::fs::renameat(dir, name, &self.gone, &*place))?;
                }
                other => other?,
            }
            taken = Some(place);
            Ok(())
        })?;
        Ok(taken)
    }

    /// Counts what was taken. Walks it: not for the thread that applies.
    pub fn weigh(&self, taken: &[CString], stop: &AtomicBool) -> Sys<()> {
        for name in taken.iter().take_while(|_| self.is_active() && !stop.load(SeqCst)) {
            match weight(&self.gone, name) {
                // It was given up meanwhile.
                Err(Errno::NOENT) => {}
                other => {
                    let bytes = other?;
                    self.guarded(|inner| inner.charge(bytes))?;
                }
            }
        }
        Ok(())
    }

    /// Content of the file from `from` to `to` is about to change.
    pub fn content(&self, file: BorrowedFd<'_>, from: u64, to: u64) -> Sys<()> {
        self.guarded(|inner| {
            let Some(inode) = self.save_attributes(inner, file)? else { return Ok(()) };
            self.save_content(inner, file, inode, (from, to))
        })
    }

    /// The inode number, unless the object was made since the beginning.
    fn save_attributes(&self, inner: &mut Inner, object: BorrowedFd<'_>) -> Saved<Option<u64>> {
        let stat = statat(object, c"", AtFlags::EMPTY_PATH)?;
        if inner.is_born(stat.st_ino) || inner.outside.contains(&stat.st_ino) {
            return Ok(None);
        }
        if !inner.objects.insert(ObjectId(stat.st_ino)) {
            return Ok(Some(stat.st_ino));
        }
        let mut size = 0;
        if Kind::of(stat.st_mode) == Kind::File {
            size = stat.st_size as u64;
            inner.files.entry(stat.st_ino).or_default().size = size;
        }
        if self.left_out() {
            return Ok(Some(stat.st_ino));
        }
        let handle = sys::name_to_handle(object, c"")?;
        let attributes = Attributes {
            object: Object::new(stat.st_ino, &handle),
            mode: stat.st_mode,
            uid: stat.st_uid,
            gid: stat.st_gid,
            size,
            mtime: (stat.st_mtime, stat.st_mtime_nsec as u32),
            xattrs: read_xattrs(object)?,
            flags: flags_of(object, &stat),
        };
        inner.add(&Record::Attributes(attributes), &[])?;
        Ok(Some(stat.st_ino))
    }

    fn save_name(&self, inner: &mut Inner, dir: BorrowedFd<'_>, name: &CStr) -> Saved {
        // Its time changes with its names.
        let Some(inode) = self.save_attributes(inner, dir)? else { return Ok(()) };
        let key = key(inode, name.to_bytes());
        if inner.names.contains(&key) {
            return Ok(());
        }
        let was = match statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => None,
            // Such a name cannot change.
            Err(Errno::NOTDIR | Errno::NAMETOOLONG | Errno::INVAL) => return Ok(()),
            other => {
                let stat = other?;
                let handle = sys::name_to_handle(dir, name)?;
                Some((Object::new(stat.st_ino, &handle), Kind::of(stat.st_mode) == Kind::Directory))
            }
        };
        inner.names.insert(key);
        if self.left_out() {
            return Ok(());
        }
        let dir = Object::new(inode, &sys::name_to_handle(dir, c"")?);
        inner.add(&Record::Name { dir, name: Bytes::from(name.to_bytes().to_vec()), was }, &[])
    }

    fn save_content(&self, inner: &mut Inner, file: BorrowedFd<'_>, inode: u64, (from, to): (u64, u64)) -> Saved {
        let original = inner.files.entry(inode).or_default();
        let block = CONSISTENT_BLOCK;
        let (from, to) = (from - from % block, to.checked_next_multiple_of(block).unwrap_or(u64::MAX).min(original.size));
        if from >= to {
            return Ok(());
        }
        let missing = original.saved.missing(from, to);
        let cloned = original.cloned;
        if missing.is_empty() {
            return Ok(());
        }
        original.saved.add(from, to);
        if self.left_out() {
            return Ok(());
        }
        if cloned || inner.shares != Some(false) && self.clone_file(inner, file, inode)? {
            // What the change needs anew is what the old state costs.
            return inner.charge(missing.iter().map(|(from, to)| to - from).sum());
        }
        let mut since = 0;
        for (from, to) in missing {
            save_range(inner, file, inode, (from, to), &mut since)?;
        }
        Ok(())
    }

    /// False: the file system cannot share blocks.
    fn clone_file(&self, inner: &mut Inner, file: BorrowedFd<'_>, inode: u64) -> Saved<bool> {
        let name = CString::new(inode.to_string()).map_err(|_| Errno::INVAL)?;
        let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let clone = openat(&self.clones, &*name, flags, Mode::RUSR | Mode::WUSR)?;
        match rustix::fs::ioctl_ficlone(&clone, file) {
            Ok(()) => {}
            Err(Errno::OPNOTSUPP | Errno::INVAL | Errno::XDEV | Errno::NOTTY | Errno::NOSYS) => {
                rustix::fs::unlinkat(&self.clones, &*name, AtFlags::empty())?;
                inner.shares = Some(false);
                return Ok(false);
            }
            Err(why) => return Err(why.into()),
        }
        inner.shares = Some(true);
        rustix::fs::fsync(&clone)?;
        rustix::fs::fsync(&self.clones)?;
        inner.files.entry(inode).or_default().cloned = true;
        inner.add(&Record::Clone { inode }, &[])?;
        Ok(true)
    }
}

fn next_place(inner: &mut Inner) -> CString {
    inner.number += 1;
    CString::new(inner.number.to_string()).expect("digits")
}

/// Flags, also through a descriptor that cannot be asked.
fn flags_of(object: BorrowedFd<'_>, stat: &Stat) -> Option<u32> {
    let open = match Kind::of(stat.st_mode) {
        Kind::File => libc::O_RDONLY | libc::O_NONBLOCK,
        Kind::Directory => libc::O_RDONLY | libc::O_DIRECTORY,
        _ => return None,
    };
    flags::of(object).or_else(|| flags::of(sys::reopen(object, open).ok()?.as_fd()))
}

fn save_range(inner: &mut Inner, file: BorrowedFd<'_>, inode: u64, (from, to): (u64, u64), since: &mut u64) -> Saved {
    let mut buffer = vec![0; CONSISTENT_PIECE];
    let mut at = from;
    while at < to {
        let data = match sys::seek(file, at as i64, libc::SEEK_DATA) {
            Ok(data) => (data as u64).min(to),
            Err(Errno::NXIO) => to,
            Err(Errno::INVAL) => at,
            Err(why) => return Err(why.into()),
        };
        if data > at {
            inner.add(&Record::Hole { inode, offset: at, length: data - at }, &[])?;
            at = data;
            continue;
        }
        let end = sys::seek(file, at as i64, libc::SEEK_HOLE).map_or(to, |hole| hole as u64).min(to).min(at + buffer.len() as u64);
        let piece = &mut buffer[..(end - at) as usize];
        let mut done = 0;
        while done < piece.len() {
            match rustix::io::pread(file, &mut piece[done..], at + done as u64) {
                Ok(0) => return Err(Errno::IO.into()),
                Ok(read) => done += read,
                Err(Errno::INTR) => {}
                Err(why) => return Err(why.into()),
            }
        }
        inner.add(&Record::Data { inode, offset: at }, piece)?;
        *since += piece.len() as u64;
        if *since >= CONSISTENT_BATCH {
            inner.log.flush()?;
            *since = 0;
        }
        at = end;
    }
    Ok(())
}

/// Bytes read and saved at a time.
const CONSISTENT_PIECE: usize = 1 << 20;

/// Bytes that would be free without what `name` is.
fn weight(dir: &OwnedFd, name: &CStr) -> Sys<u64> {
    let stat = statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)?;
    if Kind::of(stat.st_mode) != Kind::Directory {
        return Ok(if stat.st_nlink <= 1 { stat.st_blocks as u64 * 512 } else { 0 });
    }
    let mut bytes = stat.st_blocks as u64 * 512;
    let mut left = vec![(Rc::new(rustix::io::dup(dir)?), name.to_owned())];
    while let Some((above, name)) = left.pop() {
        let dir = Rc::new(super::copy::directory((*above).as_fd(), &name)?);
        for name in names_in(&dir)? {
            let stat = match statat(&*dir, &*name, AtFlags::SYMLINK_NOFOLLOW) {
                Err(Errno::NOENT) => continue,
                other => other?,
            };
            bytes += stat.st_blocks as u64 * 512;
            if Kind::of(stat.st_mode) == Kind::Directory {
                left.push((dir.clone(), name));
            }
        }
    }
    Ok(bytes)
}
