//! The first copy runs while many threads change the tree in every way, onto a directory that holds an older
//! tree with other things under the same names. When it is over, both are equal.

use std::time::Duration;
use tests::engine::Said;
use tests::lab::scenario;
use tests::pair::Pair;
use tests::rng::{Rng, seed};
use tests::storm::{Shape, Storm, grow, grow_other};
use tests::tree::Ignore;

const LIMIT: Duration = Duration::from_secs(400);
/// How long a resync beneath a storm may take in a debug build.
const RESYNC: Duration = Duration::from_secs(150);
/// Small resyncs.
const ROUNDS: u64 = 6;
const THREADS: usize = 4;
const SHAPE: Shape = Shape { outer: 20, inner: 10, files: 100, big: 1 << 30, allocate: false };
const SMALL: Shape = Shape { outer: 8, inner: 5, files: 30, big: 64 << 20, allocate: false };

fn begin(pair: &mut Pair, shape: Shape, seed: u64, options: &[&str]) -> Storm {
    grow(&pair.dir_a, shape, seed);
    grow_other(&pair.dir_b, shape, seed);
    pair.secondary = Some(pair.receive().args(["--discard-local"]).spawn());
    pair.secondary().wait_ready();
    pair.primary = Some(pair.mount().args(options).spawn());
    pair.primary().wait_ready();
    Storm::start(&pair.mounted(), shape, THREADS, seed)
}

fn end(pair: Pair, storm: Storm, shape: Shape) {
    let lost = |said: &Said| matches!(said, Said::State { state, reason_code, .. } if state == "ALONE" && reason_code != "resync");
    let said = pair.primary().wait_since(0, "PRIM", RESYNC, |said| said.is_state("PRIM") || lost(said));
    assert!(!lost(&said), "the first session did not last: {said:?}; {}", pair.secondary().stderr());
    // Live operations on what the resync left go wrong soon if they go wrong.
    storm.wait_done(storm.done() + 1000, RESYNC);
    storm.stop();
    let said = pair.primary().said_since(0);
    let prim = said.iter().position(|said| said.is_state("PRIM")).expect("waited for");
    assert!(!said[prim..].iter().any(|said| said.is_state("ALONE")), "the mirror broke: {said:?}; {}", pair.secondary().stderr());
    pair.finish_but(&Ignore { holes: shape.allocate, ..Ignore::default() });
}

#[test]
fn a_resync_beneath_a_storm() {
    scenario("resync-live", LIMIT, |lab| {
        let mut pair = Pair::prepare(lab);
        let storm = begin(&mut pair, SHAPE, seed("resync-live"), &[]);
        end(pair, storm, SHAPE);
    });
}

#[test]
fn many_small_resyncs_beneath_a_storm() {
    scenario("resync-small", LIMIT, |lab| {
        let mut rng = Rng::new(seed("resync-small"));
        for round in 0..ROUNDS {
            let (seed, options) = (rng.number(), if round % 3 == 2 { &["--ack", "disk"][..] } else { &[] });
            eprintln!("round {round}: seed {seed}");
            let mut pair = Pair::prepare(lab);
            let shape = Shape { allocate: round % 2 == 1, ..SMALL };
            let storm = begin(&mut pair, shape, seed, options);
            end(pair, storm, shape);
            lab.clear();
        }
    });
}

#[test]
fn a_receiver_that_dies_in_the_middle() {
    scenario("resync-killed", LIMIT, |lab| {
        let mut rng = Rng::new(seed("resync-killed"));
        let mut pair = Pair::prepare(lab);
        let storm = begin(&mut pair, Shape { files: 40, ..SHAPE }, rng.number(), &[]);
        for _ in 0..4 {
            // Not on an event: the end is to hit any moment of the resync.
            std::thread::sleep(Duration::from_millis(200 + rng.below(2500)));
            let mark = pair.primary().mark();
            pair.secondary.take().expect("runs").kill();
            pair.secondary = Some(pair.receive().spawn());
            pair.secondary().wait_ready();
            pair.primary().wait_since(mark, "a new session", RESYNC, |said| said.is_state("ALONE"));
        }
        let mark = pair.primary().mark();
        let said = pair.primary().said_since(0);
        if !said[mark.saturating_sub(1)..].iter().any(|said| said.is_state("PRIM")) {
            pair.primary().wait_since(mark, "PRIM", RESYNC, |said| said.is_state("PRIM"));
        }
        storm.wait_done(storm.done() + 1000, RESYNC);
        storm.stop();
        pair.finish();
    });
}
