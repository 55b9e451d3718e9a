//! The secondary's disk takes 5 s for an fsync. That is slow, not silent: nobody is dropped.

use crate::LIMIT;
use std::fs::File;
use std::io::Write;
use std::time::{Duration, Instant};
use tests::lab::scenario;
use tests::pair::Pair;

#[test]
fn slow_fsync_secondary() {
    scenario("slow-fsync", LIMIT, |lab| {
        let mut pair = Pair::prepare(lab);
        pair.secondary = Some(pair.receive().env("UNDERSTUDY_TEST_FSYNC_DELAY", "5s").spawn());
        pair.secondary().wait_ready();
        pair.primary = Some(pair.mount().spawn());
        pair.primary().wait_ready();
        pair.wait_in_sync();
        let mark = pair.primary().mark();

        let mut file = File::create(pair.mounted().join("file")).expect("create");
        file.write_all(b"to be synced").expect("write");
        let start = Instant::now();
        let other = pair.mounted().join("other");
        let writer = std::thread::spawn(move || {
            let start = Instant::now();
            std::fs::write(other, "not synced").expect("write");
            start.elapsed()
        });
        file.sync_all().expect("fsync");
        let took = start.elapsed();
        assert!(took >= Duration::from_secs(5), "fsync did not wait for the secondary's disk: {took:?}");
        let beside = writer.join().expect("no panic");
        assert!(beside < Duration::from_secs(3), "a write beside the fsync waited {beside:?}");
        assert_eq!(pair.primary().said_since(mark), [], "the secondary was dropped for being slow");
    });
}
