//! One direction of the cable breaks: one side is heard and hears nothing.

use crate::{LIMIT, THREADS, WORK};
use tests::lab::scenario;
use tests::ledger::{Run, check_final, read_all};
use tests::pair::Pair;
use tests::rng::seed;

fn deaf(name: &'static str, primary: bool) {
    scenario(name, LIMIT, move |lab| {
        let pair = Pair::in_sync(lab);
        let (host, nic) = if primary { (&pair.a, pair.link.first.0) } else { (&pair.b, pair.link.second.0) };
        let run = Run::start(&pair.mounted(), THREADS, seed(name), false);
        run.wait_acknowledged(500, WORK);
        let mark = pair.primary().mark();
        host.deafen(nic);
        pair.wait_alone_since(mark);
        run.wait_acknowledged(run.acknowledged() + 500, WORK);
        host.undeafen(nic);
        pair.wait_in_sync();
        let notes = run.stop();
        pair.sync();
        check_final(&notes, &read_all(&pair.replica(), THREADS)).must_be_clean();
        pair.finish();
    });
}

#[test]
fn the_primary_hears_nothing() {
    deaf("deaf-primary", true);
}

#[test]
fn the_secondary_hears_nothing() {
    deaf("deaf-secondary", false);
}
