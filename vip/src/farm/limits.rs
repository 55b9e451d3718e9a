//! Every bound of the farm, in one place.

use std::time::Duration;

/// Servers of a farm at most: a set of them is one 32-bit word.
pub const MEMBERS: usize = 32;
/// Buckets that the traffic is cut into. Measured: for any 2 to 32 of 2 to 32 equal servers, the shares are
/// within 3.5 % of even (10 % with 4,096 buckets); neighbouring buckets of one server are one rule.
pub const BUCKETS: u32 = 16_384;
/// Weight of a server at most.
pub const WEIGHT: u32 = 100;
/// Rules of one farm at most.
pub const RULES: usize = 64;
/// Virtual addresses of one farm at most.
pub const ADDRESSES: usize = 16;
/// Length of a module's or server's name at most, in bytes. Escaped it must fit into a table's name.
pub const NAME: usize = 60;
/// A beat's size at most, in bytes. The largest that a farm of 32 servers makes is below 3 KiB.
pub const BEAT: usize = 8 * 1024;
/// Former distributions that are remembered, for connections that were made under them.
pub const FORMER: usize = 16;
/// Runs of a server that are remembered, so that a late beat of an earlier one is not taken for a new one.
pub const PAST_RUNS: usize = 4;
/// A new run of a server is believed when the one before was silent for this long: two pulses.
pub const RUN_SILENT: Duration = Duration::from_millis(200);
/// An epoch above this is not believed: counting would come to its end.
pub const EPOCH: u64 = 1 << 62;

/// Between two beats of a server.
pub const PULSE: Duration = Duration::from_millis(100);
/// A server that was not heard for this long is lost.
pub const LOST_AFTER: Duration = Duration::from_millis(700);
/// What may be chosen instead of [`LOST_AFTER`].
pub const LOST_AFTER_RANGE: [Duration; 2] = [Duration::from_millis(300), Duration::from_secs(60)];

/// Connections that a server remembers for each server, address family and protocol.
pub const FLOWS: u32 = 262_144;
/// An established TCP connection is remembered for this long after its last packet.
pub const TCP_FLOW: &str = "1h";
/// One that is being opened or was closed; longer than [`TCP_CLOSING`], so that traffic on a connection that
/// is closed in one direction only is noted again in time.
pub const TCP_EDGE: &str = "60s";
/// After a FIN or RST, the packets that end a connection do not count as traffic.
pub const TCP_CLOSING: &str = "20s";
/// A sender of datagrams is remembered for this long after its last one.
pub const UDP_FLOW: &str = "3m";
/// The later fragments of a packet follow its first one for this long: as long as Linux waits for them.
pub const FRAGMENTS: &str = "30s";
/// Packets whose fragments are followed, for each server.
pub const FRAGMENTED: u32 = 65_536;

/// One run of `nft` at most; the largest rules load in 0.2 s.
pub const NFT: Duration = Duration::from_secs(5);
/// Listing tables at most: nft 1.0.6 reads all sets for it, which takes seconds with 200,000 noted connections.
pub const NFT_LIST: Duration = Duration::from_secs(60);
/// How long a turn of the farm waits for rules that are being loaded: usually long enough, and far from a loss.
pub const LOAD_WAIT: Duration = Duration::from_millis(50);
/// Pause before a failed load is tried again.
pub const RETRY: Duration = Duration::from_secs(1);
/// What is kept of the error output of `nft`, in bytes.
pub const NFT_ERROR: usize = 2_000;

/// When an address is announced, counted from the moment it came here; then every [`ANNOUNCE_EVERY`].
pub const ANNOUNCE_AT: [Duration; 5] =
    [Duration::ZERO, Duration::from_millis(50), Duration::from_millis(200), Duration::from_secs(1), Duration::from_secs(2)];
/// Between announcements later on.
pub const ANNOUNCE_EVERY: Duration = Duration::from_secs(60);
