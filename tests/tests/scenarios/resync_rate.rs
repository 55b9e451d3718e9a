//! A resync may be told how much it sends in a second; the application is not held up by that.

use crate::LIMIT;
use std::fs;
use std::time::{Duration, Instant};
use tests::engine::Said;
use tests::files::pattern;
use tests::lab::scenario;
use tests::ledger::Run;
use tests::pair::Pair;
use tests::rng::seed;

const THREADS: usize = 2;
const SIZE: usize = 6 << 20;
/// At 2 MiB a second the copy cannot take less, however fast the machine is: the first half second is free.
const AT_LEAST: Duration = Duration::from_secs(2);

#[test]
fn a_resync_keeps_to_its_rate() {
    scenario("resync-rate", LIMIT, |lab| {
        let mut pair = Pair::prepare(lab);
        fs::write(pair.dir_a.join("file"), pattern(SIZE)).expect("write");
        pair.secondary = Some(pair.receive().spawn());
        pair.secondary().wait_ready();
        pair.primary = Some(pair.mount().args(["--resync-max-rate", "2MiB/s"]).spawn());
        pair.primary().wait_since(0, "the resync", LIMIT, |said| said.is_state("ALONE"));
        let began = Instant::now();
        pair.primary().wait_ready();
        let run = Run::start(&pair.mounted(), THREADS, seed("resync-rate"), true);
        run.wait_acknowledged(50, LIMIT);
        let waiting = |said: &Said| matches!(said, Said::State { state, .. } if state == "PRIM");
        pair.primary().wait_since(0, "PRIM", LIMIT, waiting);
        assert!(began.elapsed() >= AT_LEAST, "{SIZE} bytes took only {:?}", began.elapsed());
        run.stop();
        pair.finish();
    });
}
