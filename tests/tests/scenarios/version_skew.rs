//! Two versions that do not understand each other: told, and nothing is replicated.

use crate::LIMIT;
use std::fs;
use tests::lab::scenario;
use tests::pair::Pair;

#[test]
fn version_skew() {
    scenario("version-skew", LIMIT, |lab| {
        let pair = Pair::prepare(lab);
        fs::write(pair.dir_a.join("file"), "must not travel").expect("write");
        let secondary = pair.receive().env("UNDERSTUDY_TEST_PROTOCOL_VERSION", "9999").spawn();
        secondary.wait_ready();
        let mut primary = pair.mount().spawn();
        primary.must_explain(&["version"]);
        assert!(!pair.dir_b.join("file").exists());
    });
}
