//! A node's disk is put back to an earlier copy of its image, as from a snapshot of a virtual machine. Nothing may take
//! that copy for what it was when it was in sync last.

use std::fs;
use std::time::Duration;
use tests::disk::{Disk, chosen_kind};
use tests::engine::{PATIENCE, Said};
use tests::files::varied_tree;
use tests::lab::{Lab, scenario};
use tests::pair::Pair;

const LIMIT: Duration = Duration::from_secs(120);

/// A pair that is in sync and holds something, with a disk of its own for `b`.
fn pair(lab: &std::sync::Arc<Lab>) -> (Pair, Disk) {
    let (a, b) = (lab.host("a"), lab.host("b"));
    let disk = Disk::new(&b, &chosen_kind(), 256);
    let (dir_a, dir_b) = (a.dir.join("data"), disk.at().join("data"));
    let mut pair = Pair::on(lab, a, b, dir_a, dir_b);
    pair.start();
    varied_tree(&pair.mounted());
    pair.sync();
    (pair, disk)
}

/// Many small changes, so that none is likely to be made again by chance.
fn change(pair: &Pair, round: u8) {
    for n in 0..20 {
        fs::write(pair.mounted().join(format!("file{n}")), vec![round; 5000]).expect("write");
    }
    fs::write(pair.mounted().join(format!("round{round}")), "new").expect("write");
    fs::rename(pair.mounted().join(format!("round{round}")), pair.mounted().join(format!("renamed{round}"))).expect("rename");
    let _ = fs::remove_file(pair.mounted().join(format!("renamed{}", round.wrapping_sub(1))));
}

fn stop_secondary(pair: &mut Pair) {
    let mark = pair.primary().mark();
    pair.secondary.take().expect("runs").stop();
    pair.wait_alone_since(mark);
}

/// The replica is put back while it is stopped: it ends up equal, or is refused with a cure.
#[test]
fn an_older_replica_is_healed() {
    scenario("older-replica", LIMIT, |lab| {
        let (mut pair, mut disk) = pair(lab);
        for (round, both_stop) in [(1, false), (3, true), (5, false)] {
            change(&pair, round);
            if both_stop {
                pair.primary.take().expect("runs").stop();
                pair.secondary.take().expect("runs").stop();
            } else {
                stop_secondary(&mut pair);
            }
            let image = disk.image(&pair.b);
            // In sync again, changed, and in sync at the end: both sides know of nothing that differs.
            pair.secondary = Some(pair.receive().spawn());
            pair.secondary().wait_ready();
            if both_stop {
                pair.primary = Some(pair.mount().spawn());
                pair.primary().wait_ready();
            }
            pair.wait_in_sync();
            change(&pair, round + 1);
            pair.sync();
            stop_secondary(&mut pair);
            disk.put_back(&pair.b, &image);
            pair.secondary = Some(pair.receive().spawn());
            pair.secondary().wait_ready();
            pair.wait_in_sync();
            pair.must_be_equal();
        }
        pair.finish();
    });
}

/// The same while both are stopped cleanly, equal, with nothing to heal on either side.
#[test]
fn an_older_replica_of_a_pair_at_rest_is_healed() {
    scenario("older-at-rest", LIMIT, |lab| {
        let (mut pair, mut disk) = pair(lab);
        for round in [1, 3] {
            change(&pair, round);
            pair.primary.take().expect("runs").stop();
            pair.secondary.take().expect("runs").stop();
            let image = disk.image(&pair.b);
            pair.start();
            change(&pair, round + 1);
            pair.primary.take().expect("runs").stop();
            pair.secondary.take().expect("runs").stop();
            disk.put_back(&pair.b, &image);
            pair.start();
            pair.must_be_equal();
        }
        pair.finish();
    });
}

/// The older copy must not lead: the node that has the newer data refuses it and says what to do.
#[test]
fn an_older_copy_does_not_lead() {
    scenario("older-primary", LIMIT, |lab| {
        let (mut pair, mut disk) = pair(lab);
        stop_secondary(&mut pair);
        let image = disk.image(&pair.b);
        change(&pair, 1);
        pair.secondary_returns();
        change(&pair, 2);
        pair.primary.take().expect("runs").stop();
        pair.secondary.take().expect("runs").stop();
        disk.put_back(&pair.b, &image);

        let listen = pair.link.first_socket(tests::pair::PORT).to_string();
        let start = |host, verb, dir: &std::path::Path| tests::engine::Start::new(host, verb, dir).args(["--name", "pair"]);
        let receive = start(&pair.a, "receive", &pair.dir_a).args(["--listen", &listen]).args([std::path::Path::new("--key"), &pair.key]);
        let newer = receive.spawn();
        newer.wait_ready();
        let mut older =
            start(&pair.b, "mount", &pair.dir_b).args(["--to", &listen]).args([std::path::Path::new("--key"), &pair.key]).spawn();
        let status = older.wait_exit(PATIENCE);
        assert_eq!(status.code(), Some(3), "the older copy leads: {:?} {}", older.said_since(0), older.stderr());
        assert!(!older.said_since(0).contains(&Said::Ready));
        assert!(older.stderr().lines().last().is_some_and(|line| line.contains("; ")), "no cure: {}", older.stderr());
        drop((older, newer));
        pair.start();
        pair.finish();
    });
}
