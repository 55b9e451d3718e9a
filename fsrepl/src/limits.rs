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
/// Requests one ring of a connection can hold.
pub const RING_ENTRIES: u32 = 4;
/// Bytes of one request to a ring: what the kernel itself takes at most in one call.
pub const RING_REQUEST: usize = 0x7fff_f000;
