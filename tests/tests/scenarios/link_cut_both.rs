//! The cable breaks: packets vanish in both directions, or the interface goes down.

use crate::{LIMIT, THREADS, WORK};
use tests::engine::PATIENCE;
use tests::lab::scenario;
use tests::ledger::{Run, check_final, read_all};
use tests::pair::Pair;
use tests::rng::seed;

fn cut_and_mend(name: &'static str, cut: fn(&Pair), mend: fn(&Pair)) {
    scenario(name, LIMIT, move |lab| {
        let pair = Pair::in_sync(lab);
        let run = Run::start(&pair.mounted(), THREADS, seed(name), false);
        run.wait_acknowledged(500, WORK);
        let (mark_a, mark_b) = (pair.primary().mark(), pair.secondary().mark());
        cut(&pair);
        pair.wait_alone_since(mark_a);
        pair.secondary().wait_since(mark_b, "WAIT", PATIENCE, |said| said.is_state("WAIT"));
        run.wait_acknowledged(run.acknowledged() + 500, WORK);
        mend(&pair);
        pair.wait_in_sync();
        let notes = run.stop();
        pair.sync();
        check_final(&notes, &read_all(&pair.replica(), THREADS)).must_be_clean();
        pair.finish();
    });
}

#[test]
fn link_cut_both() {
    let cut = |pair: &Pair| {
        pair.a.deafen(pair.link.first.0);
        pair.b.deafen(pair.link.second.0);
    };
    let mend = |pair: &Pair| {
        pair.a.undeafen(pair.link.first.0);
        pair.b.undeafen(pair.link.second.0);
    };
    cut_and_mend("link-cut-both", cut, mend);
}

#[test]
fn link_down() {
    cut_and_mend("link-down", |p| p.a.set_link(p.link.first.0, false), |p| p.a.set_link(p.link.first.0, true));
}
