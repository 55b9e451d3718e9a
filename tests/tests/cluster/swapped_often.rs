//! Planned switchovers one after the other: each time the pair is in sync again and says that it can fail over, so that the
//! next one is not refused.

use crate::WORK;
use serde_json::json;
use std::time::Duration;
use tests::cluster::{Setup, Site};
use tests::lab::scenario;

const SWAPS: usize = 20;

fn swaps(name: &'static str, setup: Setup) {
    scenario(name, Duration::from_secs(600), move |lab| {
        let site = Site::in_sync(lab, setup);
        let (clients, watch) = (site.clients(name), site.watch());
        clients.wait_by("a", 50, WORK);
        for swap in 0..SWAPS {
            let next = 1 - swap % 2;
            site.nodes[next].order("swap", json!({}));
            clients.wait_by(site.nodes[next].name, 50, WORK);
            site.wait_roles(next);
        }
        site.judge(0, clients, Some(watch));
    });
}

#[test]
fn without_a_quorum() {
    swaps("c-often", Setup::default());
}

#[test]
fn with_a_witness() {
    swaps("c-often-witness", Setup { witness: true, ..Setup::default() });
}
