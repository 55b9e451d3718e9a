//! The primary's engine is killed and the host lives: the other node takes over.

use crate::stories::moves_to_the_other;
use tests::cluster::Setup;

#[test]
fn the_other_node_takes_over() {
    moves_to_the_other("c-engine", Setup::default(), |_, site| site.nodes[0].kill("engine"));
}
