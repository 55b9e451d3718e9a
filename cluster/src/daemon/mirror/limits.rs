//! Bounds of one module's thread.

use std::time::Duration;

/// Between looks while something waits for time.
pub const TICK: Duration = Duration::from_millis(50);
/// Between looks while nothing does, at least and at most: everything that happens wakes the thread. Within that, as often as the quorum is asked.
pub const REST: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(2));
/// After `stop` with force, an application is killed.
pub const FORCE: Duration = Duration::from_secs(10);
/// For an engine that holds no writes any more: it has a session to end and a file system to leave.
pub const END_SECONDARY: Duration = Duration::from_secs(8);
/// For an engine whose application is gone: who still holds its directory is cut off afterwards.
pub const END_PRIMARY: Duration = Duration::from_secs(5);
/// For an application whose engine died: SIGKILL, and a look whether anything is left.
pub const GONE: Duration = Duration::from_secs(2);
/// For the witness, where an operator overrules it.
pub const FORCE_WITNESS: Duration = Duration::from_secs(3);
/// Things that wait for the module's thread.
pub const INPUTS: usize = 4096;

/// How long a put-back is waited for: it writes back what a resync had changed by then.
pub const PUT_BACK: Duration = Duration::from_secs(3600);
