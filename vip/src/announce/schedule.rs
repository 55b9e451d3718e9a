//! When an address is announced. Pure: time is passed in.
//!
//! Several times in the first two seconds, because frames get lost and switches learn; then now and then, for who was
//! away; and anew when somebody else said the address was his.

use std::time::{Duration, Instant};

/// After the beginning of a burst.
pub const BURST: [Duration; 5] =
    [Duration::ZERO, Duration::from_millis(50), Duration::from_millis(200), Duration::from_secs(1), Duration::from_secs(2)];
/// After the burst.
pub const EVERY: Duration = Duration::from_secs(60);
/// Between an announcement and a new burst: two nodes that both claim an address do not fill the network.
pub const DEFENCE_GAP: Duration = Duration::from_millis(50);

/// The announcements of one address.
#[derive(Clone, Debug)]
pub struct Schedule {
    start: Instant,
    /// Steps of the burst that are done.
    done: usize,
    next: Instant,
    last: Option<Instant>,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// Not yet.
    Nothing,
    /// Announce.
    Announce,
    /// Announce, and ask whether somebody else has the address.
    AnnounceAndAsk,
}

impl Schedule {
    /// The first burst begins at `now`.
    pub fn new(now: Instant) -> Schedule {
        Schedule { start: now, done: 0, next: now, last: None }
    }

    /// When something is due.
    pub fn next(&self) -> Instant {
        self.next
    }

    /// What is due at `now`; it counts as done. What was missed is not made up for.
    pub fn take(&mut self, now: Instant) -> Due {
        if now < self.next {
            return Due::Nothing;
        }
        while self.done < BURST.len() && self.start + BURST[self.done] <= now {
            self.done += 1;
        }
        self.last = Some(now);
        self.next = BURST.get(self.done).map_or(now + EVERY, |step| self.start + *step);
        // The end of a burst: who was busy at its beginning answers now.
        if self.done < BURST.len() { Due::Announce } else { Due::AnnounceAndAsk }
    }

    /// A rival was seen: from the beginning, at once or [`DEFENCE_GAP`] after the last announcement.
    pub fn again(&mut self, now: Instant) {
        self.start = self.last.map_or(now, |last| now.max(last + DEFENCE_GAP));
        self.done = 0;
        self.next = self.start;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(value: u64) -> Duration {
        Duration::from_millis(value)
    }

    /// Whoever looks every millisecond sees these.
    fn play(schedule: &mut Schedule, from: Instant, until: Duration) -> Vec<(u64, Due)> {
        let all = (0..until.as_millis() as u64).map(|at| (at, schedule.take(from + ms(at))));
        all.filter(|(_, due)| *due != Due::Nothing).collect()
    }

    #[test]
    fn a_burst_and_then_every_minute() {
        let start = Instant::now();
        let seen = play(&mut Schedule::new(start), start, ms(123_000));
        let times: Vec<u64> = seen.iter().map(|(at, _)| *at).collect();
        assert_eq!(times, [0, 50, 200, 1000, 2000, 62_000, 122_000]);
        let asks: Vec<u64> = seen.iter().filter(|(_, due)| *due == Due::AnnounceAndAsk).map(|(at, _)| *at).collect();
        assert_eq!(asks, [2000, 62_000, 122_000]);
    }

    #[test]
    fn what_was_missed_is_sent_once() {
        let start = Instant::now();
        let mut schedule = Schedule::new(start);
        assert_eq!(schedule.take(start + ms(1500)), Due::Announce);
        assert_eq!(schedule.next(), start + ms(2000));
        assert_eq!(schedule.take(start + ms(90_000)), Due::AnnounceAndAsk);
        assert_eq!(schedule.next(), start + ms(150_000));
    }

    #[test]
    fn a_rival_begins_a_new_burst() {
        let start = Instant::now();
        let mut schedule = Schedule::new(start);
        play(&mut schedule, start, ms(10_000));
        let seen = start + ms(10_000);
        schedule.again(seen);
        let times: Vec<u64> = play(&mut schedule, seen, ms(5000)).iter().map(|(at, _)| *at).collect();
        assert_eq!(times, [0, 50, 200, 1000, 2000]);
    }

    #[test]
    fn many_rivals_do_not_make_a_storm() {
        let start = Instant::now();
        let mut schedule = Schedule::new(start);
        let mut sent = 0;
        for at in 0..1000 {
            let now = start + ms(at);
            schedule.again(now);
            sent += u64::from(schedule.take(now) != Due::Nothing);
        }
        assert_eq!(sent, 1000 / DEFENCE_GAP.as_millis() as u64);
    }
}
