//! The control of the judge of the virtual address: an address that is on both hosts must be found.

use crate::LIMIT;
use tests::cluster::site::SOON;
use tests::cluster::{Setup, Site, holder};
use tests::engine::wait_for;
use tests::lab::scenario;

#[test]
fn an_address_on_both_hosts_is_found() {
    scenario("c-holder", LIMIT, |lab| {
        let site = Site::prepare(lab, Setup::default());
        let address = site.virtual_address();
        let alone = site.watch();
        let put = |which: usize, verb: &str| {
            let node = &site.nodes[which];
            node.host.run(["ip", "address", verb, &format!("{address}/24"), "dev", &node.interface(0)]);
        };
        put(0, "add");
        assert!(holder::has(site.nodes[0].host.first_process(), address));
        assert!(wait_for(SOON, || (alone.looks() > 20).then_some(())).is_some());
        alone.stop().must_be_one();
        let both = site.watch();
        put(1, "add");
        assert!(wait_for(SOON, || both.has_found().then_some(())).is_some(), "the judge sees nothing");
        put(1, "del");
        assert!(!both.stop().both.is_empty());
    });
}
