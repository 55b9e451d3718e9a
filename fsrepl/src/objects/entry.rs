//! What is known of one object.

use crate::id::ObjectId;
use crate::sys::Handle;
use rustix::fs::{FileType, Stat};

/// What an object is, as far as opening it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Regular file.
    File,
    /// Directory.
    Directory,
    /// Symbolic link.
    Symlink,
    /// FIFO, socket, device.
    Special,
}

impl Kind {
    /// From `st_mode`.
    pub fn of(mode: u32) -> Kind {
        match FileType::from_raw_mode(mode) {
            FileType::RegularFile => Kind::File,
            FileType::Directory => Kind::Directory,
            FileType::Symlink => Kind::Symlink,
            _ => Kind::Special,
        }
    }
}

/// One object.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its local handle.
    pub handle: Handle,
    /// Its local inode number.
    pub inode: u64,
    /// A directory that held it when it was learnt: a hint.
    pub parent: ObjectId,
    /// What it is.
    pub kind: Kind,
    /// Excluded from replication (and everything below it).
    pub local: bool,
    /// It has lost its last name, and its inode number may soon be another's.
    pub(super) nameless: bool,
    /// Its handle is that of what was found under its inode number in this run; otherwise the disk said so, and
    /// a crash may have lost that it is gone.
    pub(super) verified: bool,
    /// The sync session in which the secondary learnt the names of this directory; 0 never.
    pub names_epoch: u32,
    /// The sync session in which the secondary got this object's content and attributes; 0 never.
    pub content_epoch: u32,
    /// Changes whenever its descriptor is closed because it must be opened anew.
    pub closed: u32,
    /// How often the kernel was given this object and has not yet said that it forgot it.
    pub lookups: u64,
}

impl Entry {
    /// An entry not known to any secondary yet.
    pub fn new(handle: Handle, stat: &Stat, parent: ObjectId) -> Entry {
        Entry { verified: true, ..Entry::stored(handle, stat.st_ino, Kind::of(stat.st_mode), parent) }
    }

    /// What the table on disk keeps.
    pub(super) fn stored(handle: Handle, inode: u64, kind: Kind, parent: ObjectId) -> Entry {
        Entry {
            handle,
            inode,
            parent,
            kind,
            local: false,
            nameless: false,
            verified: false,
            names_epoch: 0,
            content_epoch: 0,
            closed: 0,
            lookups: 0,
        }
    }

    /// Whether the table on disk holds it.
    pub(super) fn lasts(&self) -> bool {
        !self.local && !self.nameless
    }
}
