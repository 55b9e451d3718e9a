//! The identifiers that travel: what an object, an operation and a history are called on both nodes.

use serde::{Deserialize, Serialize};
use std::fmt;

/// An object (file, directory, link, device …) of a replica: monotonic, never reused within one run of the
/// primary, the same on both nodes, and also the FUSE node id and `st_ino` that applications see.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ObjectId(pub u64);

impl ObjectId {
    /// The replicated directory itself; FUSE fixes this number.
    pub const ROOT: ObjectId = ObjectId(1);
    /// The first id handed to anything below the root.
    pub const FIRST: ObjectId = ObjectId(16);
}

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}

impl fmt::Debug for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Place of an operation in the one sequence of a module. 0 means "none yet".
pub type Seq = u64;

/// A moment as both nodes store it: seconds and nanoseconds since the epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Stamp {
    /// Seconds since the epoch; negative before 1970.
    pub sec: i64,
    /// 0 to 999,999,999.
    pub nsec: u32,
}
