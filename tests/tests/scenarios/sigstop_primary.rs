//! The primary's engine stands still: the secondary notices and waits; nothing is lost or doubled
//! when it goes on.

use crate::{LIMIT, THREADS, WORK};
use tests::engine::PATIENCE;
use tests::lab::scenario;
use tests::ledger::{Run, check_final, read_all};
use tests::pair::Pair;
use tests::rng::seed;

#[test]
fn sigstop_primary() {
    scenario("sigstop-primary", LIMIT, |lab| {
        let pair = Pair::in_sync(lab);
        let run = Run::start(&pair.mounted(), THREADS, seed("sigstop-primary"), false);
        run.wait_acknowledged(500, WORK);
        let mark = pair.secondary().mark();
        pair.primary().freeze();
        pair.secondary().wait_since(mark, "WAIT", PATIENCE, |said| said.is_state("WAIT"));
        pair.primary().thaw();
        pair.wait_in_sync();
        run.wait_acknowledged(run.acknowledged() + 500, WORK);
        let notes = run.stop();
        pair.sync();
        check_final(&notes, &read_all(&pair.replica(), THREADS)).must_be_clean();
        pair.finish();
    });
}
