//! The secondary's engine dies. The application goes on, and the replica is healed when it returns.

use crate::{LIMIT, THREADS, WORK};
use tests::lab::scenario;
use tests::ledger::{Run, check_final, read_all};
use tests::pair::Pair;
use tests::rng::seed;

#[test]
fn kill9_secondary() {
    scenario("kill9-secondary", LIMIT, |lab| {
        let mut pair = Pair::in_sync(lab);
        let run = Run::start(&pair.mounted(), THREADS, seed("kill9-secondary"), true);
        run.wait_acknowledged(500, WORK);
        pair.lose_secondary();
        run.wait_acknowledged(run.acknowledged() + 500, WORK);
        pair.secondary_returns();
        run.wait_acknowledged(run.acknowledged() + 500, WORK);
        let notes = run.stop();
        pair.sync();
        check_final(&notes, &read_all(&pair.replica(), THREADS)).must_be_clean();
        pair.finish();
    });
}
