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

// Guards of a replica on a node.

/// Processes named when a directory is in use: a line for operators, not an inventory.
pub const HOLDERS: usize = 32;
/// Descriptors looked at in one process.
pub const HOLDER_DESCRIPTORS: usize = 65_536;
/// Bytes of one process's table of mappings looked at.
pub const HOLDER_MAPPINGS: u64 = 8 * 1024 * 1024;
/// Mounts of killed engines taken off one directory at a start.
pub const STALE_MOUNTS: usize = 32;
/// Time a FUSE mount found at a start gets to show that an engine is behind it.
pub const STALE_PROBE: Duration = Duration::from_secs(2);
/// Former generations an identity remembers.
pub const IDENTITY_HISTORY: usize = 64;
/// Bytes of an identity or registry file.
pub const IDENTITY_FILE: u64 = 64 * 1024;
/// Clients of one control socket at a time.
pub const CONTROL_CLIENTS: usize = 16;
/// Bytes of one request or response on a control socket.
pub const CONTROL_LINE: usize = 1024 * 1024;
/// Silence after which a control client is let go.
pub const CONTROL_IDLE: Duration = Duration::from_secs(30);
