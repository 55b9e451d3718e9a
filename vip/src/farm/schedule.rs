//! When an address is announced: pure.

use super::limits::{ANNOUNCE_AT, ANNOUNCE_EVERY};
use std::time::Duration;

/// Announcements of one farm's addresses.
#[derive(Debug, Default)]
pub struct Schedule {
    since: Option<Duration>,
    done: usize,
    last: Duration,
}

impl Schedule {
    /// From the beginning: the addresses came here, or somebody else may have announced them.
    pub fn start(&mut self, now: Duration) {
        *self = Schedule { since: Some(now), done: 0, last: now };
    }

    /// They are not here any more.
    pub fn stop(&mut self) {
        self.since = None;
    }

    /// Is one due? It is counted as done.
    pub fn due(&mut self, now: Duration) -> bool {
        let Some(since) = self.since else { return false };
        let next = ANNOUNCE_AT.get(self.done).map_or(self.last + ANNOUNCE_EVERY, |after| since + *after);
        if now < next {
            return false;
        }
        // What was missed by a late caller is not made up for.
        self.done = ANNOUNCE_AT.iter().filter(|after| since + **after <= now).count();
        self.last = now;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(until: u64, step: u64) -> Vec<u64> {
        let mut schedule = Schedule::default();
        schedule.start(Duration::from_millis(1_000));
        (0..until / step).map(|n| 1_000 + n * step).filter(|now| schedule.due(Duration::from_millis(*now))).map(|now| now - 1_000).collect()
    }

    #[test]
    fn at_once_soon_and_every_minute() {
        assert_eq!(times(130_000, 10), [0, 50, 200, 1_000, 2_000, 62_000, 122_000]);
    }

    #[test]
    fn a_late_caller_announces_once() {
        assert_eq!(times(4_500, 1_500), [0, 1_500, 3_000]);
    }

    #[test]
    fn nothing_when_it_is_not_here() {
        let mut schedule = Schedule::default();
        assert!(!schedule.due(Duration::from_secs(99)));
        schedule.start(Duration::ZERO);
        schedule.stop();
        assert!(!schedule.due(Duration::from_secs(99)));
    }
}
