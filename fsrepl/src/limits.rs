//! Every bound of the data plane, in one place.

use std::time::Duration;

/// Payload bytes of one frame: small enough that sealing, sending, opening and applying overlap.
pub const FRAME_PAYLOAD: usize = 128 * 1024;
/// Body bytes of one frame (rmp-encoded part of rare messages).
pub const FRAME_BODY: usize = 1024 * 1024;
/// Largest data of one FUSE write or read request.
pub const FUSE_MAX_WRITE: usize = 1024 * 1024;
/// Silence after which the peer counts as lost, unless configured.
pub const PEER_TIMEOUT: Duration = Duration::from_secs(1);

/// Content is marked in extents of this size.
pub const JOURNAL_EXTENT: u64 = 4 * 1024 * 1024;
/// A change of more extents than this marks the whole content.
pub const JOURNAL_EXTENTS_PER_MARK: u64 = 64;
/// Marks held at a time, unless configured; beyond, they get coarser.
pub const JOURNAL_SLOTS: usize = 64 * 1024;
/// Fewer slots than this leave no room to coarsen.
pub const JOURNAL_SLOTS_MIN: usize = 16;
/// More slots than this are not believed when read from disk.
pub const JOURNAL_SLOTS_MAX: usize = 1 << 20;
/// Records written in one go.
pub const JOURNAL_BATCH: usize = 16;
/// Cold marks since the last cut after which neighbouring objects are marked together,
pub const JOURNAL_STORM_AFTER: u32 = 1024;
/// from this many marks in a group of 256 on,
pub const JOURNAL_STORM_GROUP: u32 = 4;
/// and from this many such groups in a region of 4096 on.
pub const JOURNAL_STORM_REGION: u32 = 4;
/// A mark unused for this many cuts is cleared even though nobody needs its slot.
pub const JOURNAL_IDLE_CUTS: u64 = 8;
/// Bytes of state that the replica keeps beside the marks.
pub const JOURNAL_NOTE: usize = 2048;
