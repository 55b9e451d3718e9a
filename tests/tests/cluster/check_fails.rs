//! A check fails that wants the other node to serve.

use crate::stories::moves_to_the_other;
use std::fs;
use tests::cluster::Setup;

#[test]
fn the_other_node_serves() {
    moves_to_the_other("c-check", Setup { check: Some("failover"), ..Setup::default() }, |lab, _| {
        fs::write(lab.dir.join("a.sick"), "").expect("make it sick");
    });
}
