//! The primary's engine is killed and the host lives: the other node takes over.

use crate::{LIMIT, WORK};
use tests::cluster::{Setup, Site};
use tests::lab::scenario;

#[test]
fn the_other_node_takes_over() {
    scenario("c-engine", LIMIT, |lab| {
        let site = Site::in_sync(lab, Setup::default());
        let (clients, watch) = (site.clients("c-engine"), site.watch());
        clients.wait_by("a", 300, WORK);
        site.nodes[0].kill("engine");
        clients.wait_by("b", 300, WORK);
        site.wait_roles(1);
        let notes = clients.stop();
        watch.stop().must_be_one();
        site.must_hold(1, &notes);
        site.finish(&notes);
    });
}
