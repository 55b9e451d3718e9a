//! Faults that tests ask for through the environment, in debug builds only. None of them can lose data; each
//! is announced once.

use std::sync::OnceLock;
use std::time::Duration;

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
