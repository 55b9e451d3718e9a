//! What the command line asks for: answered here, or carried to the node that it concerns.

mod commands;
mod config;
mod engines;
mod route;
mod status;
mod support;

use super::node::Node;
use fsrepl::report::{Failure, FailureKind};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

pub(super) use self::usage as usage_error;
pub(super) use engines::ask as ask_engines;
pub(super) use route::{module_word as route_module, unknown as unknown_module};
pub use support::redact;

/// A refusal in the present state.
pub(super) fn refused(what: impl Into<String>, why: impl Into<String>, cure: &str) -> Failure {
    Failure::new(FailureKind::Refused, what, why, cure)
}

/// A word that makes no sense.
pub(super) fn usage(what: impl Into<String>, why: impl Into<String>, cure: &str) -> Failure {
    Failure::new(FailureKind::Usage, what, why, cure)
}

/// From the local command line: goes where it belongs.
pub fn answer(node: &Arc<Node>, verb: &str, args: &Value) -> Result<Value, Failure> {
    wait_loaded(node, verb)?;
    match verb {
        "start" | "stop" | "restart" | "swap" | "promote" | "failover" | "checks" | "reset" | "drain" | "guard" => {
            commands::everywhere(node, verb, args)
        }
        "status" => Ok(status::whole(node, args["module"].as_str())),
        "engine" => route::to_engine(node, args),
        "put-back" => route::maybe_elsewhere(node, verb, args),
        "log" | "support" => route::maybe_elsewhere(node, verb, args),
        "config-diff" => config::diff(node, args),
        "config-push" => config::push(node, args),
        "config-facts" => config::compare(node),
        other => here(node, other, args),
    }
}

/// A daemon answers before it has loaded its modules, so that a second one finds the socket taken; what concerns modules waits.
fn wait_loaded(node: &Node, verb: &str) -> Result<(), Failure> {
    if verb == "ping" || node.wait_loaded() {
        return Ok(());
    }
    Err(refused(format!("cannot {verb}"), format!("the daemon of {} is still starting", node.name()), "try again in a few seconds"))
}

/// On this node, whoever asks.
pub fn here(node: &Arc<Node>, verb: &str, args: &Value) -> Result<Value, Failure> {
    wait_loaded(node, verb)?;
    match verb {
        "start" | "stop" | "stop-all" | "restart" | "swap" | "promote" | "failover" | "checks" | "reset" | "drain" | "guard" => {
            commands::here(node, verb, args)
        }
        "status" => Ok(status::whole(node, args["module"].as_str())),
        "engine" => route::engine_here(node, args),
        "put-back" => commands::put_back(node, args),
        "log" => log(node, args),
        "reload" => config::reload(node),
        "config-pack" => config::pack(node),
        "config-unpack" => config::unpack(node, args),
        "config-facts-here" => config::facts(node),
        "support" => support::collect(node),
        "whose" => super::solo::whose(node, args),
        "shutdown" => commands::shutdown(node),
        "ping" => Ok(json!({ "schema": 1, "node": node.name(), "version": node.version })),
        other => Err(usage(
            format!("cannot answer `{other}`"),
            "this daemon does not know it",
            "use the same version of understudy on all nodes",
        )),
    }
}

/// Events of a module on this node: the last `count`, or those after number `after`, waited for at most `wait_ms`.
fn log(node: &Node, args: &Value) -> Result<Value, Failure> {
    let module = route::module_word(args)?;
    let Some(log) = node.board.log(&module) else {
        return Err(route::unknown(node, &module));
    };
    let count = args["count"].as_u64().unwrap_or(50).min(1000) as usize;
    let entries = match args["after"].as_u64() {
        Some(after) => {
            let patience = Duration::from_millis(args["wait_ms"].as_u64().unwrap_or(0)).min(Duration::from_secs(30));
            log.follow(after, count, patience)
        }
        None => log.tail(count).map_err(|why| Failure::new(FailureKind::Failed, "cannot read the log", why.to_string(), ""))?,
    };
    Ok(json!({ "schema": 1, "position": log.position(), "events": entries }))
}
