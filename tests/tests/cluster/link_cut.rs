//! The link between the nodes is cut, and both reach the witness: the application stays where it is.

use crate::{LIMIT, WORK};
use tests::cluster::{Setup, Site};
use tests::lab::scenario;

fn the_application_stays(name: &'static str, cut: fn(&Site, bool)) {
    scenario(name, LIMIT, move |lab| {
        let site = Site::in_sync(lab, Setup { witness: true, ..Setup::default() });
        let (clients, watch) = (site.clients(name), site.watch());
        clients.wait_by("a", 200, WORK);
        let application = site.nodes[0].application();
        cut(&site, true);
        site.nodes[0].wait_phase("Alone", WORK);
        clients.wait_by("a", 300, WORK);
        // The other one knows that it may not.
        site.nodes[1].wait_state("WAIT", WORK);
        cut(&site, false);
        site.wait_roles(0);
        clients.wait_by("a", 200, WORK);
        assert_eq!(site.nodes[0].application(), application);
        assert_eq!(clients.tally().by.len(), 1, "only the primary acknowledged");
        site.judge(0, clients, Some(watch));
    });
}

#[test]
fn both_ways() {
    the_application_stays("c-cut", |site, cut| site.cut_between(0, cut));
}

/// The secondary hears nothing, and is heard: what it says is no reason to do anything, and neither may it.
#[test]
fn one_way() {
    the_application_stays("c-deaf", |site, cut| site.deafen(1, 0, cut));
}
