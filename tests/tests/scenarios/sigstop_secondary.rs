//! The secondary's engine stands still: its kernel still answers, it does not.

use crate::{LIMIT, THREADS, WORK};
use std::time::{Duration, Instant};
use tests::lab::scenario;
use tests::ledger::Run;
use tests::pair::Pair;
use tests::rng::seed;

#[test]
fn sigstop_secondary() {
    scenario("sigstop-secondary", LIMIT, |lab| {
        let pair = Pair::in_sync(lab);
        let run = Run::start(&pair.mounted(), THREADS, seed("sigstop-secondary"), false);
        run.wait_acknowledged(500, WORK);
        let (mark, start) = (pair.primary().mark(), Instant::now());
        pair.secondary().freeze();
        pair.wait_alone_since(mark);
        // One second of silence by default; the rest is for a busy machine.
        assert!(start.elapsed() < Duration::from_secs(4), "noticed after {:?}", start.elapsed());
        run.wait_acknowledged(run.acknowledged() + 500, WORK);
        pair.secondary().thaw();
        pair.wait_in_sync();
        run.wait_acknowledged(run.acknowledged() + 100, WORK);
        run.stop();
        pair.finish();
    });
}
