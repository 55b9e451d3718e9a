//! Numbers of a daemon's starts, and of the host's.

use crate::durable;
use std::io;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};
use uuid::Uuid;

/// In the state directory.
const FILE: &str = "epoch";

/// The number of this start: higher than those of all starts before it, on disk when this returns. It is at least the seconds of the
/// clock, so that a node that lost its state is not taken for a replay of itself.
///
/// # Errors
/// The state directory cannot be written.
pub fn next_epoch(state: &Path) -> io::Result<u64> {
    let clock = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    next_after(state, clock)
}

fn next_after(state: &Path, clock: u64) -> io::Result<u64> {
    let path = state.join(FILE);
    let told = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
    let last = match std::fs::read_to_string(&path) {
        Ok(text) => text.trim().parse::<u64>().unwrap_or_else(|_| {
            tracing::warn!("{} holds no number: the clock is used instead", path.display());
            0
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
        Err(error) if error.kind() == io::ErrorKind::InvalidData => 0,
        Err(error) => return Err(told(error)),
    };
    let next = clock.max(last.saturating_add(1));
    durable::replace(&path, format!("{next}\n").as_bytes()).map_err(told)?;
    Ok(next)
}

/// The kernel's number of this boot.
///
/// # Errors
/// No `/proc`.
pub fn boot_id() -> io::Result<Uuid> {
    let path = "/proc/sys/kernel/random/boot_id";
    let told = |why: String| io::Error::other(format!("{path}: {why}"));
    let text = std::fs::read_to_string(path).map_err(|error| told(error.to_string()))?;
    text.trim().parse().map_err(|error: uuid::Error| told(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_start_has_a_higher_number_whatever_the_clock_says() {
        let state = tempfile::tempdir().unwrap();
        let numbers: Vec<u64> = [100, 50, 100, 300, 300].iter().map(|&clock| next_after(state.path(), clock).unwrap()).collect();
        assert_eq!(numbers, [100, 101, 102, 300, 301]);
        for damage in [&b"rubbish"[..], b"\xff\xfe", b""] {
            std::fs::write(state.path().join(FILE), damage).unwrap();
            assert_eq!(next_after(state.path(), 400).unwrap(), 400);
        }
        assert!(next_after(&state.path().join("none"), 1).unwrap_err().to_string().contains("none/epoch"));
        assert!(!boot_id().unwrap().is_nil());
    }
}
