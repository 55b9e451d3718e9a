//! One of two networks between the nodes is cut: the application stays where it is, and replication comes back over the
//! other network.

use crate::{LIMIT, WORK};
use tests::cluster::{Setup, Site};
use tests::lab::scenario;

#[test]
fn nothing_moves() {
    scenario("c-networks", LIMIT, |lab| {
        let site = Site::in_sync(lab, Setup { networks: 2, ..Setup::default() });
        let (clients, watch) = (site.clients("c-networks"), site.watch());
        clients.wait_by("a", 200, WORK);
        let before = [site.nodes[0].application(), site.nodes[0].engine()];
        for place in [0, 1] {
            site.cut_between(place, true);
            clients.wait_by("a", 300, WORK);
            site.wait_roles(0);
            clients.wait_by("a", 100, WORK);
            site.cut_between(place, false);
            site.nodes[0].wait("hearing over both networks", WORK, |_| site.networks_up(0));
        }
        assert_eq!(before, [site.nodes[0].application(), site.nodes[0].engine()]);
        assert_eq!(clients.tally().by.len(), 1, "only the primary acknowledged");
        site.judge(0, clients, Some(watch));
    });
}
