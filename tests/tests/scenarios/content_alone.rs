//! Only the content of a file changes while the secondary is away, after every name has long been on both disks: the
//! resync has no name to send, and must not wait for one.

use crate::LIMIT;
use serde_json::Value;
use std::fs::File;
use std::io::Write;
use std::time::Duration;
use tests::engine::{PATIENCE, command, wait_for};
use tests::lab::scenario;
use tests::pair::Pair;

/// Directories that a resync would compare, as the primary says.
fn directories(pair: &Pair) -> Option<u64> {
    let output = command(&pair.a).args(["resync", "pair", "--estimate", "--json"]).output().expect("run nsenter");
    serde_json::from_slice::<Value>(&output.stdout).ok()?["directories"].as_u64()
}

#[test]
fn only_content_changes_while_alone() {
    scenario("content-alone", LIMIT, |lab| {
        let mut pair = Pair::prepare(lab);
        pair.secondary = Some(pair.receive().spawn());
        pair.secondary().wait_ready();
        pair.primary = Some(pair.mount().env("UNDERSTUDY_TEST_CHECKPOINT", "100ms").spawn());
        pair.primary().wait_ready();
        pair.wait_in_sync();
        let path = pair.mounted().join("slot");
        std::fs::write(&path, "before").expect("write");
        // Marks go at checkpoints in which something was sent.
        let cleared = wait_for(PATIENCE, || {
            let file = File::options().write(true).open(&path).and_then(|mut file| file.write_all(b"BEFORE"));
            file.expect("write");
            std::thread::sleep(Duration::from_millis(50));
            (directories(&pair) == Some(0)).then_some(())
        });
        assert!(cleared.is_some(), "the directory stays marked: {:?}", directories(&pair));
        for round in 0..2 {
            pair.lose_secondary();
            let file = File::options().write(true).open(&path).and_then(|mut file| file.write_all(&[b'0' + round; 6]));
            file.expect("write");
            pair.secondary_returns();
        }
        pair.finish();
    });
}
