//! What can be done to a directory.

use serde::{Deserialize, Serialize};

/// One operation. Paths are relative; `slot` names an open file of the acting process.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Op {
    /// Makes a directory the current one (harness only).
    Enter {
        dir: String,
    },
    Umask {
        mode: u32,
    },
    Open {
        slot: u8,
        path: String,
        flags: u32,
        mode: u32,
    },
    Close {
        slot: u8,
    },
    Write {
        slot: u8,
        offset: u64,
        length: usize,
        byte: u8,
    },
    /// At the file's position, or its end with O_APPEND.
    Append {
        slot: u8,
        length: usize,
        byte: u8,
    },
    Read {
        slot: u8,
        offset: u64,
        length: usize,
    },
    Seek {
        slot: u8,
        offset: u64,
        hole: bool,
    },
    Resize {
        slot: u8,
        size: u64,
    },
    Allocate {
        slot: u8,
        mode: u32,
        offset: u64,
        length: u64,
    },
    Sync {
        slot: u8,
        data_only: bool,
    },
    CopyRange {
        from: u8,
        to: u8,
        from_offset: u64,
        to_offset: u64,
        length: usize,
    },
    /// Stores through a shared mapping, then msync (by xfs_io: a process of its own).
    Map {
        path: String,
        offset: u64,
        length: u64,
        byte: u8,
    },
    Flock {
        slot: u8,
        exclusive: bool,
        unlock: bool,
    },
    Lock {
        slot: u8,
        exclusive: bool,
        unlock: bool,
    },
    StatOpen {
        slot: u8,
    },
    Truncate {
        path: String,
        size: u64,
    },
    Rename {
        from: String,
        to: String,
        flags: u32,
    },
    Link {
        from: String,
        to: String,
    },
    Unlink {
        path: String,
    },
    Symlink {
        target: String,
        path: String,
    },
    ReadLink {
        path: String,
    },
    Mknod {
        path: String,
        kind: NodeKind,
        mode: u32,
    },
    Mkdir {
        path: String,
        mode: u32,
    },
    Rmdir {
        path: String,
    },
    Chmod {
        path: String,
        mode: u32,
    },
    Chown {
        path: String,
        uid: Option<u32>,
        gid: Option<u32>,
        follow: bool,
    },
    Times {
        path: String,
        modified: Time,
    },
    SetXattr {
        path: String,
        name: String,
        value: Vec<u8>,
        flags: u32,
    },
    GetXattr {
        path: String,
        name: String,
    },
    ListXattr {
        path: String,
    },
    RemoveXattr {
        path: String,
        name: String,
    },
    Stat {
        path: String,
    },
    List {
        path: String,
    },
    Access {
        path: String,
        mode: u32,
    },
    StatFs,
    /// FS_IOC_SETFLAGS: no-dump on or off.
    Flags {
        slot: u8,
        nodump: bool,
    },
}

/// What `mknod` makes.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub enum NodeKind {
    Fifo,
    Socket,
    Null,
    File,
}

/// A time for utimensat.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub enum Time {
    /// Seconds (few, so that they are told from the clock's) and nanoseconds.
    At(i64, i64),
    Now,
    Omit,
}

/// The outcome: what was returned, or the errno.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reply {
    pub result: Result<String, i32>,
    /// How the path looks afterwards.
    pub look: String,
}

impl Op {
    /// The path the operation is about.
    pub fn path(&self) -> Option<&str> {
        match self {
            Op::Open { path, .. } | Op::Map { path, .. } | Op::Truncate { path, .. } | Op::Unlink { path } => Some(path),
            Op::Symlink { path, .. } | Op::Mknod { path, .. } | Op::Mkdir { path, .. } | Op::Rmdir { path } => Some(path),
            Op::Chmod { path, .. } | Op::Chown { path, .. } | Op::Times { path, .. } => Some(path),
            Op::SetXattr { path, .. } | Op::RemoveXattr { path, .. } => Some(path),
            Op::Rename { to, .. } | Op::Link { to, .. } => Some(to),
            _ => None,
        }
    }
}
