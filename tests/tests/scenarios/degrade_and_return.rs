//! Start alone, be joined, lose the secondary, change everything, be joined again.

use crate::LIMIT;
use std::fs;
use tests::files::{pattern, varied_tree};
use tests::lab::scenario;
use tests::pair::Pair;

#[test]
fn degrade_and_return() {
    scenario("degrade", LIMIT, |lab| {
        let mut pair = Pair::prepare(lab);
        pair.primary = Some(pair.mount().args(["--alone"]).spawn());
        pair.primary().wait_ready();
        pair.primary().wait_state("ALONE", "uptodate");
        fs::create_dir(pair.mounted().join("tree")).expect("create");
        varied_tree(&pair.mounted().join("tree"));
        pair.secondary_returns();
        pair.must_be_equal();

        pair.lose_secondary();
        let root = pair.mounted();
        fs::rename(root.join("tree"), root.join("moved")).expect("rename");
        fs::remove_file(root.join("moved/plain")).expect("remove");
        fs::create_dir(root.join("moved/plain")).expect("a directory where a file was");
        fs::hard_link(root.join("moved/xattr"), root.join("moved/empty/second")).expect("link");
        fs::write(root.join("moved/big"), pattern(300_000)).expect("rewrite");
        varied_tree(&root.join("again"));
        pair.secondary_returns();
        pair.finish();
    });
}

#[test]
fn without_alone_the_primary_waits() {
    scenario("waits", LIMIT, |lab| {
        let mut pair = Pair::prepare(lab);
        pair.primary = Some(pair.mount().spawn());
        pair.primary().wait_state("WAIT", "uptodate");
        let ready = pair.primary().said_since(0).contains(&tests::engine::Said::Ready);
        assert!(!ready, "ready without a secondary");
        pair.secondary = Some(pair.receive().spawn());
        pair.primary().wait_ready();
        pair.wait_in_sync();
        pair.finish();
    });
}
