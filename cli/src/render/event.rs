//! Events of a module, and where it is, in a line each.

use crate::model::Module;
use crate::output::one_line;
use cluster::module::events::{Entry, Kind};

/// For who follows an order: where, and what.
pub fn step(entry: &Entry) -> String {
    let state = if entry.state.is_empty() { String::new() } else { format!("{}  ", entry.state) };
    one_line(&format!("  {}  {state}{} [{}]", entry.node, entry.reason, entry.reason_code))
}

/// For who reads the log.
pub fn logged(entry: &Entry) -> String {
    if entry.kind == Kind::Output {
        return one_line(&format!("{}  {}  | {}", entry.time, entry.node, entry.reason));
    }
    let state = if entry.state.is_empty() { kind(entry.kind) } else { &entry.state };
    let follows = if entry.consequence.is_empty() { String::new() } else { format!(" -> {}", entry.consequence) };
    one_line(&format!("{}  {}  {state:<6}  {} [{}]{follows}", entry.time, entry.node, entry.reason, entry.reason_code))
}

fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::State => "state",
        Kind::Command => "order",
        Kind::Application => "app",
        Kind::Check => "check",
        Kind::Output => "output",
        Kind::Notice => "note",
        Kind::Other => "event",
    }
}

/// `db: PRIM on node1, SECOND on node2`
pub fn summary(module: &Module) -> String {
    let nodes: Vec<String> = module
        .nodes
        .iter()
        .map(|on| {
            let state = if on.reachable { on.state.as_str() } else { "not heard" };
            format!("{state} on {}", on.node)
        })
        .collect();
    one_line(&format!("{}: {}", module.name, nodes.join(", ")))
}
