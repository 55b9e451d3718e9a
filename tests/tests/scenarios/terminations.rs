//! SIGTERM in every state: exit 0, promptly, nothing left behind; the next start is an ordinary one.

use crate::{LIMIT, THREADS, WORK};
use std::fs;
use std::time::{Duration, Instant};
use tests::engine::{Engine, PATIENCE};
use tests::files::pattern;
use tests::lab::scenario;
use tests::ledger::Run;
use tests::pair::Pair;
use tests::rng::seed;

/// An engine may wait for one connection attempt or handshake, not for more.
const PROMPT: Duration = Duration::from_secs(8);

fn end(mut engine: Engine, state: &str) {
    let start = Instant::now();
    engine.stop();
    assert!(start.elapsed() < PROMPT, "{state}: ended after {:?}", start.elapsed());
}

#[test]
fn sigterm_while_nobody_answers() {
    scenario("term-connecting", LIMIT, |lab| {
        let mut pair = Pair::prepare(lab);
        let refused = pair.mount().spawn();
        refused.wait_since(0, "unreachable", PATIENCE, |said| said.is_state("WAIT"));
        end(refused, "nobody listens");
        pair.b.deafen(pair.link.second.0);
        let silent = pair.mount().spawn();
        silent.wait_since(0, "WAIT", PATIENCE, |said| said.is_state("WAIT"));
        end(silent, "packets vanish");
        pair.b.undeafen(pair.link.second.0);
        let receiver = pair.receive().spawn();
        receiver.wait_ready();
        receiver.freeze();
        let shaking = pair.mount().spawn();
        shaking.wait_since(0, "WAIT", PATIENCE, |said| said.is_state("WAIT"));
        end(shaking, "the peer stands still");
        receiver.thaw();
        end(receiver, "nobody sends");
        pair.start();
        pair.finish();
    });
}

/// A pair with enough to resync that the signal arrives in the middle.
fn resyncing(pair: &mut Pair) {
    for n in 0..2000 {
        fs::write(pair.dir_a.join(format!("file{n}")), pattern(10_000)).expect("write");
    }
    pair.secondary = Some(pair.receive().spawn());
    pair.secondary().wait_ready();
    pair.primary = Some(pair.mount().spawn());
    pair.primary().wait_ready();
}

#[test]
fn sigterm_of_the_primary_in_a_resync() {
    scenario("term-resync-a", LIMIT, |lab| {
        let mut pair = Pair::prepare(lab);
        resyncing(&mut pair);
        end(pair.primary.take().expect("runs"), "primary in a resync");
        pair.secondary().wait_state("WAIT", "inconsistent");
        pair.primary = Some(pair.mount().spawn());
        pair.primary().wait_ready();
        pair.wait_in_sync();
        pair.finish();
    });
}

#[test]
fn sigterm_of_the_secondary_in_a_resync() {
    scenario("term-resync-b", LIMIT, |lab| {
        let mut pair = Pair::prepare(lab);
        resyncing(&mut pair);
        let mark = pair.primary().mark();
        end(pair.secondary.take().expect("runs"), "secondary in a resync");
        pair.wait_alone_since(mark);
        pair.secondary_returns();
        pair.finish();
    });
}

#[test]
fn sigterm_while_the_peer_stands_still() {
    scenario("term-frozen", LIMIT, |lab| {
        let mut pair = Pair::in_sync(lab);
        fs::write(pair.mounted().join("file"), "content").expect("write");
        pair.secondary().freeze();
        end(pair.primary.take().expect("runs"), "primary, the secondary is frozen");
        pair.secondary().thaw();
        pair.primary = Some(pair.mount().spawn());
        pair.primary().wait_ready();
        pair.wait_in_sync();
        pair.primary().freeze();
        end(pair.secondary.take().expect("runs"), "secondary, the primary is frozen");
        pair.primary().thaw();
        pair.secondary_returns();
        pair.finish();
    });
}

#[test]
fn sigterm_of_the_secondary_under_load() {
    scenario("term-load", LIMIT, |lab| {
        let mut pair = Pair::in_sync(lab);
        let run = Run::start(&pair.mounted(), THREADS, seed("term-load"), true);
        for _ in 0..3 {
            run.wait_acknowledged(run.acknowledged() + 300, WORK);
            end(pair.secondary.take().expect("runs"), "secondary under load");
            run.wait_acknowledged(run.acknowledged() + 300, WORK);
            pair.secondary_returns();
        }
        run.stop();
        pair.finish();
    });
}

/// Pauses longer than the time after which a peer counts as lost, of both sides.
#[test]
fn long_pauses() {
    scenario("long-pauses", LIMIT, |lab| {
        let mut pair = Pair::in_sync(lab);
        let run = Run::start(&pair.mounted(), THREADS, seed("long-pauses"), false);
        run.wait_acknowledged(300, WORK);
        pair.primary().freeze();
        std::thread::sleep(Duration::from_secs(5));
        pair.primary().thaw();
        pair.wait_in_sync();
        run.wait_acknowledged(run.acknowledged() + 300, WORK);
        let mark = pair.primary().mark();
        pair.secondary().freeze();
        pair.wait_alone_since(mark);
        std::thread::sleep(Duration::from_secs(3));
        pair.secondary().thaw();
        pair.wait_in_sync();
        // Both at once.
        pair.secondary().freeze();
        pair.primary().freeze();
        std::thread::sleep(Duration::from_secs(3));
        pair.primary().thaw();
        pair.secondary().thaw();
        run.wait_acknowledged(run.acknowledged() + 300, WORK);
        pair.wait_in_sync();
        run.stop();
        // A killed receiver leaves its read-only cover; the next start takes it off.
        pair.lose_secondary();
        let stale = fs::write(pair.replica().join("new"), "").expect_err("covered");
        assert_eq!(stale.kind(), std::io::ErrorKind::ReadOnlyFilesystem);
        pair.secondary_returns();
        pair.finish();
    });
}

/// A secondary that cannot take the data: told once, not at every attempt.
#[test]
fn no_storm_of_lines() {
    scenario("no-storm", LIMIT, |lab| {
        let (a, b) = (lab.host("a"), lab.host("b"));
        let (dir_a, dir_b) = (a.dir.join("data"), b.small_disk("disk", "ext4", 32).join("data"));
        let mut pair = Pair::on(lab, a, b, dir_a, dir_b);
        pair.start();
        fs::write(pair.mounted().join("big"), vec![7; 64 << 20]).expect("write");
        let (mark_a, mark_b) = (pair.primary().mark(), pair.secondary().mark());
        std::thread::sleep(Duration::from_secs(12));
        for (engine, mark) in [(pair.primary(), mark_a), (pair.secondary(), mark_b)] {
            let said = engine.said_since(mark);
            assert!(said.len() <= 6, "{} lines: {said:#?}", said.len());
            assert!(engine.stderr().lines().count() <= 12, "{}", engine.stderr());
        }
        fs::remove_file(pair.mounted().join("big")).expect("remove");
        pair.wait_in_sync();
        pair.finish();
    });
}
