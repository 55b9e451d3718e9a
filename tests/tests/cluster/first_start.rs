//! Two empty nodes: nobody leads until the operator names the good side; then they serve, replicate, stop and start.

use crate::{LIMIT, WORK};
use serde_json::json;
use tests::cluster::site::SOON;
use tests::cluster::{Node, Setup, Site};
use tests::lab::scenario;

#[test]
fn the_operator_names_the_good_side_once() {
    scenario("c-first", LIMIT, |lab| {
        let mut site = Site::prepare(lab, Setup::default());
        site.nodes.iter_mut().for_each(Node::start_daemon);
        site.nodes[0].order("start", json!({}));
        for node in &site.nodes {
            node.wait("waiting for the first start", SOON, |shown| shown["reason_code"] == "first_start");
        }
        site.nodes[1].order("promote", json!({ "accept": "first" }));
        site.wait_roles(1);
        let clients = site.clients("c-first");
        clients.wait_more(300, WORK);
        let notes = clients.stop();
        site.stop_everywhere();
        site.must_be_equal();
        // The name of the good side is not needed again.
        site.nodes[0].order("start", json!({}));
        // Both have everything: who asks first leads.
        let leader = site.wait_leader();
        site.wait_roles(leader);
        site.must_hold(leader, &notes);
        site.finish(&notes);
    });
}
