//! How far a resync is, and whether it gets any further.

use crate::id::{ObjectId, Seq};
use parking_lot::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// What a resync is at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Doing {
    /// Learning what the secondary has changed.
    #[default]
    Learning,
    /// The names in this directory.
    Names(ObjectId),
    /// Asking what the secondary had to make anew.
    Made,
    /// Content and attributes of this object, or of what follows it.
    Content(ObjectId),
}

impl Doing {
    /// In words; `place` says where an object is.
    pub fn words(self, place: impl FnOnce(ObjectId) -> String) -> String {
        match self {
            Doing::Learning => "learning what the secondary has changed".into(),
            Doing::Names(id) => format!("comparing the names in {}", place(id)),
            Doing::Made => "asking what the secondary had to make anew".into(),
            Doing::Content(id) => format!("comparing the content of {} and what follows it", place(id)),
        }
    }
}

/// How far a resync is, for status.
pub struct Progress {
    /// What it is at.
    pub doing: Mutex<Doing>,
    /// Highest number that it has given.
    pub given: AtomicU64,
    /// Objects found so far, and done.
    pub files: (AtomicU64, AtomicU64),
    /// Bytes of content found so far, done (compared or sent), and sent.
    pub bytes: (AtomicU64, AtomicU64, AtomicU64),
    /// Whether names are still being compared: totals still grow.
    pub names: AtomicBool,
    /// Directories whose names were sent, and questions that were answered.
    pub steps: AtomicU64,
    began: Instant,
}

impl Progress {
    fn seconds(&self) -> f64 {
        self.began.elapsed().as_secs_f64().max(0.001)
    }

    /// Content compared or sent a second since the beginning.
    pub fn rate(&self) -> u64 {
        (self.bytes.1.load(Relaxed) as f64 / self.seconds()) as u64
    }

    /// Seconds that are left at the rate so far; none while the totals still grow.
    pub fn eta(&self) -> Option<f64> {
        let share = |(total, done): (&AtomicU64, &AtomicU64)| done.load(Relaxed) as f64 / total.load(Relaxed).max(1) as f64;
        let done = share((&self.bytes.0, &self.bytes.1)).min(share((&self.files.0, &self.files.1))).min(1.0);
        (!self.names.load(Relaxed) && done > 0.0).then(|| self.seconds() * (1.0 - done) / done)
    }

    /// Why a resync that stands still does so, as far as it can be seen from here.
    pub fn cause(&self, acknowledged: Seq) -> String {
        let given = self.given.load(Relaxed);
        if acknowledged < given {
            let next = acknowledged + 1;
            return format!("the secondary has not applied operation {next} of {given}: look at its disk and its log");
        }
        "the secondary has applied everything and does not answer a question: look at its disk and its log".into()
    }

    /// A figure that changes with everything the resync does.
    fn total(&self) -> u64 {
        let figures = [&self.files.0, &self.files.1, &self.bytes.1, &self.bytes.2, &self.steps];
        figures.iter().fold(0, |sum: u64, figure| sum.wrapping_add(figure.load(Relaxed)))
    }
}

impl Default for Progress {
    fn default() -> Self {
        let zero = AtomicU64::default;
        Progress {
            doing: Mutex::default(),
            given: zero(),
            files: (zero(), zero()),
            bytes: (zero(), zero(), zero()),
            names: AtomicBool::new(true),
            steps: zero(),
            began: Instant::now(),
        }
    }
}

/// Notices a resync that stands still: no byte, no object, no acknowledgement.
#[derive(Debug)]
pub struct Watch {
    patience: Duration,
    seen: (u64, u64),
    since: Duration,
}

impl Watch {
    /// A resync that begins at `now`.
    pub fn new(patience: Duration, now: Duration) -> Watch {
        Watch { patience, seen: (0, 0), since: now }
    }

    /// Looks at `now`, given the highest number acknowledged. How long nothing has happened, if that is too long.
    pub fn tick(&mut self, now: Duration, acknowledged: u64, progress: &Progress) -> Option<Duration> {
        let seen = (acknowledged, progress.total());
        if seen != self.seen {
            (self.seen, self.since) = (seen, now);
        }
        let still = now.saturating_sub(self.since);
        (still >= self.patience).then_some(still)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_standstill_has_a_place_and_a_cause() {
        let progress = Progress::default();
        assert!(progress.cause(7).contains("does not answer"));
        progress.given.store(12, Relaxed);
        assert!(progress.cause(7).contains("operation 8 of 12"));
        assert_eq!(Doing::Names(ObjectId(20)).words(|id| format!("/d{}", id.0)), "comparing the names in /d20");
    }

    #[test]
    fn anything_that_moves_is_progress() {
        let (progress, second) = (Progress::default(), Duration::from_secs);
        let mut watch = Watch::new(second(30), second(100));
        assert_eq!(watch.tick(second(129), 0, &progress), None);
        progress.bytes.2.fetch_add(1, Relaxed);
        assert_eq!(watch.tick(second(131), 0, &progress), None);
        assert_eq!(watch.tick(second(160), 7, &progress), None);
        progress.steps.fetch_add(1, Relaxed);
        assert_eq!(watch.tick(second(189), 7, &progress), None);
        assert_eq!(watch.tick(second(219), 7, &progress), Some(second(30)));
    }
}
