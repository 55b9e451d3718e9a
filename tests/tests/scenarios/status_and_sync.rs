//! `status` and `sync` reach a running engine by its name, in words and in JSON.

use crate::LIMIT;
use serde_json::Value;
use std::fs;
use tests::engine::command;
use tests::lab::scenario;
use tests::pair::Pair;

#[test]
fn status_and_sync() {
    scenario("status", LIMIT, |lab| {
        let pair = Pair::in_sync(lab);
        fs::write(pair.mounted().join("file"), "content").expect("write");
        for (host, state) in [(&pair.a, "PRIM"), (&pair.b, "SECOND")] {
            let output = command(host).args(["status", "pair", "--json"]).output().expect("run");
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            let status: Value = serde_json::from_slice(&output.stdout).expect("status --json is JSON");
            assert_eq!(status["schema"], 1, "{status}");
            let module = if status["modules"].is_array() { &status["modules"][0] } else { &status };
            assert_eq!(module["state"], state, "{status}");
            assert_eq!(module["data"], "uptodate", "{status}");
            assert_eq!(module["reason_code"], "in_sync", "{status}");
            let words = command(host).args(["status"]).output().expect("run");
            assert!(String::from_utf8_lossy(&words.stdout).contains(state));
        }
        pair.sync();
        let unknown = command(&pair.a).args(["sync", "nobody"]).output().expect("run");
        assert_eq!(unknown.status.code(), Some(6));
        assert_eq!(String::from_utf8_lossy(&unknown.stderr).lines().count(), 1, "one line, not more");
        pair.finish();
    });
}
