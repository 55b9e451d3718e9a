//! The secondary's disk is full: it is dropped with a reason, the application goes on, and the
//! pair heals when there is room.

use crate::LIMIT;
use std::fs;
use tests::engine::{PATIENCE, Said};
use tests::lab::scenario;
use tests::pair::Pair;

#[test]
fn disk_full_secondary() {
    scenario("disk-full-secondary", LIMIT, |lab| {
        let (a, b) = (lab.host("a"), lab.host("b"));
        let dir_a = a.dir.join("data");
        let dir_b = b.small_disk("disk", "ext4", 96).join("data");
        let mut pair = Pair::on(lab, a, b, dir_a, dir_b);
        pair.start();
        let mark = pair.primary().mark();

        fs::write(pair.mounted().join("big"), vec![7; 128 << 20]).expect("the primary has room");
        let said = pair.primary().wait_since(mark, "ALONE", PATIENCE, |said| said.is_state("ALONE"));
        let Said::State { reason, .. } = said else { unreachable!("a state was waited for") };
        assert!(reason.contains("full") || reason.contains("space"), "the reason is not told: {reason}");
        fs::write(pair.mounted().join("meanwhile"), "the application goes on").expect("write alone");

        fs::remove_file(pair.mounted().join("big")).expect("remove");
        pair.wait_in_sync();
        pair.finish();
    });
}
