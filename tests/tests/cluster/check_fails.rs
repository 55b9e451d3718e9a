//! A check fails that wants the other node to serve.

use crate::{LIMIT, WORK};
use tests::cluster::{Setup, Site};
use tests::lab::scenario;

use std::fs;

#[test]
fn the_other_node_serves() {
    scenario("c-check", LIMIT, |lab| {
        let site = Site::in_sync(lab, Setup { check: Some("failover"), ..Setup::default() });
        let (clients, watch) = (site.clients("c-check"), site.watch());
        clients.wait_by("a", 200, WORK);
        fs::write(lab.dir.join("a.sick"), "").expect("make it sick");
        clients.wait_by("b", 300, WORK);
        site.wait_roles(1);
        let notes = clients.stop();
        watch.stop().must_be_one();
        site.must_hold(1, &notes);
        site.finish(&notes);
    });
}
