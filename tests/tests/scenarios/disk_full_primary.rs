//! The primary's disk is full: the application is told so, and both replicas stay equal.

use crate::LIMIT;
use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use tests::lab::scenario;
use tests::pair::Pair;

#[test]
fn disk_full_primary() {
    scenario("disk-full-primary", LIMIT, |lab| {
        let (a, b) = (lab.host("a"), lab.host("b"));
        let dir_a = a.small_disk("disk", "ext4", 96).join("data");
        let dir_b = b.dir.join("data");
        let mut pair = Pair::on(lab, a, b, dir_a, dir_b);
        pair.start();
        let mark = pair.primary().mark();

        let mut big = File::create(pair.mounted().join("big")).expect("create");
        let error = loop {
            if let Err(error) = big.write_all(&[7; 65536]) {
                break error;
            }
        };
        assert_eq!(error.kind(), ErrorKind::StorageFull);
        let small = (0..100_000).map(|n| fs::write(pair.mounted().join(format!("small{n}")), vec![1; 8192]));
        let error = small.take_while(|result| result.is_ok()).count();
        assert!(error < 100_000, "a full disk took 100,000 files");
        drop(big);
        pair.must_be_equal();

        fs::remove_file(pair.mounted().join("big")).expect("room can be made");
        fs::write(pair.mounted().join("after"), vec![3; 1 << 20]).expect("there is room again");
        let said = pair.primary().said_since(mark);
        assert!(!said.iter().any(|said| said.is_state("ALONE")), "the primary's error dropped the secondary: {said:?}");
        pair.finish();
    });
}
