//! The receiver's directory holds data that is no replica of the sender's: refused unless the
//! operator gives it up.

use crate::LIMIT;
use std::fs;
use tests::lab::scenario;
use tests::pair::Pair;

#[test]
fn unrelated_data() {
    scenario("unrelated-data", LIMIT, |lab| {
        let mut pair = Pair::prepare(lab);
        fs::write(pair.dir_a.join("mine"), "of the primary").expect("write");
        fs::write(pair.dir_b.join("theirs"), "not a replica").expect("write");
        let mut secondary = pair.receive().spawn();
        let mut primary = pair.mount().spawn();
        secondary.must_explain(&["discard-local"]);
        assert_eq!(fs::read_to_string(pair.dir_b.join("theirs")).expect("kept"), "not a replica");
        assert!(!pair.dir_b.join("mine").exists());
        secondary.kill();
        primary.kill();

        pair.secondary = Some(pair.receive().args(["--discard-local"]).spawn());
        pair.secondary().wait_ready();
        pair.primary = Some(pair.mount().spawn());
        pair.primary().wait_ready();
        pair.wait_in_sync();
        assert!(!pair.replica().join("theirs").exists());
        pair.finish();
    });
}
