//! Every bound of what runs for a module, in one place.

use std::time::Duration;

/// Bytes of a line of output that are kept.
pub const LINE: usize = 4096;
/// Lines of output that may come at once.
pub const LINE_BURST: u32 = 500;
/// Lines of output each second, beyond that.
pub const LINES_PER_SECOND: u32 = 100;
/// Bytes of output that are read at a time.
pub const OUTPUT_CHUNK: usize = 64 * 1024;
/// Such pieces that are read without a nap.
pub const OUTPUT_CHUNKS: u32 = 64;
/// Shortest nap between looks for output; it doubles while nothing comes.
pub const OUTPUT_NAP: Duration = Duration::from_millis(20);
/// Longest nap between looks for output: so late may a line be in the log.
pub const OUTPUT_NAP_MAX: Duration = Duration::from_secs(2);

/// A program in the foreground that lives for so long has started.
pub const SETTLE: Duration = Duration::from_millis(250);
/// Shortest time between looks whether anything still runs; it doubles.
pub const LOOK: Duration = Duration::from_millis(20);
/// Longest time between looks whether anything still runs.
pub const LOOK_MAX: Duration = Duration::from_millis(500);
/// Time between looks at a unit of systemd.
pub const UNIT_LOOK: Duration = Duration::from_secs(2);
/// Longest that one question to systemd may take.
pub const UNIT_ANSWER: Duration = Duration::from_secs(10);
/// Longest that the stop script may take when it is called with force on the way to killing.
pub const FORCE: Duration = Duration::from_secs(10);
/// Rounds of killing; what still holds after that cannot be killed.
pub const KILL_ROUNDS: u32 = 20;
/// Shortest pause after a round of killing; it doubles.
pub const KILL_PAUSE: Duration = Duration::from_millis(10);
/// Longest pause after a round of killing.
pub const KILL_PAUSE_MAX: Duration = Duration::from_millis(500);
/// Bytes of a run record.
pub const RECORD: u64 = 16 * 1024;

/// Probes of one module that run at once; others wait for one to end.
pub const PROBES: usize = 8;
/// A probe that is not back so long after its timeout counts as failed, and is waited for no more.
pub const PROBE_MARGIN: Duration = Duration::from_secs(1);
/// Bytes of what a program said that are kept: the last ones.
pub const SAID: usize = 2048;
/// Bytes of what is shown of it.
pub const SHOWN: usize = 200;
/// Bytes of a page that are searched.
pub const PAGE: u64 = 1024 * 1024;
/// Redirections that are followed.
pub const REDIRECTS: u32 = 5;
/// Pause between two echo requests of one probe.
pub const ECHO_AGAIN: Duration = Duration::from_millis(500);

/// Events that are kept in memory for those who follow.
pub const RECENT: usize = 1000;
/// Bytes of one event in the log; longer texts are cut.
pub const EVENT: usize = 16 * 1024;
/// Smallest size at which a log is put aside.
pub const LOG_MIN: u64 = 4 * EVENT as u64;
/// Most files that are kept beside the current one.
pub const LOGS: u32 = 100;

/// Notices that wait to be told.
pub const NOTICES: usize = 64;
/// Longest that the notify command may take.
pub const NOTIFY_COMMAND: Duration = Duration::from_secs(30);
/// Longest that a webhook may take.
pub const WEBHOOK: Duration = Duration::from_secs(10);
/// Bytes of a text of a notice: as JSON and all together they fit in a pipe, so that writing it blocks nobody.
pub const NOTICE_TEXT: usize = 2048;
