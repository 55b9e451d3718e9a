//! An address that a script moves: it is called where the module leads, and when it does so no more; if it fails, the other
//! node leads.

use crate::LIMIT;
use serde_json::json;
use std::fs;
use tests::cluster::{SOON, Setup, Site};
use tests::engine::wait_for;
use tests::lab::scenario;

#[test]
fn the_script_is_called_where_the_module_leads() {
    scenario("c-scripted", LIMIT, |lab| {
        let site = Site::in_sync(lab, Setup { scripted: true, max_restarts: 0, ..Setup::default() });
        let address = format!("{}/24", site.virtual_address());
        let moves = || fs::read_to_string(lab.dir.join("moves")).unwrap_or_default();
        let moved = |node: &str, word: &str| {
            let line = format!("{node} {word} {address}");
            assert!(wait_for(SOON, || moves().lines().any(|told| told == line).then_some(())).is_some(), "no `{line}` in\n{}", moves());
        };
        moved("a", "add");
        site.nodes[1].order("swap", json!({}));
        site.wait_roles(1);
        moved("a", "remove");
        moved("b", "add");
        // The provider refuses `a`: it does not lead, as with an application that does not start.
        fs::write(lab.dir.join("a.stuck"), "").expect("write a file");
        fs::remove_file(lab.dir.join("moves")).expect("remove");
        site.nodes[1].order("swap", json!({}));
        moved("a", "add");
        site.nodes[0].wait_state("STOP", SOON);
        fs::remove_file(lab.dir.join("a.stuck")).expect("remove");
        fs::remove_file(lab.dir.join("moves")).expect("remove");
        site.nodes[0].order_here("reset");
        site.nodes[0].order_here("start");
        site.wait_roles(0);
        moved("a", "add");
    });
}
