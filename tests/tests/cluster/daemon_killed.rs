//! Daemons end and start anew in the middle of load: engine, application and address stay, and are found again.

use crate::{LIMIT, WORK};
use tests::cluster::{Setup, Site};
use tests::lab::scenario;

#[test]
fn engine_and_application_stay() {
    scenario("c-daemon", LIMIT, |lab| {
        let mut site = Site::in_sync(lab, Setup::default());
        let (clients, watch) = (site.clients("c-daemon"), site.watch());
        clients.wait_by("a", 200, WORK);
        let before = [site.nodes[0].engine(), site.nodes[0].application(), site.nodes[1].engine()];
        site.nodes[0].kill_daemon();
        clients.wait_by("a", 200, WORK);
        site.nodes[0].start_daemon();
        site.wait_roles(0);
        clients.wait_by("a", 200, WORK);
        // In order, as an upgrade does; the secondary's as well.
        site.nodes[0].end_daemon();
        site.nodes[1].end_daemon();
        clients.wait_by("a", 200, WORK);
        site.nodes[0].start_daemon();
        site.nodes[1].start_daemon();
        site.wait_roles(0);
        clients.wait_by("a", 200, WORK);
        assert_eq!(before, [site.nodes[0].engine(), site.nodes[0].application(), site.nodes[1].engine()]);
        // What was found again can still be handed over.
        site.nodes[0].order("swap", serde_json::json!({}));
        clients.wait_by("b", 200, WORK);
        site.wait_roles(1);
        site.judge(1, clients, Some(watch));
    });
}
