//! The secondary's disk has no room for what the resync brings: the resync stops, both sides say why, the
//! application goes on, and it heals when there is room.

use crate::LIMIT;
use std::fs;
use tests::engine::{PATIENCE, Said};
use tests::lab::scenario;
use tests::pair::Pair;

fn tells(said: &Said) -> bool {
    matches!(said, Said::State { reason, .. } if reason.contains("No space") || reason.contains("full") || reason.contains("space"))
}

#[test]
fn resync_without_room() {
    scenario("resync-without-room", LIMIT, |lab| {
        let (a, b) = (lab.host("a"), lab.host("b"));
        let dir_a = a.dir.join("data");
        let dir_b = b.small_disk("disk", "ext4", 96).join("data");
        let mut pair = Pair::on(lab, a, b, dir_a, dir_b);
        pair.start();
        fs::write(pair.mounted().join("kept"), "in sync").expect("write");
        pair.lose_secondary();
        for n in 0..8 {
            fs::write(pair.mounted().join(format!("big{n}")), vec![n; 16 << 20]).expect("the primary has room");
        }
        let mark = pair.primary().mark();
        pair.secondary = Some(pair.receive().spawn());
        pair.secondary().wait_ready();
        pair.primary().wait_since(mark, "a word about the room", PATIENCE, tells);
        pair.secondary().wait_since(0, "a word about the room", PATIENCE, tells);
        fs::write(pair.mounted().join("meanwhile"), "the application goes on").expect("write");

        // Nothing in between is taken for the whole: the replica does not lead.
        let said = pair.secondary().said_since(0);
        assert!(!said.iter().any(|said| matches!(said, Said::State { data, .. } if data == "uptodate") && said.is_state("SECOND")));
        for n in 2..8 {
            fs::remove_file(pair.mounted().join(format!("big{n}"))).expect("remove");
        }
        pair.wait_in_sync();
        pair.finish();
    });
}
