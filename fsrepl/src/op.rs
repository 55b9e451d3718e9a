//! Operations: what travels is the outcome on the primary, never the request.

use crate::id::{ObjectId, Stamp};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// Kinds of frames. The numbers are the wire format (docs/wire.md).
pub mod kind {
    #![allow(missing_docs, reason = "the names are the operations")]
    pub const WRITE: u8 = 1;
    pub const FALLOCATE: u8 = 3;
    pub const CREATE: u8 = 4;
    pub const LINK: u8 = 5;
    pub const UNLINK: u8 = 6;
    pub const RENAME: u8 = 7;
    pub const SETATTR: u8 = 8;
    pub const SETXATTR: u8 = 9;
    pub const REMOVEXATTR: u8 = 10;
    pub const FLAGS: u8 = 11;
    /// Flush one object to stable storage.
    pub const FSYNC: u8 = 12;
    /// Flush everything to stable storage.
    pub const SYNC_ALL: u8 = 13;
    /// The primary leaves cleanly.
    pub const LEAVE: u8 = 14;
    /// Names of one directory during a resync.
    pub const SYNC_NAMES: u8 = 30;
    /// Take an object out of a known directory: it moved to one that is not known yet.
    pub const PARK: u8 = 31;
    /// Put an object into a known directory, whether it is known or not.
    pub const PLACE: u8 = 32;
    /// Every name is in place: what is still parked goes.
    pub const SYNC_PURGE: u8 = 33;
    /// Attributes and extended attributes of one object.
    pub const SYNC_META: u8 = 34;
    /// Both replicas are equal from here on.
    pub const SYNC_DONE: u8 = 35;
    /// Keeps the connection alive; no operation, no sequence number.
    pub const PING: u8 = 60;
    /// Secondary to primary: what has been applied and what is on stable storage.
    pub const ACK: u8 = 61;
    /// Secondary to primary: an operation failed here; the session ends.
    pub const FAILED: u8 = 62;
    /// Bulk: which content of these objects does the secondary have?
    pub const QUERY: u8 = 70;
    /// Bulk: the answer.
    pub const ANSWER: u8 = 71;
}

/// WRITE: more frames of the same operation follow. SYNC_NAMES: more parts of the same directory follow, each
/// an operation of its own.
pub const MORE: u8 = 1;
/// UNLINK: the name is a directory's. FSYNC: data only is enough.
pub const VARIANT: u8 = 2;
/// The operation is acknowledged only from stable storage.
pub const STABLE: u8 = 4;
/// SYNC_NAMES: first part of a directory.
pub const FIRST: u8 = 8;

/// One operation on its way out.
pub struct Op<'a> {
    /// One of [`kind`].
    pub kind: u8,
    /// [`VARIANT`], [`STABLE`], and for SYNC_NAMES [`FIRST`] and [`MORE`].
    pub flags: u8,
    /// The object it changes (the new one for CREATE).
    pub object: ObjectId,
    /// File offset where there is one.
    pub offset: u64,
    /// Outcome: modification time of the object.
    pub mtime: Stamp,
    /// FALLOCATE: mode. SETATTR: which fields count.
    pub aux: u32,
    /// The rest of the outcome.
    pub body: Vec<u8>,
    /// Raw data.
    pub payload: &'a [u8],
}

impl<'a> Op<'a> {
    /// An operation without body and payload.
    pub fn new(kind: u8, object: ObjectId) -> Op<'a> {
        Op { kind, flags: 0, object, offset: 0, mtime: Stamp::default(), aux: 0, body: Vec::new(), payload: &[] }
    }

    /// With a body.
    pub fn body<T: Serialize>(mut self, body: &T) -> Op<'a> {
        self.body = encode(body);
        self
    }

    /// With the modification time of the outcome.
    pub fn mtime(mut self, mtime: Stamp) -> Op<'a> {
        self.mtime = mtime;
        self
    }
}

/// Encodes a body.
pub fn encode<T: Serialize>(body: &T) -> Vec<u8> {
    rmp_serde::to_vec(body).expect("bodies are plain structures and always encode")
}

/// Decodes a body.
pub fn decode<T: DeserializeOwned>(body: &[u8]) -> Result<T, String> {
    rmp_serde::from_slice(body).map_err(|why| why.to_string())
}

/// A name or other bytes that are not text.
pub type Bytes = serde_bytes::ByteBuf;

/// CREATE, PLACE, and each entry of SYNC_NAMES.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Create {
    /// Directory.
    pub parent: ObjectId,
    /// Name in it.
    pub name: Bytes,
    /// Mode and umask as the caller asked, so that default ACLs come out the same.
    pub asked: (u32, u32),
    /// Type and mode it got.
    pub mode: u32,
    /// Owner it got.
    pub uid: u32,
    /// Group it got.
    pub gid: u32,
    /// Device number.
    pub rdev: u64,
    /// Target of a symbolic link.
    pub target: Option<Bytes>,
    /// Modification time of the directory after it.
    pub parent_mtime: Stamp,
}

/// LINK, UNLINK and PARK.
#[derive(Debug, Serialize, Deserialize)]
pub struct Name {
    /// Directory.
    pub parent: ObjectId,
    /// Name in it.
    pub name: Bytes,
    /// Modification time of the directory after it.
    pub parent_mtime: Stamp,
}

/// RENAME. `flags` as in renameat2(2).
#[derive(Debug, Serialize, Deserialize)]
pub struct Rename {
    /// From.
    pub from: Name,
    /// To.
    pub to: Name,
    /// NOREPLACE (1), EXCHANGE (2).
    pub flags: u32,
}

/// SETATTR: fields whose bit is not set in `aux` do not count.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct SetAttr {
    /// New size.
    pub size: u64,
    /// New permission bits.
    pub mode: u32,
    /// New owner.
    pub uid: u32,
    /// New group.
    pub gid: u32,
}

/// SETATTR `aux`: the size changed.
pub const ATTR_SIZE: u32 = 1;
/// SETATTR `aux`: permission bits, owner and group are given.
pub const ATTR_OWNER_MODE: u32 = 2;
/// SETATTR `aux`: the modification time was set by the application: write it at once.
pub const ATTR_MTIME: u32 = 4;

/// FALLOCATE.
#[derive(Debug, Serialize, Deserialize)]
pub struct Fallocate {
    /// Bytes from the header's offset.
    pub length: u64,
}

/// SETXATTR and REMOVEXATTR; the value is the payload.
#[derive(Debug, Serialize, Deserialize)]
pub struct Xattr {
    /// Name of the attribute.
    pub name: Bytes,
    /// Permission bits after it (an ACL changes them).
    pub mode: u32,
}

/// FLAGS: one of the two inode flag calls.
#[derive(Debug, Serialize, Deserialize)]
pub struct Flags {
    /// `FS_IOC_SETFLAGS` or `FS_IOC_FSSETXATTR`.
    pub call: u32,
    /// Its structure.
    pub data: Bytes,
}

/// SYNC_NAMES: part of a directory; without [`MORE`] it is the last part.
#[derive(Debug, Serialize, Deserialize)]
pub struct SyncNames {
    /// Entries with the ids of the objects.
    pub entries: Vec<(ObjectId, Create)>,
}

/// SYNC_META.
#[derive(Debug, Serialize, Deserialize)]
pub struct SyncMeta {
    /// Type and mode.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Size, for files.
    pub size: Option<u64>,
    /// All extended attributes.
    pub xattrs: Vec<(Bytes, Bytes)>,
    /// `FS_IOC_GETFLAGS`, where the file system has them.
    pub flags: Option<u32>,
}

/// QUERY.
#[derive(Debug, Serialize, Deserialize)]
pub struct Query {
    /// Matches the answer.
    pub number: u64,
    /// What is asked.
    pub question: Question,
}

/// What a primary asks its secondary.
#[derive(Debug, Serialize, Deserialize)]
pub enum Question {
    /// Digests of content.
    Digests {
        /// Size of a block: [`crate::limits::COMPARE_BLOCK`] or [`crate::limits::COMPARE_FINE`].
        block: u32,
        /// Object, offset, length.
        pieces: Vec<(ObjectId, u64, u32)>,
    },
    /// Size and modification time of these files.
    Stats(Vec<ObjectId>),
    /// The marks of the secondary's own dirty log, from this one on.
    Marks(u64),
    /// The objects that this session's resync had to make anew, or of which it cannot say what is in them, since
    /// the last time this was asked.
    Made,
    /// Everything of these objects but their content, for `verify`. The answer may end early: the rest is asked again.
    Details(Vec<ObjectId>),
    /// Names in a directory that sort behind `after`, for `verify`.
    Entries {
        /// Directory.
        dir: ObjectId,
        /// Empty for the beginning.
        after: Bytes,
    },
    /// As `Digests`, for `verify`.
    Blocks {
        /// From the disk, not from the page cache.
        direct: bool,
        /// As in `Digests`.
        block: u32,
        /// As in `Digests`.
        pieces: Vec<(ObjectId, u64, u32)>,
    },
    /// Where data begins in a file, from an offset on, for `verify`.
    Data(ObjectId, u64),
}

/// ANSWER.
#[derive(Debug, Serialize, Deserialize)]
pub struct Answer {
    /// Of the query.
    pub number: u64,
    /// What the secondary says.
    pub said: Said,
}

/// For each piece the size of the object there and the digests of its blocks, 16 bytes each; none where the
/// secondary has nothing in that piece.
pub type Digests = Vec<(u64, Bytes)>;

/// Objects with neighbouring ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Made {
    /// The first one.
    pub first: ObjectId,
    /// The last one.
    pub last: ObjectId,
    /// They are empty: no data, no names. Otherwise they may hold anything.
    pub empty: bool,
}

/// Answers, in the order of [`Question`].
#[derive(Debug, Serialize, Deserialize)]
pub enum Said {
    /// See [`Digests`].
    Digests(Digests),
    /// None where the secondary has no such file.
    Stats(Vec<Option<(u64, Stamp)>>),
    /// Part of the secondary's marks.
    Marks {
        /// As [`crate::journal::Key`] has them.
        keys: Vec<(u64, u64)>,
        /// Objects above may differ in everything.
        birth_floor: ObjectId,
        /// More follow.
        more: bool,
    },
    /// What has to be sent from the beginning. Full answers are followed by another one to the same question.
    Made(Vec<Made>),
    /// None for an object that is not there.
    Details(Vec<Option<Detail>>),
    /// None where there is no such directory.
    Entries(Option<Entries>),
    /// As `Digests`.
    Blocks(Digests),
    /// None where there is only a hole, or no such file.
    Data(Option<u64>),
}

/// Everything of one object that has to be equal, but its content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Detail {
    /// Type and mode.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Size, for files.
    pub size: Option<u64>,
    /// Modification time, the decided one where it is not written yet.
    pub mtime: Stamp,
    /// Device number, for devices.
    pub rdev: u64,
    /// Target of a symbolic link.
    pub target: Option<Bytes>,
    /// Extended attributes by name, with the beginning of BLAKE3 of their values.
    pub xattrs: Vec<(Bytes, [u8; 16])>,
    /// Inode flags, where there are some.
    pub flags: Option<u32>,
    /// Of a directory, the digest of its names and what they are.
    pub names: Option<[u8; 16]>,
}

/// Part of a directory, sorted by name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entries {
    /// Names, and the objects that they are; 0 for what is in no table.
    pub entries: Vec<(Bytes, ObjectId)>,
    /// More follow.
    pub more: bool,
}

/// FAILED.
#[derive(Debug, Serialize, Deserialize)]
pub struct Failed {
    /// In words, for the operator of the primary.
    pub reason: String,
}
