//! The application is killed: it is started again in place, and after too many of these the other node takes over.

use crate::{LIMIT, WORK};
use tests::cluster::{Setup, Site};
use tests::lab::scenario;

#[test]
fn restarts_in_place_then_the_other_node() {
    scenario("c-app", LIMIT, |lab| {
        let site = Site::in_sync(lab, Setup { max_restarts: 1, ..Setup::default() });
        let (clients, watch) = (site.clients("c-app"), site.watch());
        clients.wait_by("a", 100, WORK);
        let engine = site.nodes[0].engine();
        site.nodes[0].kill("application");
        clients.wait_by("a", 200, WORK);
        assert_eq!(site.nodes[0].engine(), engine, "a restart in place leaves the engine alone");
        site.nodes[0].wait_phase("Prim", WORK);
        site.nodes[0].kill("application");
        clients.wait_by("b", 300, WORK);
        site.nodes[1].wait_phase("Prim", WORK);
        site.nodes[0].wait_phase("Second", WORK);
        site.judge(1, clients, Some(watch));
    });
}
