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
/// Within this time after a removal the kernel has said that nobody has the file open, if so.
pub const ORPHAN_FORGOTTEN: Duration = Duration::from_millis(200);
/// Locks that all objects share.
pub const LOCK_SHARDS: usize = 4096;
/// Descriptors kept open for objects in use; more objects are reopened by their handles.
pub const OPEN_OBJECTS: usize = 8192;
/// How long the kernel may keep names and attributes: nobody else changes them.
pub const KERNEL_TTL: Duration = Duration::from_secs(24 * 3600);
/// Age at which a modification time decided in memory is written to the file.
pub const LAZY_TIMES: Duration = Duration::from_millis(250);
/// The same while nothing is written: the first time after a rest may wait so long.
pub const IDLE_TIMES: Duration = Duration::from_secs(1);
/// Between looks whether somebody has unmounted the directory.
pub const MOUNT_LOOK: Duration = Duration::from_secs(3);
/// Block of a compare.
pub const COMPARE_BLOCK: usize = 64 * 1024;
/// Part of such a block: the smallest piece that travels when content differs.
pub const COMPARE_FINE: usize = 4 * 1024;
/// Bytes that one copy_file_range request handles; the kernel asks again for the rest.
pub const COPY_CHUNK: usize = 4 * 1024 * 1024;
/// Bytes of directory entries read at a time.
pub const DIRECTORY_BUFFER: usize = 16 * 1024;

/// Names of extended attributes of one object: what Linux allows at most (`XATTR_LIST_MAX`).
pub const XATTR_LIST: usize = 64 * 1024;

/// Largest sealed frame on the wire, its length field included.
pub const FRAME_TOTAL: usize = 4 + 64 + FRAME_BODY + FRAME_PAYLOAD + 16;
/// Frames sealed with one key before both ends move to the next (2 TiB of full frames).
pub const FRAMES_PER_KEY: u64 = 1 << 24;
/// Receive buffer a connection starts with.
pub const RECEIVE_BUFFER: usize = 256 * 1024;
/// Receive buffer a connection can grow to.
pub const RECEIVE_BUFFER_MAX: usize = 2 * FRAME_TOTAL;
/// What an application may say in a handshake.
pub const HELLO: usize = 16 * 1024;
/// Words of a refusal sent to the peer.
pub const REFUSAL: usize = 1024;
/// Size of a key file.
pub const KEY_FILE: u64 = 64 * 1024;
/// Keys of one key file: a rotation needs two.
pub const KEYS: usize = 16;
/// Threads that serve FUSE requests, beyond one each core.
pub const FUSE_THREADS_EXTRA: usize = 2;
/// Threads for flushes that no request's thread can be spared for.
pub const FLUSH_THREADS: usize = 8;
/// Flushes that wait for those threads; beyond, the request's thread flushes itself.
pub const FLUSH_QUEUE: usize = 256;

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
/// Intents that came to nothing and are remembered until the next generation. Each needs a lost peer, so there are few.
pub const IDENTITY_TRIED: usize = 16;
/// Bytes of an identity or registry file.
pub const IDENTITY_FILE: u64 = 64 * 1024;
/// Clients of one control socket at a time.
pub const CONTROL_CLIENTS: usize = 16;
/// Bytes of one request or response on a control socket.
pub const CONTROL_LINE: usize = 1024 * 1024;
/// Silence after which a control client is let go.
pub const CONTROL_IDLE: Duration = Duration::from_secs(30);
/// Requests one ring of a connection can hold.
pub const RING_ENTRIES: u32 = 4;
/// Bytes of one request to a ring: what the kernel itself takes at most in one call.
pub const RING_REQUEST: usize = 0x7fff_f000;
/// Sealed bytes that wait at most before they are sent, when several operations are sent together.
pub const STREAM_BATCH: usize = 64 * 1024;
/// Entries of a directory in one frame of a resync.
pub const RESYNC_NAMES: usize = 512;
/// Bytes of names and of symbolic links' targets in such a frame: with one entry more, and what describes them,
/// well below [`FRAME_BODY`].
pub const RESYNC_NAMES_BYTES: usize = 256 * 1024;
/// Content that is compared and sent under one hold of the object's lock.
pub const RESYNC_PIECE: usize = 1024 * 1024;
/// Marks in one answer: 16 bytes each, and less than [`FRAME_BODY`] with what describes them.
pub const RESYNC_MARKS: usize = 16 * 1024;
/// Objects that one question to the secondary covers,
pub const RESYNC_ROUND: usize = 512;
/// and bytes of their content.
pub const RESYNC_ROUND_BYTES: u64 = 8 * 1024 * 1024;
/// Questions about content that are asked ahead: their answers come while content is being sent.
pub const RESYNC_AHEAD: usize = 2;
/// Runs of ids in one answer about what was made anew.
pub const RESYNC_MADE: usize = 8 * 1024;
/// How often an object can fail to take an operation in one session before the session ends.
pub const RESYNC_DOUBTS: u32 = 3;
/// A resync in which for this long nothing is acknowledged, sent or done has to begin anew.
pub const RESYNC_STUCK: Duration = Duration::from_secs(30);
/// Pause before a resync that was stuck twice is tried again.
pub const RESYNC_STUCK_PAUSE: Duration = Duration::from_secs(60);
/// Bytes of a resync in flight, beyond what one hold of a lock brings (a piece of content, all names of a
/// directory): the application's operations wait behind them.
pub const RESYNC_WINDOW: usize = 4 * 1024 * 1024;
/// Bytes of what describes objects in one answer of a verify; and of names.
pub const VERIFY_ANSWER: usize = 256 * 1024;
/// Names of directories that one such answer digests: so many, and it ends with the directory that passes them.
pub const VERIFY_NAMES: usize = 64 * 1024;
/// Holes from this size on are asked about as such instead of by the digests of their blocks.
pub const VERIFY_HOLE: u64 = 1024 * 1024;
/// Differences that a verify lists; all are counted.
pub const VERIFY_LISTED: usize = 1000;
/// Bytes of paths and ranges that the list may take: less than [`CONTROL_LINE`] as JSON.
pub const VERIFY_LISTED_BYTES: usize = 256 * 1024;
/// Ranges listed of one file.
pub const VERIFY_RANGES: usize = 64;
/// Marks that a repair makes; where more would be needed everything is compared.
pub const VERIFY_MARKS: usize = 16 * 1024;
/// How long a repair waits for the pair to be in sync again.
pub const VERIFY_REPAIR: Duration = Duration::from_secs(24 * 3600);
/// Alignment of direct reads, in memory and in the file.
pub const DIRECT_ALIGN: usize = 4096;
/// Threads of the secondary that flush.
pub const APPLY_FLUSHERS: usize = 4;
/// Time to reach the secondary.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Time for a handshake.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// Connections of a receiver at a time.
pub const ACCEPT_AT_ONCE: usize = 16;
/// First pause before the secondary is tried again; it doubles,
pub const RECONNECT_FIRST: Duration = Duration::from_millis(100);
/// up to this.
pub const RECONNECT_MOST: Duration = Duration::from_secs(5);
/// A resync that is tried again after it failed is told when it lasts this long.
pub const RETRY_IS_NEWS: Duration = Duration::from_secs(2);
/// How long a start waits for a receiver that still has another session open.
pub const BUSY_PATIENCE: Duration = Duration::from_secs(5);
/// How long a stopping primary waits for the secondary's disk.
pub const LEAVE_TIMEOUT: Duration = Duration::from_secs(30);
/// How often both disks are flushed so that change tracking can be trimmed.
pub const CHECKPOINT_EVERY: Duration = Duration::from_secs(30);
/// The secondary's receiving thread flushes by itself while flushes take no longer than this (microseconds).
pub const INLINE_FLUSH_US: u64 = 2_000;
/// Flushes for which it does not after operations had to wait behind one.
pub const INLINE_FLUSH_PAUSE: u32 = 64;
/// How long a checkpoint waits for the secondary's disk before it is given up until the next one.
pub const CHECKPOINT_PATIENCE: Duration = Duration::from_secs(60);
/// How long `sync` waits for the secondary's disk.
pub const SYNC_PATIENCE: Duration = Duration::from_secs(300);
/// Paths that a look for changes underneath names.
pub const UNDERNEATH_PATHS: usize = 20;
/// Objects that an estimate counts.
pub const ESTIMATE_OBJECTS: usize = 1_000_000;
/// Kept trees may take one part in this many of the free space at the time.
pub const KEPT_SHARE: u64 = 2;
/// Bytes of a kept tree's manifest.
pub const KEPT_MANIFEST: u64 = 1024 * 1024;
/// Directories named in a manifest.
pub const KEPT_DIRECTORIES: usize = 1000;

/// Bytes of one record of the undo log without saved content: all extended attributes of an object, as Linux bounds them.
pub const CONSISTENT_BODY: usize = 8 * 1024 * 1024;
/// Names, attributes and pieces of content that are saved before the last consistent state is given up: what is
/// remembered of each takes memory.
pub const CONSISTENT_RECORDS: usize = 1_000_000;
/// Content is saved in blocks of this size.
pub const CONSISTENT_BLOCK: u64 = 4096;
/// Saved content that waits at most for a flush.
pub const CONSISTENT_BATCH: u64 = 8 * 1024 * 1024;
/// A torn end of the undo log is shorter than this.
pub const CONSISTENT_TORN: u64 = 64 * 1024 * 1024;

// The table of objects.

/// Objects kept in memory although they are on disk, soft: twice as many at most, beyond what the kernel holds.
pub const OBJECTS_IN_MEMORY: usize = 128 * 1024;
/// Changes of the table that wait in memory before they are written (not flushed) at the next chance;
pub const OBJECTS_PENDING: usize = 16 * 1024;
/// beyond this many, whoever makes the next one writes them.
pub const OBJECTS_PENDING_MOST: usize = 64 * 1024;
/// Cache of the table's database, in bytes.
pub const OBJECTS_CACHE: usize = 16 * 1024 * 1024;
/// Room on disk that the database holds beyond its end, in bytes.
pub const OBJECTS_ROOM: u64 = 1024 * 1024;
/// Ids in a range up to which they are looked up one by one instead of walking all that is in memory.
pub const OBJECTS_RANGE: u64 = 8 * 1024;

/// How long the end of a session is waited for when another history begins: what it applies at that moment may be a large
/// write to a slow disk.
pub const SEAL_PATIENCE: Duration = Duration::from_secs(20);
/// Longest wait of one question for news of an engine.
pub const WATCH_MOST: Duration = Duration::from_secs(60);

/// After an unmount, how long the end of the kernel's session is waited for before copies of the mount are looked for: the
/// last requests are answered within it.
pub const COPIES_PATIENCE: Duration = Duration::from_millis(200);
