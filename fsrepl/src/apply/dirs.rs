//! Reading directories.

use super::HIDDEN;
use super::volume::Volume;
use crate::id::ObjectId;
use crate::limits::DIRECTORY_BUFFER;
use crate::objects::{Cursor, Live};
use crate::sys::{self, Sys, cstr};
use rustix::fd::{AsFd, BorrowedFd};
use rustix::fs::{RawDir, Stat};
use rustix::io::Errno;
use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStringExt;

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

/// Reads the first piece of a directory. On ext4 a descriptor whose very first read was at the end of the
/// directory reads nothing at its beginning either, until it has been somewhere else; every directory has `.`.
fn read_first(fd: BorrowedFd<'_>, entries: &mut Vec<DirEntry>) -> Sys<()> {
    sys::seek(fd, 0, libc::SEEK_SET)?;
    read_piece(fd, entries)?;
    if entries.is_empty() {
        sys::seek(fd, 1, libc::SEEK_SET)?;
        read_piece(fd, &mut Vec::new())?;
        sys::seek(fd, 0, libc::SEEK_SET)?;
        read_piece(fd, entries)?;
    }
    Ok(())
}

/// All names of a directory but `.` and `..`.
pub fn read_directory(live: &Live) -> Sys<Vec<DirEntry>> {
    let mut cursor = live.position.lock();
    cursor.clear();
    let mut all = Vec::new();
    read_first(live.as_fd(), &mut all)?;
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

/// The next piece of a directory after `offset`. The descriptor may stand elsewhere: others read through it too.
fn read_on(live: &Live, cursor: &mut Cursor, offset: u64) -> Sys<VecDeque<DirEntry>> {
    let mut entries = Vec::new();
    let read = if offset == 0 {
        read_first(live.as_fd(), &mut entries)
    } else {
        if cursor.at() != Some(offset) {
            cursor.moved();
            sys::seek(live.as_fd(), offset as i64, libc::SEEK_SET)?;
        }
        read_piece(live.as_fd(), &mut entries)
    };
    match entries.last() {
        Some(last) if read.is_ok() => cursor.set(last.next),
        _ => cursor.moved(),
    }
    read.map(|()| entries.into())
}

impl Volume {
    /// Gives names from `offset` on to `add` (offset after it, id, attributes if `plus`, name) until it says
    /// that it is full.
    pub fn readdir(
        &self,
        dir: ObjectId,
        offset: u64,
        plus: bool,
        mut add: impl FnMut(u64, ObjectId, Option<&Stat>, u32, &OsStr) -> bool,
    ) -> Sys<()> {
        let live = self.objects.live(dir)?;
        let mut cursor = live.position.lock();
        let mut pending = cursor.take(offset);
        let mut reached = offset;
        loop {
            let mut piece = match pending.take() {
                Some(rest) => rest,
                None => read_on(&live, &mut cursor, reached)?,
            };
            if piece.is_empty() {
                return Ok(());
            }
            while let Some(entry) = piece.front() {
                if !self.add_entry(dir, &live, entry, plus, &mut add)? {
                    cursor.keep(reached, piece);
                    return Ok(());
                }
                reached = entry.next;
                piece.pop_front();
            }
        }
    }

    fn add_entry(
        &self,
        dir: ObjectId,
        live: &Live,
        entry: &DirEntry,
        plus: bool,
        add: &mut impl FnMut(u64, ObjectId, Option<&Stat>, u32, &OsStr) -> bool,
    ) -> Sys<bool> {
        let directory = libc::S_IFDIR;
        if entry.name == "." {
            return Ok(!add(entry.next, dir, None, directory, &entry.name));
        }
        if entry.name == ".." {
            let parent = self.objects.table.look(dir, |entry| entry.parent).unwrap_or(ObjectId::ROOT);
            return Ok(!add(entry.next, parent, None, directory, &entry.name));
        }
        if dir == ObjectId::ROOT && entry.name == HIDDEN {
            return Ok(true);
        }
        match self.identify(dir, live, &entry.name, &cstr(&entry.name)?) {
            Ok((id, stat)) => Ok(!add(entry.next, id, plus.then_some(&stat), stat.st_mode, &entry.name)),
            // A name that went meanwhile is no longer there: pass over it, and over what is mounted inside.
            Err(Errno::NOENT | Errno::STALE | Errno::XDEV) => Ok(true),
            Err(why) => Err(why),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apply::{Cursors, Exclude};
    use crate::objects::Objects;
    use std::collections::BTreeSet;

    /// Reads from `offset` until `most` names have come; gives them and where to go on.
    fn read(volume: &Volume, offset: u64, most: usize) -> (Vec<OsString>, u64) {
        let (mut names, mut reached) = (Vec::new(), offset);
        let add = |next, _, _: Option<&Stat>, _, name: &OsStr| {
            if names.len() == most {
                return true;
            }
            names.push(name.to_owned());
            reached = next;
            false
        };
        volume.readdir(ObjectId::ROOT, offset, false, add).unwrap();
        (names, reached)
    }

    fn volume(path: &std::path::Path) -> Volume {
        use rustix::fs::{Mode, OFlags};
        let root = rustix::fs::open(path, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).unwrap();
        let objects = Objects::new(root).unwrap();
        Volume {
            objects,
            exclude: Exclude::default(),
            journal: None,
            outlet: None,
            arrivals: Default::default(),
            cursors: Cursors::default(),
            ongoing: Default::default(),
        }
    }

    #[test]
    fn a_descriptor_that_is_opened_at_the_end_goes_back_to_the_beginning() {
        let temp = tempfile::tempdir().unwrap();
        std::fs::write(temp.path().join("file"), "").unwrap();
        let volume = volume(temp.path());
        let (names, end) = read(&volume, 0, usize::MAX);
        assert_eq!(names.len(), 3);
        volume.objects.close(ObjectId::ROOT);
        assert_eq!(read(&volume, end, usize::MAX).0.len(), 0);
        assert_eq!(read(&volume, 0, usize::MAX).0.len(), 3);
        volume.objects.close(ObjectId::ROOT);
        assert_eq!(read(&volume, end, usize::MAX).0.len(), 0);
        assert_eq!(read_directory(&volume.objects.live(ObjectId::ROOT).unwrap()).unwrap().len(), 1);
    }

    #[test]
    fn readers_that_share_a_descriptor_see_every_name_once() {
        let temp = tempfile::tempdir().unwrap();
        for n in 0..1000 {
            std::fs::write(temp.path().join(format!("file-{n}")), "").unwrap();
        }
        let volume = volume(temp.path());
        for others in [7, 100, usize::MAX] {
            let (mut seen, mut offset) = (Vec::new(), 0);
            loop {
                let (names, reached) = read(&volume, offset, 10);
                if names.is_empty() {
                    break;
                }
                seen.extend(names);
                offset = reached;
                // Another reader, from the beginning, with room for more or for less.
                read(&volume, 0, others);
            }
            assert_eq!(seen.len(), 1002);
            assert_eq!(seen.iter().collect::<BTreeSet<_>>().len(), 1002);
        }
    }
}
