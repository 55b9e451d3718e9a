//! Everything on the primary's host stands still for long, and wakes after the other node took over: nothing more is
//! acknowledged there, and its address goes away.

use crate::{LIMIT, WORK};
use tests::cluster::{Setup, Site};
use tests::lab::scenario;

use std::time::Duration;
use tests::cluster::client::once;
use tests::cluster::site::THREADS;
use tests::cluster::till::Order;
use tests::cluster::{Node, holder};
use tests::engine::wait_for;
use tests::ledger::Register;

#[test]
fn a_primary_that_wakes_late_acknowledges_nothing() {
    scenario("c-paused", LIMIT, |lab| {
        let site = Site::in_sync(lab, Setup { witness: true, ..Setup::default() });
        let (clients, watch) = (site.clients("c-paused"), site.watch());
        clients.wait_by("a", 200, WORK);
        watch.excuse(0);
        site.nodes[0].freeze();
        clients.wait_by("b", 200, WORK);
        // A client of its own that was late as well: it must not hear a yes from the one that wakes.
        let order = Order { number: 1, register: Register::Log(THREADS), version: 1, removes: false, sync: false };
        let (hub, own) = (site.hub.first_process(), site.own_socket(0));
        let late = std::thread::spawn(move || {
            (0..60)
                .filter_map(|_| {
                    let answer = once(hub, own, order);
                    std::thread::sleep(Duration::from_millis(20));
                    answer.ok()
                })
                .next()
        });
        site.nodes[0].thaw();
        assert_eq!(late.join().expect("asking does not panic"), None, "acknowledged after the other node took over");
        let gone = || (!holder::has(site.nodes[0].host.first_process(), site.virtual_address())).then_some(());
        assert!(wait_for(WORK, gone).is_some(), "the address is still there");
        watch.back(0, site.nodes[0].host.first_process());
        site.wait_roles(1);
        clients.wait_by("b", 200, WORK);
        let notes = clients.stop();
        watch.stop().must_be_one();
        site.must_hold(1, &notes);
        site.nodes.iter().for_each(|node: &Node| assert!(node.daemon().is_some(), "{}: its daemon is gone", node.name));
        site.finish(&notes);
    });
}
