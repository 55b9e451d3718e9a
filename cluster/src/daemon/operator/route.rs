//! Which node something concerns, and the way there.

use super::super::node::{Handle, Node};
use super::usage;
use crate::NodeId;
use crate::net::Message;
use fsrepl::report::{Failure, FailureKind};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

/// For one request to another node: an engine there may have to end a session.
const PATIENCE: Duration = Duration::from_secs(30);

/// The module that is named.
pub fn module_word(args: &Value) -> Result<String, Failure> {
    let word = args["module"].as_str().filter(|word| !word.is_empty());
    word.map(str::to_owned).ok_or_else(|| usage("cannot do that", "no module is named", "name one; `understudy status` lists them"))
}

/// There is no such module.
pub fn unknown(node: &Node, module: &str) -> Failure {
    let known: Vec<String> = node.modules.read().keys().cloned().collect();
    let cure =
        if known.is_empty() { "make one with `understudy module create`".to_owned() } else { format!("name one of: {}", known.join(", ")) };
    Failure::new(FailureKind::Usage, format!("cannot do that with {module}"), format!("{} runs no module of that name", node.name()), cure)
}

/// The module as this node runs it.
pub fn handle(node: &Node, args: &Value) -> Result<Handle, Failure> {
    let module = module_word(args)?;
    node.module(&module).ok_or_else(|| unknown(node, &module))
}

/// A node by its name.
pub fn node_named(node: &Node, name: &str) -> Result<NodeId, Failure> {
    node.cluster.node(name).map(|found| found.id).ok_or_else(|| {
        let names: Vec<&str> = node.cluster.nodes.iter().map(|node| node.name.as_str()).collect();
        usage("cannot do that", format!("the cluster has no node {name}"), &format!("name one of: {}", names.join(", ")))
    })
}

/// Asks another node.
pub fn ask(node: &Node, to: NodeId, verb: &str, args: &Value) -> Result<Value, Failure> {
    let name = node.cluster.name_of(to);
    let what = format!("cannot ask {name}");
    let Some(client) = node.clients.get(&to) else { return Err(usage(what, "it is this node", "")) };
    let message = Message::Operator { verb: verb.to_owned(), args: args.to_string() };
    let bytes = client.call(&message.encode(), PATIENCE).map_err(|why| {
        let cure = "look whether its daemon runs and whether its addresses can be reached";
        Failure::new(FailureKind::Unreachable, what.clone(), why.to_string(), cure)
    })?;
    let odd = |why: String| Failure::new(FailureKind::Failed, what.clone(), why, "use the same version of understudy on all nodes");
    match Message::decode(&bytes).map_err(|why| odd(why.to_string()))? {
        Message::Result(text) => serde_json::from_str(&text).map_err(|why| odd(why.to_string())),
        Message::Failure { exit, what, why, cure } => Err(Failure::new(kind(exit), what, why, cure)),
        Message::Error { reason, .. } => Err(odd(reason)),
        _ => Err(odd("its answer makes no sense".into())),
    }
}

fn kind(exit: u8) -> FailureKind {
    use FailureKind::{Differs, Failed, Refused, TimedOut, Unreachable, Usage};
    [Failed, Usage, Refused, TimedOut, Differs, Unreachable].into_iter().find(|kind| kind.exit_code() == exit).unwrap_or(Failed)
}

/// On a node: this one or another.
pub fn on(node: &Arc<Node>, to: NodeId, verb: &str, args: &Value) -> Result<Value, Failure> {
    if to == node.me { super::here(node, verb, args) } else { ask(node, to, verb, args) }
}

/// Where the module serves; none: nowhere that is known.
pub fn leader(node: &Node, module: &str) -> Option<NodeId> {
    let leads = |state: &str| matches!(state, "PRIM" | "ALONE" | "UP");
    if node.board.own(module).is_some_and(|shown| leads(&shown.state)) {
        return Some(node.me);
    }
    let others = node.clients.keys().copied();
    others
        .into_iter()
        .find(|&id| node.board.other(id).is_some_and(|other| other.modules.get(module).is_some_and(|shown| leads(&shown.snapshot.state))))
}

/// To the node that is named with `node`, or here.
pub fn maybe_elsewhere(node: &Arc<Node>, verb: &str, args: &Value) -> Result<Value, Failure> {
    match args["node"].as_str() {
        Some(name) => on(node, node_named(node, name)?, verb, args),
        None => super::here(node, verb, args),
    }
}

/// Asks the engine of a module on the node that is named, else where it leads.
pub fn to_engine(node: &Arc<Node>, args: &Value) -> Result<Value, Failure> {
    let module = module_word(args)?;
    if let Some(name) = args["node"].as_str() {
        return on(node, node_named(node, name)?, "engine", args);
    }
    match leader(node, &module) {
        Some(id) => on(node, id, "engine", args),
        None => engine_here(node, args),
    }
}

/// Asks the engine of a module on this node.
pub fn engine_here(node: &Node, args: &Value) -> Result<Value, Failure> {
    let module = handle(node, args)?.module;
    let verb = args["verb"].as_str().unwrap_or("status");
    // What an engine may be asked by an operator; what decides about it is the daemon's.
    if !matches!(verb, "status" | "sync" | "estimate" | "resync" | "kept" | "kept-remove" | "verify" | "verify-look" | "verify-stop") {
        return Err(usage(format!("cannot ask the engine to {verb}"), "that is the daemon's business", ""));
    }
    let answer = super::engines::ask(node, &module, verb, &args["args"], args["directory"].as_str(), PATIENCE)?;
    Ok(json!({ "schema": 1, "node": node.name(), "answer": answer }))
}
