//! Reading directories.

use super::HIDDEN;
use super::volume::Volume;
use crate::id::ObjectId;
use crate::limits::DIRECTORY_BUFFER;
use crate::objects::Live;
use crate::sys::{self, Sys, cstr};
use rustix::fd::{AsFd, BorrowedFd};
use rustix::fs::{RawDir, Stat};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

/// One name as the directory gave it.
#[derive(Clone, Debug)]
pub struct DirEntry {
    /// Name.
    pub name: OsString,
    /// Local inode number.
    pub inode: u64,
    /// Where reading goes on after it.
    pub next: u64,
}

/// Reads a piece of a directory from the descriptor's position.
fn read_piece(fd: BorrowedFd<'_>, entries: &mut Vec<DirEntry>) -> Sys<()> {
    let mut buffer = Vec::with_capacity(DIRECTORY_BUFFER);
    let mut raw = RawDir::new(fd, buffer.spare_capacity_mut());
    while let Some(entry) = raw.next() {
        let entry = entry?;
        entries.push(DirEntry {
            name: OsString::from_vec(entry.file_name().to_bytes().to_vec()),
            inode: entry.ino(),
            next: entry.next_entry_cookie(),
        });
        if raw.is_buffer_empty() {
            break;
        }
    }
    Ok(())
}

/// All names of a directory but `.` and `..`.
pub fn read_directory(live: &Live) -> Sys<Vec<DirEntry>> {
    let mut cursor = live.position.lock();
    cursor.clear();
    sys::seek(live.as_fd(), 0, libc::SEEK_SET)?;
    let mut all = Vec::new();
    loop {
        let before = all.len();
        read_piece(live.as_fd(), &mut all)?;
        if all.len() == before {
            break;
        }
    }
    cursor.moved();
    all.retain(|entry| entry.name != "." && entry.name != "..");
    Ok(all)
}

impl Volume {
    /// Gives names from `offset` on to `add` (offset after it, id, attributes if `plus`, name) until it says
    /// that it is full.
    pub fn readdir(&self, dir: ObjectId, offset: u64, plus: bool, mut add: impl FnMut(u64, ObjectId, Option<&Stat>, u32, &OsStr) -> bool) -> Sys<()> {
        let live = self.objects.live(dir)?;
        let mut cursor = live.position.lock();
        let mut pending = cursor.take(offset);
        if pending.is_none() && cursor.at() != Some(offset) {
            sys::seek(live.as_fd(), offset as i64, libc::SEEK_SET)?;
        }
        loop {
            let mut piece = match pending.take() {
                Some(rest) => rest,
                None => {
                    let mut entries = Vec::new();
                    read_piece(live.as_fd(), &mut entries)?;
                    entries.into()
                }
            };
            if piece.is_empty() {
                cursor.moved();
                return Ok(());
            }
            let mut reached = offset;
            while let Some(entry) = piece.front() {
                if !self.add_entry(dir, &live, entry, plus, &mut add) {
                    let at = if reached == offset { None } else { Some(reached) };
                    cursor.keep(at.unwrap_or(offset), piece);
                    return Ok(());
                }
                reached = entry.next;
                piece.pop_front();
            }
            cursor.set(reached);
        }
    }

    fn add_entry(&self, dir: ObjectId, live: &Live, entry: &DirEntry, plus: bool, add: &mut impl FnMut(u64, ObjectId, Option<&Stat>, u32, &OsStr) -> bool) -> bool {
        let directory = libc::S_IFDIR;
        if entry.name == "." {
            return !add(entry.next, dir, None, directory, &entry.name);
        }
        if entry.name == ".." {
            let parent = self.objects.table.look(dir, |entry| entry.parent).unwrap_or(ObjectId::ROOT);
            return !add(entry.next, parent, None, directory, &entry.name);
        }
        if dir == ObjectId::ROOT && entry.name == HIDDEN {
            return true;
        }
        let Ok(path) = cstr(OsStr::from_bytes(entry.name.as_bytes())) else { return true };
        // A name that went meanwhile is no longer there: pass over it.
        let Ok((id, stat)) = self.identify(dir, live, &entry.name, &path) else { return true };
        !add(entry.next, id, plus.then_some(&stat), stat.st_mode, &entry.name)
    }
}
