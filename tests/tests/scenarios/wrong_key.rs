//! Two different keys: both sides say so and nothing is replicated.

use crate::LIMIT;
use std::fs;
use tests::lab::scenario;
use tests::pair::{Pair, make_key};

#[test]
fn wrong_key() {
    scenario("wrong-key", LIMIT, |lab| {
        let mut pair = Pair::prepare(lab);
        fs::write(pair.dir_a.join("secret"), "must not travel").expect("write");
        let mut secondary = pair.receive().spawn();
        secondary.wait_ready();
        pair.key = make_key(&lab.dir.join("other.key"), 2);
        let mut primary = pair.mount().spawn();
        primary.must_explain(&["key"]);
        secondary.must_explain(&["key"]);
        assert!(!pair.dir_b.join("secret").exists());
        assert!(secondary.is_running(), "a stranger ended the secondary");
    });
}

#[test]
fn a_key_that_others_can_read_is_refused() {
    scenario("open-key", LIMIT, |lab| {
        let pair = Pair::prepare(lab);
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o640);
        fs::set_permissions(&pair.key, mode).expect("chmod");
        let mut primary = pair.mount().spawn();
        let status = primary.wait_exit(tests::engine::PATIENCE);
        assert!(matches!(status.code(), Some(2 | 3)), "{status}");
        assert!(primary.stderr().contains("0600") || primary.stderr().contains("chmod"), "{}", primary.stderr());
    });
}
