//! When a peer counts as lost. Pure: the clock comes from outside.
//!
//! Time in which this process itself did not run (stopped, swapped out, a paused virtual machine) does not
//! count against the peer: what it sent meanwhile has not been read yet.

use std::time::Duration;

/// Shortest time between two looks.
const TICK: Duration = Duration::from_millis(10);
/// Bounds of the silence of our own after which something is said: several of these must be late in a row.
const OWN_SILENCE: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(400));
/// Bounds of how late a look must come to mean that we were not running.
const OWN_STALL: (Duration, Duration) = (Duration::from_millis(50), Duration::from_millis(230));

/// What to do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing.
    Well,
    /// Say something, so that the peer does not think we are lost.
    Speak,
    /// The peer has been silent for this long.
    Lost(Duration),
}

/// Keeps account of one connection.
#[derive(Debug)]
pub struct Pulse {
    timeout: Duration,
    /// Of our own: then something is said.
    silence: Duration,
    /// When the next look is due.
    due: Duration,
    /// Silence is counted from here, whatever was heard before.
    forgiven: Duration,
}

impl Pulse {
    /// How long to wait before the next look: until something is due, so that a loss is noticed at its time and an idle pair
    /// costs little.
    pub fn pause(&mut self, now: Duration, heard: Duration, sent: Duration) -> Duration {
        let lost = heard.max(self.forgiven) + self.timeout;
        let silent = sent + self.silence;
        let pause = lost.min(silent).saturating_sub(now).clamp(TICK, self.silence);
        self.due = now + pause;
        pause
    }

    fn own_stall(&self) -> Duration {
        (self.timeout / 4).clamp(OWN_STALL.0, OWN_STALL.1)
    }

    /// A connection that begins at `now`.
    pub fn new(timeout: Duration, now: Duration) -> Pulse {
        let silence = (timeout / 3).clamp(OWN_SILENCE.0, OWN_SILENCE.1);
        Pulse { timeout, silence, due: now, forgiven: now }
    }

    /// The same for the side that answers every word of the other one, and speaks by itself only when none comes.
    pub fn answering(timeout: Duration, now: Duration) -> Pulse {
        let silence = (timeout * 2 / 5).clamp(OWN_SILENCE.0, OWN_SILENCE.1 * 2);
        Pulse { silence, ..Pulse::new(timeout, now) }
    }

    /// Judges at `now`, given when the peer was heard last and when we sent last.
    pub fn tick(&mut self, now: Duration, heard: Duration, sent: Duration) -> Verdict {
        if now.saturating_sub(self.due) > self.own_stall() {
            self.forgiven = now;
        }
        self.due = now;
        let silence = now.saturating_sub(heard.max(self.forgiven));
        if silence >= self.timeout {
            Verdict::Lost(silence)
        } else if now.saturating_sub(sent) >= self.silence {
            Verdict::Speak
        } else {
            Verdict::Well
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn silence_beyond_the_timeout_is_loss() {
        let mut pulse = Pulse::new(ms(1000), ms(0));
        for now in (50..1000).step_by(50) {
            assert_ne!(pulse.tick(ms(now), ms(0), ms(now)), Verdict::Lost(ms(now)), "at {now}");
        }
        assert_eq!(pulse.tick(ms(1000), ms(0), ms(1000)), Verdict::Lost(ms(1000)));
    }

    #[test]
    fn a_pause_of_our_own_is_not_held_against_the_peer() {
        let mut pulse = Pulse::new(ms(1000), ms(0));
        assert_eq!(pulse.tick(ms(10_000), ms(0), ms(10_000)), Verdict::Well);
        for now in (10_050..11_000).step_by(50) {
            assert_eq!(pulse.tick(ms(now), ms(0), ms(now)), Verdict::Well);
        }
        assert!(matches!(pulse.tick(ms(11_000), ms(0), ms(11_000)), Verdict::Lost(_)));
    }

    #[test]
    fn an_idle_side_speaks() {
        let mut pulse = Pulse::new(ms(1000), ms(0));
        assert_eq!(pulse.tick(ms(200), ms(190), ms(0)), Verdict::Well);
        assert_eq!(pulse.tick(ms(340), ms(330), ms(0)), Verdict::Speak);
    }

    /// With every timeout several words fit into it.
    #[test]
    fn the_timeout_sets_the_pace() {
        for timeout in [100, 150, 1000, 5000, 11_000] {
            let pulse = Pulse::new(ms(timeout), ms(0));
            let answering = Pulse::answering(ms(timeout), ms(0));
            assert!(pulse.silence * 3 <= ms(timeout) && pulse.own_stall() <= ms(timeout) / 2, "{timeout}");
            assert!(answering.silence > pulse.silence && answering.silence * 5 <= ms(timeout) * 2, "{timeout}");
        }
    }

    #[test]
    fn the_next_look_is_when_something_is_due() {
        let mut pulse = Pulse::new(ms(1000), ms(0));
        assert_eq!(pulse.pause(ms(100), ms(100), ms(50)), ms(50) + pulse.silence - ms(100), "then it has to speak");
        assert_eq!(pulse.pause(ms(900), ms(0), ms(900)), ms(100), "then the peer counts as lost");
        assert_eq!(pulse.pause(ms(900), ms(900), ms(0)), TICK, "it is late, and the stream may be busy");
    }

    #[test]
    fn a_look_that_comes_in_time_after_a_long_pause_is_no_stall() {
        let mut pulse = Pulse::new(ms(1000), ms(0));
        let pause = pulse.pause(ms(0), ms(0), ms(0));
        assert_eq!(pulse.tick(pause, ms(0), pause), Verdict::Well);
        let pause = pulse.pause(ms(900), ms(0), ms(900));
        assert_eq!(pulse.tick(ms(900) + pause, ms(0), ms(900)), Verdict::Lost(ms(1000)));
    }
}
