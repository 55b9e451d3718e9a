//! Every bound of what travels between nodes, in one place.

use std::time::Duration;

/// Bytes of one message. A status of a hundred modules takes some hundred KiB.
pub const MESSAGE: usize = 4 * 1024 * 1024;
/// Bytes of a message in one frame.
pub const PART: usize = 128 * 1024;
/// Receive buffer that a connection starts with; there are many, and most say little.
pub const RECEIVE_BUFFER: usize = 8 * 1024;
/// Bytes of a name of a module, node or cluster.
pub const NAME: usize = 255;
/// Time for the first bytes of a connection. They come with the connection or never.
pub const PREFACE_TIMEOUT: Duration = Duration::from_secs(2);
/// Time for a handshake.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// Connections that have not proved anything yet, at a time.
pub const STRANGERS: usize = 64;
/// Control connections at a time: 32 nodes, their engines, and tools.
pub const CONNECTIONS: usize = 256;
/// Silence after which a server ends a control connection.
pub const SERVER_IDLE: Duration = Duration::from_secs(60);
/// Age of silence after which a client does not use a connection again: less than the server's.
pub const CLIENT_IDLE: Duration = Duration::from_secs(40);
/// A connection that answered so recently is used without asking whether it still carries.
pub const TRUSTED: Duration = Duration::from_millis(500);
/// Time in which a connection must show that it carries, when another network could be used instead.
pub const PROBE: Duration = Duration::from_millis(500);
/// Connections a client keeps open without using them.
pub const IDLE_CONNECTIONS: usize = 4;
/// Before the next network is tried beside the one that has not answered.
pub const HEAD_START: Duration = Duration::from_millis(100);
/// Time to reach a node for replication.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Time to hand an answer over to whoever asked.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// A request that has begun to arrive must be there after this long.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// Silence before the kernel asks whether the other end is there, and between its questions,
pub const KEEPALIVE: Duration = Duration::from_secs(5);
/// which are so many.
pub const KEEPALIVE_COUNT: u32 = 3;
/// Bytes that are not acknowledged for so long end a connection.
pub const USER_TIMEOUT: Duration = Duration::from_secs(10);
/// Between two lines in the log about the same kind of nonsense.
pub const QUIET: Duration = Duration::from_secs(10);
/// Bytes of one datagram of a farm.
pub const FARM: usize = 1200;
/// Datagrams taken from one socket before anything else is done.
pub const DATAGRAMS_AT_ONCE: usize = 256;
/// Events that wait for whoever listens to beats. Beyond, datagrams of farms are dropped; changes are kept.
pub const EVENTS_KEPT: usize = 4096;
/// Clusters of one witness.
pub const CLUSTERS: usize = 1024;
/// Connections to a witness at a time.
pub const WITNESS_CONNECTIONS: usize = 2048;
/// Of them, of one cluster: each engine has one or two.
pub const CLUSTER_CONNECTIONS: usize = 512;
/// Bytes of one cluster's record of a witness.
pub const RECORD_FILE: u64 = 8 * 1024 * 1024;
/// How often a witness looks for new and changed keys.
pub const KEYS_LOOK: Duration = Duration::from_secs(2);
