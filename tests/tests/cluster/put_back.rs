//! The primary's host is gone for good in the middle of a resync. The node that is left is no use as it is: an operator puts
//! back what it was before, and it serves that.

use crate::LIMIT;
use serde_json::json;
use std::fs;
use std::path::Path;
use tests::cluster::site::SOON;
use tests::cluster::{MODULE, Setup, Site};
use tests::files::{copy_tree, pattern};
use tests::lab::scenario;
use tests::tree::{Ignore, differences};

const FILES: usize = 16;
const SIZE: usize = 1 << 20;

fn equal(left: &Path, right: &Path) {
    let found = differences(left, right, &Ignore::default());
    assert!(found.is_empty(), "not what it was:\n{}", found.join("\n"));
}

#[test]
fn what_was_before_the_resync_serves() {
    scenario("c-put-back", LIMIT, |lab| {
        let setup = Setup { resync_max_rate: Some("1MiB/s"), ..Setup::default() };
        let mut site = Site::in_sync(lab, setup);
        let mine = site.nodes[0].seen().join("mine");
        fs::create_dir(&mine).expect("mkdir");
        for n in 0..FILES {
            fs::write(mine.join(format!("file {n}")), pattern(SIZE)).expect("write");
        }
        site.nodes[1].order_here("stop");
        site.nodes[1].wait_state("STOP", SOON);
        site.nodes[0].wait_state("ALONE", SOON);
        for n in 0..FILES {
            fs::write(mine.join(format!("file {n}")), vec![n as u8; SIZE]).expect("write");
            fs::rename(mine.join(format!("file {n}")), mine.join(format!("renamed {n}"))).expect("rename");
        }
        let before = lab.dir.join("before");
        copy_tree(&site.nodes[1].bare(), &before);
        site.nodes[1].order_here("start");
        site.nodes[1].wait("caught in a resync", SOON, |shown| shown["consistent"]["bytes"].as_u64().is_some_and(|bytes| bytes > 2 << 20));
        site.power_off(0);
        let b = &site.nodes[1];
        b.wait("left alone with half a copy", SOON, |shown| shown["phase"] == "Waiting" && shown["data"] == "inconsistent");
        assert_eq!(b.shown()["consistent"]["state"], "kept", "{:#}", b.shown());
        b.ask("put-back", &json!({ "module": MODULE })).expect("it can be put back");
        b.wait("outdated", SOON, |shown| shown["data"] == "outdated" && shown["consistent"].is_null());
        equal(&before, &b.bare());
        // Not without a word.
        assert_eq!(b.shown()["phase"], "Waiting");
        b.order("promote", json!({ "node": "b", "accept": "outdated" }));
        b.wait_state("ALONE", SOON);
        equal(&before.join("mine"), &b.seen().join("mine"));
        b.order_here("stop");
        b.wait_state("STOP", SOON);
    });
}
