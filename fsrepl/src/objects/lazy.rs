//! What is written late: seldom while nothing happens.

use super::Objects;
use crate::limits::{IDLE_TIMES, LAZY_TIMES};
use std::time::Duration;

/// Housekeeping of a replica's objects.
pub struct Lazy {
    progress: u64,
}

impl Lazy {
    /// Begins; `progress`: what has been done by then, by any count.
    pub fn after(progress: u64) -> Lazy {
        Lazy { progress }
    }

    /// Writes what is old enough, with what has been done by now; gives the time until it is due again. Where nothing came
    /// nothing is old enough soon.
    pub fn tidy(&mut self, objects: &Objects, progress: u64) -> Duration {
        objects.write_old_times(LAZY_TIMES.as_millis() as u64);
        objects.table.tidy();
        if std::mem::replace(&mut self.progress, progress) == progress { IDLE_TIMES } else { LAZY_TIMES }
    }
}
