//! Flapping: what comes and goes is believed later each time it comes.

use crate::Moment;
use std::time::Duration;

/// Waits longer after each loss, up to 32 times, and forgets in quiet times.
#[derive(Clone, Debug)]
pub struct Damper {
    base: Duration,
    losses: u32,
    last: Moment,
    back: Option<Moment>,
}

/// Doublings at most.
const MOST: u32 = 5;

impl Damper {
    /// The first return is believed after `base`.
    pub fn new(base: Duration) -> Damper {
        Damper { base, losses: 0, last: Moment::ZERO, back: None }
    }

    /// Gone.
    pub fn lost(&mut self, now: Moment) {
        self.losses = (self.losses + 1).min(MOST + 1);
        self.last = now;
        self.back = None;
    }

    /// There again.
    pub fn back(&mut self, now: Moment) {
        self.back = Some(now);
    }

    /// How long it must stay.
    pub fn hold(&self) -> Duration {
        self.base * (1 << self.losses.saturating_sub(1).min(MOST))
    }

    /// Whether it has been there long enough to be relied on for what can wait.
    pub fn steady(&mut self, now: Moment) -> bool {
        let Some(back) = self.back else { return false };
        let steady = now.saturating_sub(back) >= self.hold();
        if steady && now.saturating_sub(self.last) > self.base * (2 << MOST) {
            self.losses = 0;
        }
        steady
    }
}
