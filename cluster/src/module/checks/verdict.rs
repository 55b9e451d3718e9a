//! When a check passes and when it fails: successes and failures in a row, counted.

use crate::Moment;
use crate::config::Timing;

/// What changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It passes now.
    Passed,
    /// It fails now.
    Failed,
}

/// The count of one check.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    passes: Option<bool>,
    successes: u32,
    failures: u32,
    grace_until: Moment,
}

impl Verdict {
    /// Nothing is known, and failures before `grace_until` do not count.
    pub fn begin(grace_until: Moment) -> Verdict {
        Verdict { grace_until, ..Verdict::default() }
    }

    /// Whether it passes; none: not known yet.
    pub fn passes(&self) -> Option<bool> {
        self.passes
    }

    /// Takes in the outcome of a probe that ended at `now`. Each row of outcomes is told once, when it is long enough and
    /// says something new. A failure within the grace ends a row of successes and begins none of failures.
    pub fn note(&mut self, timing: &Timing, now: Moment, ok: bool) -> Option<Change> {
        if ok {
            self.failures = 0;
            self.successes = self.successes.saturating_add(1);
            return (self.successes >= timing.rise).then(|| self.become_(true)).flatten();
        }
        self.successes = 0;
        if now < self.grace_until {
            return None;
        }
        self.failures = self.failures.saturating_add(1);
        (self.failures >= timing.fall).then(|| self.become_(false)).flatten()
    }

    fn become_(&mut self, passes: bool) -> Option<Change> {
        let new = self.passes != Some(passes);
        self.passes = Some(passes);
        new.then_some(if passes { Change::Passed } else { Change::Failed })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::Duration;

    fn timing(rise: u32, fall: u32) -> Timing {
        let second = Duration::from_secs(1);
        Timing { interval: second, timeout: second, rise, fall, grace: second }
    }

    fn changes(rise: u32, fall: u32, outcomes: &str) -> String {
        let mut verdict = Verdict::begin(Duration::ZERO);
        let note = |outcome: char| match verdict.note(&timing(rise, fall), Duration::from_secs(1), outcome == '+') {
            None => '.',
            Some(Change::Passed) => 'P',
            Some(Change::Failed) => 'F',
        };
        outcomes.chars().map(note).collect()
    }

    #[test]
    fn rows_must_be_long_enough() {
        assert_eq!(changes(1, 2, "+-+--++-"), "P...FP..");
        assert_eq!(changes(3, 1, "-++-+++"), "F.....P");
        assert_eq!(changes(1, 3, "--+---"), "..P..F");
    }

    #[test]
    fn failures_in_the_grace_do_not_count() {
        let mut verdict = Verdict::begin(Duration::from_secs(10));
        let fall = timing(2, 2);
        for second in 0..10 {
            assert_eq!(verdict.note(&fall, Duration::from_secs(second), false), None);
        }
        assert_eq!(verdict.note(&fall, Duration::from_secs(10), false), None);
        assert_eq!(verdict.note(&fall, Duration::from_secs(11), false), Some(Change::Failed));
    }

    /// The same from its definition: looks at the whole history each time.
    fn defined(history: &[(u64, bool)], rise: usize, fall: usize, grace: u64) -> Option<bool> {
        let counts = |&(at, ok): &(u64, bool)| ok || at >= grace;
        (0..history.len()).rev().find_map(|last| {
            let here = &history[..=last];
            let well = here.len() >= rise && here[here.len() - rise..].iter().all(|(_, ok)| *ok);
            let counted: Vec<bool> = here.iter().filter(|outcome| counts(outcome)).map(|(_, ok)| *ok).collect();
            let ill = counted.len() >= fall && counted[counted.len() - fall..].iter().all(|ok| !ok) && counts(&history[last]);
            if well { Some(true) } else { ill.then_some(false) }
        })
    }

    proptest! {
        #[test]
        fn the_count_is_what_the_definition_says(
            outcomes in proptest::collection::vec((0_u64..3, any::<bool>()), 0..60),
            rise in 1_u32..5, fall in 1_u32..5, grace in 0_u64..20,
        ) {
            let mut verdict = Verdict::begin(Duration::from_secs(grace));
            let (mut at, mut history, mut told) = (0, Vec::new(), None);
            for (step, ok) in outcomes {
                at += step;
                history.push((at, ok));
                let change = verdict.note(&timing(rise, fall), Duration::from_secs(at), ok);
                let want = defined(&history, rise as usize, fall as usize, grace);
                prop_assert_eq!(verdict.passes(), want);
                // A change is told exactly when what holds is another thing than what was told last.
                let new = want.filter(|want| told != Some(*want)).map(|ok| if ok { Change::Passed } else { Change::Failed });
                prop_assert_eq!(change, new);
                told = want;
            }
        }
    }
}
