//! Faults that tests ask for through the environment. None of them can lose data; each is announced.

use std::time::Duration;

/// `UNDERSTUDY_TEST_FSYNC_DELAY=TIME` (`1500ms`, `5s`, or seconds without a unit): every flush that the primary waits for takes this much longer.
pub fn flush_delay() -> Duration {
    let Some(delay) = std::env::var_os("UNDERSTUDY_TEST_FSYNC_DELAY") else { return Duration::ZERO };
    let text = delay.to_string_lossy();
    let seconds = text.strip_suffix("ms").and_then(|ms| ms.parse().ok()).map(Duration::from_millis);
    let delay = seconds.or_else(|| text.trim_end_matches('s').parse().ok().map(Duration::from_secs)).unwrap_or_default();
    tracing::warn!(?delay, "a test makes every flush slower");
    delay
}
