//! The primary's disk is full when the secondary is lost: what has to be recorded then has its room already.

use crate::LIMIT;
use std::fs::{self, File};
use std::io::Write;
use tests::lab::scenario;
use tests::pair::Pair;

#[test]
fn lonely_and_full() {
    scenario("lonely-and-full", LIMIT, |lab| {
        let (a, b) = (lab.host("a"), lab.host("b"));
        let dir_a = a.small_disk("disk", "ext4", 96).join("data");
        let dir_b = b.dir.join("data");
        let mut pair = Pair::on(lab, a, b, dir_a, dir_b);
        pair.start();
        fs::write(pair.mounted().join("slot"), "before").expect("write");
        let mut big = File::create(pair.mounted().join("big")).expect("create");
        while big.write_all(&[7; 65536]).is_ok() {}
        while big.write_all(&[7; 512]).is_ok() {}
        drop(big);
        for _ in 0..3 {
            pair.lose_secondary();
            // Written over: needs no room.
            fs::File::options().write(true).open(pair.mounted().join("slot")).and_then(|mut f| f.write_all(b"behind")).expect("write");
            pair.secondary_returns();
        }
        pair.finish();
    });
}
