//! No quorum, and the nodes are isolated from each other: both go on. When they meet again one gives way by rule, and what
//! only it had is kept.

use crate::{LIMIT, WORK};
use std::time::Duration;
use tests::cluster::client::Clients;
use tests::cluster::site::SOON;
use tests::cluster::{Setup, Site};
use tests::lab::scenario;
use tests::ledger::{check_final, read_all};
use tests::rng::seed;

#[test]
fn both_go_on_and_are_healed() {
    scenario("c-isolated", LIMIT, |lab| {
        let site = Site::in_sync(lab, Setup::default());
        let hub = site.hub.first_process();
        let first = Clients::numbered(hub, site.own_socket(0), 0, 1, seed("c-isolated"));
        first.wait_by("a", 200, WORK);
        site.cut_between(0, true);
        site.nodes[0].wait_phase("Alone", SOON);
        site.nodes[1].wait_phase("Alone", SOON);
        let second = Clients::numbered(hub, site.own_socket(1), 1, 1, seed("c-isolated"));
        second.wait_by("b", 200, WORK);
        first.wait_by("a", 200, WORK);
        let lost = second.stop();
        assert!(!lost.is_empty());
        site.cut_between(0, false);
        // The one that led before goes on.
        site.wait_roles(0);
        first.wait_by("a", 100, WORK);
        let notes = first.stop();
        check_final(&notes, &read_all(&site.nodes[0].seen(), 1)).must_be_clean();
        let kept = site.nodes[1]
            .wait("showing what is kept", Duration::from_secs(10), |shown| shown["kept"].as_array().is_some_and(|kept| !kept.is_empty()));
        assert!(kept["kept"][0]["id"].is_string() || kept["kept"][0]["id"].is_number(), "{}", kept["kept"]);
        site.finish(&notes);
    });
}
