//! The host of the primary is gone at once, under load: the other one takes over. It returns as secondary, while the
//! application goes on.

use crate::stories::host_goes_and_returns;
use crate::{LIMIT, WORK};
use tests::cluster::{Setup, Site};
use tests::lab::scenario;

fn the_host_of_the_primary_is_gone(name: &'static str, setup: Setup) {
    scenario(name, LIMIT, move |lab| {
        let mut site = Site::in_sync(lab, setup);
        let (clients, watch) = (site.clients(name), site.watch());
        let application =
            host_goes_and_returns(&mut site, &clients, &watch, |site| site.nodes[1].application().expect("the application runs"));
        clients.wait_by("b", 300, WORK);
        assert_eq!(site.nodes[1].application(), Some(application), "the application was stopped by the return of the other node");
        site.judge(1, clients, Some(watch));
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
