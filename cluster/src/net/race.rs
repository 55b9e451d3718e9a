//! Trying several addresses of one node: each a little later than the one before it, or as soon as that one has failed.
//! The first success wins; what comes later is dropped.

use crossbeam::channel::{RecvTimeoutError, bounded};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What became of one attempt: which, and its outcome.
type Arrived<T, E> = (usize, Result<T, E>);

/// The first success and its place in `candidates`, or all failures that are known at the deadline. `attempt` gets the deadline and must
/// keep it: each runs in a thread of its own, which is not waited for.
pub fn first<A, T, E>(
    candidates: &[A],
    head_start: Duration,
    deadline: Instant,
    attempt: impl Fn(&A, Instant) -> Result<T, E> + Send + Sync + 'static,
) -> Result<(usize, T), Vec<(usize, E)>>
where
    A: Clone + Send + 'static,
    T: Send + 'static,
    E: Send + From<std::io::Error> + 'static,
{
    let attempt = Arc::new(attempt);
    let (tell, hear) = bounded::<Arrived<T, E>>(candidates.len());
    let (mut started, mut failed) = (0, Vec::new());
    let mut next_start = Instant::now();
    while failed.len() < candidates.len() {
        let now = Instant::now();
        if now >= deadline {
            break;
        }
        if started < candidates.len() && (now >= next_start || failed.len() == started) {
            let (index, candidate, attempt, tell) = (started, candidates[started].clone(), attempt.clone(), tell.clone());
            started += 1;
            next_start = now + head_start;
            let run = move || {
                // Nobody listens any more when another one has won.
                let _ = tell.send((index, attempt(&candidate, deadline)));
            };
            if let Err(error) = std::thread::Builder::new().name("connect".into()).spawn(run) {
                failed.push((index, E::from(error)));
            }
            continue;
        }
        let until = if started < candidates.len() { next_start.min(deadline) } else { deadline };
        match hear.recv_timeout(until.saturating_duration_since(now)) {
            Ok((index, Ok(won))) => return Ok((index, won)),
            Ok((index, Err(error))) => failed.push((index, error)),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    Err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;

    const LONG: Duration = Duration::from_secs(600);

    fn far() -> Instant {
        Instant::now() + LONG
    }

    #[test]
    fn a_failure_starts_the_next_one_at_once_and_a_slow_one_does_not_hold_it_up() {
        let won = first(&["bad", "good"], LONG, far(), |name, _| if *name == "good" { Ok(7) } else { Err(io::Error::other("bad")) });
        assert_eq!(won.expect("the second one"), (1, 7));
        let (release, held) = bounded::<()>(0);
        let won = first(&["slow", "good"], Duration::from_millis(1), far(), move |name, _| {
            if *name == "slow" {
                let _ = held.recv();
            }
            Ok::<_, io::Error>(*name)
        });
        assert_eq!(won.expect("the second one"), (1, "good"));
        drop(release);
    }

    #[test]
    fn all_failures_are_told_and_the_deadline_holds() {
        let lost = first(&[1, 2, 3], LONG, far(), |number, _| Err::<(), _>(io::Error::other(number.to_string()))).expect_err("none");
        assert_eq!(lost.iter().map(|(index, _)| *index).collect::<Vec<_>>(), [0, 1, 2]);
        let past = first(&[1], LONG, Instant::now(), |_, _| Ok::<_, io::Error>(())).expect_err("too late");
        assert!(past.is_empty());
    }
}
