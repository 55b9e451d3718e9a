//! Faults that tests ask for through the environment, in debug builds only. None of them can lose data; each
//! is announced once.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;

/// `UNDERSTUDY_TEST_FAIL=NAME:COUNT`: the process dies, as by `kill -9`, when it comes to the point of this name for
/// the COUNTth time.
pub fn point(name: &str) {
    if !cfg!(debug_assertions) {
        return;
    }
    static ASKED: OnceLock<Option<(String, AtomicU64)>> = OnceLock::new();
    let asked = ASKED.get_or_init(|| {
        let text = asked("UNDERSTUDY_TEST_FAIL")?;
        let (name, count) = text.split_once(':')?;
        tracing::warn!(name, count, "a test lets this process die at a point");
        Some((name.to_owned(), AtomicU64::new(count.parse().ok()?)))
    });
    let Some((_, left)) = asked.as_ref().filter(|(wanted, _)| wanted == name) else { return };
    if left.fetch_sub(1, SeqCst) == 1 {
        tracing::warn!(name, "a test lets this process die here");
        std::process::abort();
    }
}

/// `UNDERSTUDY_TEST_CHECKPOINT=300ms`: checkpoints are this far apart.
pub fn checkpoint_every() -> Duration {
    static EVERY: OnceLock<Duration> = OnceLock::new();
    *EVERY.get_or_init(|| {
        let every = asked("UNDERSTUDY_TEST_CHECKPOINT").and_then(|text| humantime::parse_duration(&text).ok());
        if let Some(every) = every {
            tracing::warn!(?every, "a test sets the time between checkpoints");
        }
        every.unwrap_or(crate::limits::CHECKPOINT_EVERY)
    })
}

/// `UNDERSTUDY_TEST_FSYNC_DELAY=5s` (or `20ms`): every flush that the primary waits for takes this much longer.
pub fn flush_delay() -> Duration {
    static DELAY: OnceLock<Duration> = OnceLock::new();
    *DELAY.get_or_init(|| {
        let delay = asked("UNDERSTUDY_TEST_FSYNC_DELAY").and_then(|text| humantime::parse_duration(&text).ok()).unwrap_or_default();
        if !delay.is_zero() {
            tracing::warn!(?delay, "a test makes every flush slower");
        }
        delay
    })
}

/// `UNDERSTUDY_TEST_PROTOCOL_VERSION=N`: this node says that it speaks this protocol version and no other.
pub fn protocol_version() -> Option<u16> {
    static VERSION: OnceLock<Option<u16>> = OnceLock::new();
    *VERSION.get_or_init(|| {
        let version = asked("UNDERSTUDY_TEST_PROTOCOL_VERSION").and_then(|text| text.parse().ok());
        if let Some(version) = version {
            tracing::warn!(version, "a test makes this node claim another protocol version");
        }
        version
    })
}

/// `UNDERSTUDY_TEST_BOOT_ID=TEXT`: this node believes that it runs in another boot.
pub fn boot_id() -> Option<String> {
    asked("UNDERSTUDY_TEST_BOOT_ID")
}

fn asked(variable: &str) -> Option<String> {
    if cfg!(debug_assertions) { std::env::var(variable).ok() } else { None }
}
