//! A log that strangers cannot fill.

use super::limits;
use parking_lot::Mutex;
use std::time::Instant;

/// Lets one line through every [`limits::QUIET`], and counts the others.
#[derive(Debug, Default)]
pub struct Quiet(Mutex<Option<(Instant, u64)>>);

impl Quiet {
    /// Some: say it, and that so many others were not said.
    pub fn say(&self) -> Option<u64> {
        self.say_at(Instant::now())
    }

    fn say_at(&self, now: Instant) -> Option<u64> {
        let mut last = self.0.lock();
        match &mut *last {
            Some((at, unsaid)) if now.saturating_duration_since(*at) < limits::QUIET => {
                *unsaid += 1;
                None
            }
            other => {
                let unsaid = other.map_or(0, |(_, unsaid)| unsaid);
                *other = Some((now, 0));
                Some(unsaid)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_at_a_time_with_the_count_of_the_others() {
        let (quiet, start) = (Quiet::default(), Instant::now());
        assert_eq!(quiet.say_at(start), Some(0));
        assert_eq!((quiet.say_at(start), quiet.say_at(start)), (None, None));
        assert_eq!(quiet.say_at(start + limits::QUIET), Some(2));
    }
}
