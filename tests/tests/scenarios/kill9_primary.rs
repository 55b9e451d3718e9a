//! The primary's engine dies with the application's operations in flight: everything that was
//! acknowledged is on the secondary; the stale mount is cleaned up at the next start.

use crate::{LIMIT, THREADS, WORK};
use tests::lab::scenario;
use tests::ledger::{Run, check_final, read_all};
use tests::pair::Pair;
use tests::rng::seed;

#[test]
fn kill9_primary() {
    scenario("kill9-primary", LIMIT, |lab| {
        let mut pair = Pair::in_sync(lab);
        let run = Run::start(&pair.mounted(), THREADS, seed("kill9-primary"), false);
        run.wait_acknowledged(1000, WORK);
        pair.primary.take().expect("running").kill();
        let notes = run.after_crash();
        pair.secondary().wait_state("WAIT", "uptodate");
        let verdict = check_final(&notes, &read_all(&pair.replica(), THREADS));
        verdict.must_be_clean();
        assert!(verdict.acknowledged >= 1000);

        // Attributes may come from the kernel's cache; statfs always asks the engine.
        let stale = pair.a.try_run(["stat", "-f", pair.dir_a.to_str().expect("a plain name")]);
        assert!(!stale.status.success(), "a killed engine leaves a dead mount behind");
        pair.primary = Some(pair.mount().spawn());
        pair.primary().wait_ready();
        pair.wait_in_sync();
        check_final(&notes, &read_all(&pair.mounted(), THREADS)).must_be_clean();
        pair.finish();
    });
}
