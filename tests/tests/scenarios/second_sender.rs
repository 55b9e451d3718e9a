//! A second primary wants to send to a secondary that has one: refused, and the first is not disturbed.

use crate::LIMIT;
use std::fs;
use tests::engine::Start;
use tests::lab::scenario;
use tests::pair::{PORT, Pair};

#[test]
fn second_sender() {
    scenario("second-sender", LIMIT, |lab| {
        let mut pair = Pair::prepare(lab);
        // One address for both senders: the secondary listens on all of its own.
        let listen = format!("0.0.0.0:{PORT}");
        let receive = Start::new(&pair.b, "receive", &pair.dir_b).args(["--listen", &listen, "--name", "pair"]);
        pair.secondary = Some(receive.args([std::path::Path::new("--key"), &pair.key]).spawn());
        pair.secondary().wait_ready();
        pair.primary = Some(pair.mount().spawn());
        pair.primary().wait_ready();
        pair.wait_in_sync();
        let marks = (pair.primary().mark(), pair.secondary().mark());

        let c = lab.host("c");
        let link = lab.link(&c, &pair.b);
        let dir = c.dir.join("data");
        fs::create_dir(&dir).expect("create");
        fs::write(dir.join("foreign"), "of another sender").expect("write");
        let to = link.second_socket(PORT).to_string();
        let mount = Start::new(&c, "mount", &dir).args(["--to", &to, "--name", "pair"]);
        let mut second = mount.args([std::path::Path::new("--key"), &pair.key]).spawn();
        second.must_explain(&["sender", "another", "already", "primary", "unrelated"]);

        fs::write(pair.mounted().join("file"), "of the first sender").expect("write");
        pair.must_be_equal();
        assert_eq!(pair.primary().said_since(marks.0), [], "the first sender was disturbed");
        assert_eq!(pair.secondary().said_since(marks.1), [], "the secondary was disturbed");
        second.kill();
        pair.finish();
    });
}
