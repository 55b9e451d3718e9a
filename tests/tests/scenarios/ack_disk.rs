//! `--ack disk`: every write is on both disks before it is acknowledged.

use crate::{LIMIT, THREADS, WORK};
use std::time::{Duration, Instant};
use tests::lab::scenario;
use tests::ledger::{Run, check_final, read_all};
use tests::pair::Pair;
use tests::rng::seed;

#[test]
fn ack_disk() {
    scenario("ack-disk", LIMIT, |lab| {
        let mut pair = Pair::prepare(lab);
        pair.secondary = Some(pair.receive().spawn());
        pair.secondary().wait_ready();
        pair.primary = Some(pair.mount().args(["--ack", "disk"]).spawn());
        pair.primary().wait_ready();
        pair.wait_in_sync();
        let run = Run::start(&pair.mounted(), THREADS, seed("ack-disk"), false);
        run.wait_acknowledged(200, WORK);
        let notes = run.stop();
        check_final(&notes, &read_all(&pair.replica(), THREADS)).must_be_clean();
        pair.finish();
    });
}

#[test]
fn ack_disk_waits_for_the_secondarys_disk() {
    scenario("ack-disk-slow", LIMIT, |lab| {
        let mut pair = Pair::prepare(lab);
        pair.secondary = Some(pair.receive().env("UNDERSTUDY_TEST_FSYNC_DELAY", "2s").spawn());
        pair.secondary().wait_ready();
        pair.primary = Some(pair.mount().args(["--ack", "disk"]).spawn());
        pair.primary().wait_ready();
        pair.wait_in_sync();
        let start = Instant::now();
        std::fs::write(pair.mounted().join("file"), "content").expect("write");
        assert!(start.elapsed() >= Duration::from_secs(2), "acknowledged after {:?}", start.elapsed());
    });
}

#[test]
fn reserved_modes_are_refused() {
    scenario("ack-reserved", LIMIT, |lab| {
        let pair = Pair::prepare(lab);
        let mut primary = pair.mount().args(["--ack", "async"]).spawn();
        assert_eq!(primary.wait_exit(LIMIT).code(), Some(2));
        assert!(primary.stderr().contains("reserved"), "{}", primary.stderr());
    });
}
