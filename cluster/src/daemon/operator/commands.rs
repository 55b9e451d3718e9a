//! Orders to modules.

use super::super::mirror::Input;
use super::super::node::{Handle, Node};
use super::{refused, route, usage};
use crate::NodeId;
use crate::config::ModuleKind;
use crate::failover::{Accept, Command};
use crossbeam::channel::bounded;
use fsrepl::report::{Failure, FailureKind};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

/// A module's thread may be ending a session when it is asked.
const PATIENCE: Duration = Duration::from_secs(30);

/// Where an order goes.
enum Target {
    All,
    One(NodeId),
}

/// Finds the nodes that an order concerns, and gives it to them.
pub fn everywhere(node: &Arc<Node>, verb: &str, args: &Value) -> Result<Value, Failure> {
    let handle = route::handle(node, args)?;
    let module = &handle.module.name;
    let named = args["node"].as_str().map(|name| route::node_named(node, name)).transpose()?;
    if let Some(id) = named.filter(|id| !handle.module.nodes.contains(id)) {
        return Err(usage(
            format!("cannot {verb} {module}"),
            format!("it does not run on {}", node.cluster.name_of(id)),
            "name one of its nodes",
        ));
    }
    let target = match (verb, named) {
        (_, Some(id)) => Target::One(id),
        ("start" | "stop" | "failover" | "checks" | "reset" | "guard", None) => Target::All,
        ("promote", None) => Target::One(node.me),
        ("restart" | "swap", None) => match route::leader(node, module) {
            Some(id) => Target::One(id),
            None => return Err(refused(format!("cannot {verb} {module}"), "it serves on no node", "see `understudy status`")),
        },
        _ => return Err(usage(format!("cannot {verb} {module}"), "no node is named", "name one with --node")),
    };
    match target {
        Target::One(id) => route::on(node, id, verb, args),
        Target::All => all(node, &handle, verb, args),
    }
}

fn all(node: &Arc<Node>, handle: &Handle, verb: &str, args: &Value) -> Result<Value, Failure> {
    let mirror = handle.module.kind == ModuleKind::Mirror;
    // Both know that the other one stops as well: nobody takes over.
    let verb = if verb == "stop" && mirror { "stop-all" } else { verb };
    let (mut nodes, mut follows) = (Vec::new(), Vec::new());
    let mut failure = None;
    for &id in &handle.module.nodes {
        match route::on(node, id, verb, args) {
            Ok(answer) => {
                nodes.push(node.cluster.name_of(id).to_owned());
                follows.push(json!({ "node": node.cluster.name_of(id), "follows": answer["follows"] }));
            }
            Err(why) => failure = Some((node.cluster.name_of(id).to_owned(), why)),
        }
    }
    match failure {
        Some((name, why)) if nodes.is_empty() => Err(Failure { what: format!("{} ({name})", why.what), ..why }),
        failure => {
            let failed = failure.map(|(name, why)| json!({ "node": name, "error": why.to_string() }));
            Ok(json!({ "schema": 1, "nodes": nodes, "follows": follows, "failed": failed }))
        }
    }
}

/// An order to a module on this node.
pub fn here(node: &Arc<Node>, verb: &str, args: &Value) -> Result<Value, Failure> {
    let handle = route::handle(node, args)?;
    let module = handle.module.name.clone();
    if verb == "checks" {
        let on = args["on"].as_bool().unwrap_or(true);
        node.board.wish(&module, |desired| desired.checks = on);
        let _ = handle.inputs.send(Input::Checks(on));
        return Ok(json!({ "schema": 1, "checks": on }));
    }
    if verb == "drain" {
        let drained = args["on"].as_bool().unwrap_or(true);
        node.board.wish(&module, |desired| desired.drained = drained);
        let _ = handle.inputs.send(Input::Drain(drained));
        return Ok(json!({ "schema": 1, "drained": drained }));
    }
    if verb == "guard" {
        let on = args["on"].as_bool().unwrap_or(true);
        let stopped = node.board.own(&module).is_some_and(|shown| shown.state == "STOP");
        if !on && !stopped {
            return Err(refused(
                format!("cannot open the directories of {module}"),
                "the module is not stopped",
                "stop it on this node first",
            ));
        }
        node.board.wish(&module, |desired| desired.guard = on);
        let _ = handle.inputs.send(Input::Guard(on));
        return Ok(json!({ "schema": 1, "guard": on }));
    }
    let command = command(verb, args)?;
    let (sender, answered) = bounded(1);
    let input = if args["dry_run"] == true { Input::Try(command, sender) } else { Input::Command(command, sender) };
    let _ = handle.inputs.send(input);
    match answered.recv_timeout(PATIENCE) {
        Ok(Ok(words)) => Ok(json!({ "schema": 1, "node": node.name(), "follows": words })),
        Ok(Err(why)) => Err(refused(format!("cannot {} {module}", verb.trim_end_matches("-all")), why, "see `understudy status`")),
        Err(_) => {
            let why = "the module's thread is busy";
            Err(Failure::new(FailureKind::TimedOut, format!("cannot {verb} {module}"), why, "try again, and look into `understudy log`"))
        }
    }
}

/// Puts the state from before an unfinished resync of a module on this node back. It takes as long as what the resync had
/// changed by then: who does not wait so long looks into the status.
pub fn put_back(node: &Arc<Node>, args: &Value) -> Result<Value, Failure> {
    let handle = route::handle(node, args)?;
    let module = &handle.module.name;
    let what = format!("cannot put the last consistent state of {module} back");
    if handle.module.kind != ModuleKind::Mirror {
        return Err(refused(what, "it is no mirror", "name a mirror module"));
    }
    let (sender, answered) = bounded(1);
    let _ = handle.inputs.send(Input::PutBack(args["dry_run"] == true, sender));
    let patience = crate::daemon::mirror::limits::PUT_BACK;
    answered.recv_timeout(patience).unwrap_or_else(|_| {
        let cure = "it goes on; `understudy status` says when the data is outdated instead of inconsistent";
        Err(Failure::new(FailureKind::TimedOut, what, format!("it takes longer than {} s", patience.as_secs()), cure))
    })
}

fn command(verb: &str, args: &Value) -> Result<Command, Failure> {
    Ok(match verb {
        "start" => Command::Start,
        "stop" => Command::Stop,
        "stop-all" => Command::StopAll,
        "swap" => Command::Swap,
        "restart" => Command::Restart,
        "reset" => Command::Reset,
        "failover" => Command::Failover(args["on"].as_bool().unwrap_or(true)),
        "promote" => Command::Promote(accept(args)?),
        other => return Err(usage(format!("cannot {other}"), "there is no such order", "")),
    })
}

fn accept(args: &Value) -> Result<Option<Accept>, Failure> {
    let Some(word) = args["accept"].as_str() else { return Ok(None) };
    let known = [Accept::First, Accept::Outdated, Accept::Inconsistent, Accept::Split];
    let found = known.into_iter().find(|accept| accept.word() == word);
    let cure = "use first, outdated, inconsistent or split";
    found.map(Some).ok_or_else(|| usage("cannot promote", format!("{word} is no word for what may be lost"), cure))
}

/// The machine goes down: everything stops here in order, others take over, and what is wanted stays as it is.
pub fn shutdown(node: &Arc<Node>) -> Result<Value, Failure> {
    let handles: Vec<Handle> = node.modules.read().values().cloned().collect();
    for handle in &handles {
        let (sender, _) = bounded(1);
        let _ = handle.inputs.send(Input::Passing(Command::Stop, sender));
    }
    let stopped = |handle: &Handle| node.board.own(&handle.module.name).is_none_or(|shown| shown.state == "STOP");
    let until = std::time::Instant::now() + Duration::from_secs(300);
    while !handles.iter().all(stopped) {
        if std::time::Instant::now() > until {
            let why = "not every module has stopped";
            return Err(Failure::new(FailureKind::TimedOut, "cannot stop in order", why, "see `understudy status`"));
        }
        node.board.wait(Duration::from_millis(200));
    }
    Ok(json!({ "schema": 1, "stopped": handles.len() }))
}
