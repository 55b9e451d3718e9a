//! The secondary is gone: the application goes on alone, and the secondary gets what it missed when it returns.

use crate::{LIMIT, WORK};
use tests::cluster::{Setup, Site};
use tests::lab::scenario;

#[test]
fn the_application_goes_on() {
    scenario("c-second", LIMIT, |lab| {
        let mut site = Site::in_sync(lab, Setup::default());
        let (clients, watch) = (site.clients("c-second"), site.watch());
        clients.wait_by("a", 200, WORK);
        let application = site.nodes[0].application();
        site.nodes[1].kill("engine");
        clients.wait_by("a", 200, WORK);
        site.wait_roles(0);
        watch.excuse(1);
        site.power_off(1);
        site.nodes[0].wait_phase("Alone", WORK);
        clients.wait_by("a", 300, WORK);
        site.boot(1);
        watch.back(1, site.nodes[1].host.first_process());
        site.nodes[1].start_daemon();
        site.wait_roles(0);
        assert_eq!(site.nodes[0].application(), application);
        assert_eq!(clients.tally().by.len(), 1, "only the primary acknowledged");
        site.judge(0, clients, Some(watch));
    });
}
