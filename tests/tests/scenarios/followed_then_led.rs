//! What a node was sent while it followed, and had in memory only, when it leads: the former primary's marks of it must
//! not end before it is on this node's disk.

use super::LIMIT;
use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use tests::disk::{Disk, chosen_kind};
use tests::engine::{PATIENCE, Said};
use tests::history::Node;
use tests::lab::scenario;
use tests::pair::{PORT, make_key};
use tests::tree::{Ignore, differences};

fn in_sync(lead: &Node, other: &Node) {
    other.engine().wait_state("SECOND", "uptodate");
    lead.engine().wait_state("PRIM", "uptodate");
}

/// The roles change, the pair is in sync again, and the new primary loses its power before its first checkpoint.
#[test]
fn what_was_followed_is_flushed_before_the_former_primary_forgets_it() {
    scenario("followed-then-led", LIMIT, |lab| {
        let hosts = ["a", "b"].map(|name| lab.host(name));
        let link = lab.link(&hosts[0], &hosts[1]);
        let key = make_key(&lab.dir.join("pair.key"), 1);
        let [a, b] = hosts;
        let [disk_a, disk_b] = [&a, &b].map(|host| Disk::new(host, &chosen_kind(), 256));
        let mut a = Node::new(a, disk_a, link.first_socket(PORT), &key);
        let mut b = Node::new(b, disk_b, link.second_socket(PORT), &key);
        // There from the first copy on: both nodes know it, and none has to mark it because it is new.
        fs::write(a.view().join("file"), "").expect("make the file");
        b.engine = Some(b.receive().spawn());
        b.engine().wait_ready();
        a.engine = Some(a.mount(b.address).spawn());
        a.engine().wait_ready();
        in_sync(&a, &b);
        a.sync();

        let file = OpenOptions::new().write(true).open(a.view().join("file")).expect("open the file");
        file.write_all_at(&[7; 59_191], 0).expect("write");
        a.kill();
        b.kill();
        drop(file);
        a.engine = Some(a.receive().spawn());
        a.engine().wait_ready();
        b.engine = Some(b.mount(a.address).env("UNDERSTUDY_TEST_FAIL", "in-sync-before-journal:1").spawn());
        b.engine.as_mut().expect("it was started").wait_exit(PATIENCE);
        // It was in sync; that the primary is gone it may have noticed as well.
        a.engine().wait_since(0, "in sync", PATIENCE, |said| matches!(said, Said::State { reason_code, .. } if reason_code == "in_sync"));
        b.kill();
        let image = b.lose_power();
        b.boot(image);
        a.kill();

        b.engine = Some(b.receive().spawn());
        b.engine().wait_ready();
        a.engine = Some(a.mount(b.address).spawn());
        a.engine().wait_ready();
        in_sync(&a, &b);
        a.sync();
        let found = differences(&a.view(), &b.view(), &Ignore::default());
        assert!(found.is_empty(), "in sync, and they differ:\n{}", found.join("\n"));
    });
}
