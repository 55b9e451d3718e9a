//! Failures of the application, counted in a window.

use crate::Moment;
use std::time::Duration;

/// Most failures that are remembered: more than any configuration allows.
const MOST: usize = 1000;

/// The count.
#[derive(Clone, Debug, Default)]
pub struct Ladder {
    failures: Vec<Moment>,
}

impl Ladder {
    /// One more.
    pub fn count(&mut self, now: Moment) {
        if self.failures.len() == MOST {
            self.failures.remove(0);
        }
        self.failures.push(now);
    }

    /// How many within `window`.
    pub fn within(&self, now: Moment, window: Duration) -> usize {
        self.failures.iter().filter(|&&at| now.saturating_sub(at) < window).count()
    }

    /// `understudy reset`.
    pub fn reset(&mut self) {
        self.failures.clear();
    }
}
