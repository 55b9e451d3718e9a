//! A live secondary shows, at every moment, one point of the acknowledged history; and after a cut
//! at a random moment nothing acknowledged is missing.

use crate::{THREADS, WORK};
use std::time::Duration;
use tests::lab::scenario;
use tests::ledger::{Run, check_final, check_live, read_all};
use tests::pair::Pair;
use tests::rng::{Rng, seed};

const LIMIT: Duration = Duration::from_secs(180);

#[test]
fn a_reader_on_the_secondary_sees_a_prefix() {
    scenario("prefix-live", LIMIT, |lab| {
        let pair = Pair::in_sync(lab);
        let run = Run::start(&pair.mounted(), 8, seed("prefix-live"), true);
        for round in 1..=100 {
            run.wait_acknowledged(round * 40, WORK);
            let seen = read_all(&pair.replica(), 8);
            check_live(&run.notes(), &seen).must_be_clean();
        }
        run.stop();
        pair.finish();
    });
}

#[test]
fn a_cut_at_any_moment_loses_nothing() {
    scenario("prefix-cut", LIMIT, |lab| {
        let seed = seed("prefix-cut");
        let mut rng = Rng::new(seed);
        for round in 0..5 {
            let mut pair = Pair::in_sync(lab);
            let run = Run::start(&pair.mounted(), THREADS, rng.number(), false);
            run.wait_acknowledged(200 + rng.below(2000), WORK);
            // Not on an event of the run: the cut is to hit operations in flight.
            std::thread::sleep(Duration::from_micros(rng.below(3000)));
            pair.a.power_off();
            let notes = run.after_crash();
            pair.secondary().wait_state("WAIT", "uptodate");
            let verdict = check_final(&notes, &read_all(&pair.replica(), THREADS));
            verdict.must_be_clean();
            pair.secondary.take().expect("runs").stop();
            eprintln!("round {round}: {} acknowledged, none lost", verdict.acknowledged);
            lab.clear();
        }
    });
}
