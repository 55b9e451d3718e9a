//! The host of the primary is gone at once, under load: the other one takes over. It returns as secondary, while the
//! application goes on.

use crate::{LIMIT, WORK};
use tests::cluster::{Setup, Site};
use tests::lab::scenario;

fn the_host_of_the_primary_is_gone(name: &'static str, setup: Setup) {
    scenario(name, LIMIT, move |lab| {
        let mut site = Site::in_sync(lab, setup);
        let (clients, watch) = (site.clients(name), site.watch());
        clients.wait_by("a", 300, WORK);
        watch.excuse(0);
        site.power_off(0);
        clients.wait_by("b", 300, WORK);
        let application = site.nodes[1].application().expect("the application runs");
        site.boot(0);
        watch.back(0, site.nodes[0].host.first_process());
        site.nodes[0].start_daemon();
        site.wait_roles(1);
        clients.wait_by("b", 300, WORK);
        assert_eq!(site.nodes[1].application(), Some(application), "the application was stopped by the return of the other node");
        let notes = clients.stop();
        watch.stop().must_be_one();
        site.must_hold(1, &notes);
        site.finish(&notes);
    });
}

#[test]
fn without_a_quorum() {
    the_host_of_the_primary_is_gone("c-gone", Setup::default());
}

#[test]
fn with_a_witness() {
    the_host_of_the_primary_is_gone("c-gone-witness", Setup { witness: true, ..Setup::default() });
}
