//! Planned switchover under load, there and back.

use crate::{LIMIT, WORK};
use serde_json::json;
use tests::cluster::{Setup, Site};
use tests::lab::scenario;

#[test]
fn swap_under_load_loses_nothing() {
    scenario("c-swap", LIMIT, |lab| {
        let site = Site::in_sync(lab, Setup::default());
        let (clients, watch) = (site.clients("c-swap"), site.watch());
        clients.wait_by("a", 300, WORK);
        // From the node that does not lead: it goes where it belongs.
        site.nodes[1].order("swap", json!({}));
        clients.wait_by("b", 300, WORK);
        site.wait_roles(1);
        site.nodes[1].order("swap", json!({}));
        clients.wait_by("a", 300, WORK);
        site.wait_roles(0);
        site.judge(0, clients, Some(watch));
    });
}
