//! `status`: all modules on all nodes, as this node knows them.

use super::super::node::{Handle, Node};
use super::super::snapshot::{Shown, Snapshot};
use crate::NodeId;
use crate::config::ModuleKind;
use crate::heartbeat::Presence;
use serde_json::{Value, json};

/// Everything, or one module.
pub fn whole(node: &Node, only: Option<&str>) -> Value {
    let (_, own) = node.board.all();
    let handles: Vec<Handle> = node.modules.read().values().cloned().collect();
    let wanted = handles.iter().filter(|handle| only.is_none_or(|name| name == handle.module.name));
    let modules: Vec<Value> = wanted.filter_map(|handle| own.get(&handle.module.name).map(|shown| module(node, handle, shown))).collect();
    json!({
        "schema": 1,
        "cluster": node.cluster.name,
        "node": node.name(),
        "version": node.version,
        "config_digest": node.cluster.digest,
        "modules": modules,
        "nodes": nodes(node),
        "quorum": quorum(node),
    })
}

fn quorum(node: &Node) -> Value {
    let kind = node.quorum().kind();
    json!({ "kind": kind, "words": kind.words() })
}

fn nodes(node: &Node) -> Vec<Value> {
    let one = |id: NodeId, name: &str| {
        let own = id == node.me;
        let beats = node.beats.get();
        let links: Vec<Value> = beats.filter(|_| !own).map(|beats| beats.links(id)).unwrap_or_default().iter().map(|link| {
            json!({ "network": link.network, "state": format!("{:?}", link.state).to_lowercase(), "silence_seconds": link.silence.as_secs_f64() })
        }).collect();
        let other = node.board.other(id);
        json!({
            "node": name,
            "reachable": own || beats.is_some_and(|beats| beats.presence(id) == Presence::Heard),
            "version": if own { Some(node.version.clone()) } else { other.as_ref().map(|other| other.version.clone()) },
            "config_digest": if own { Some(node.cluster.digest.clone()) } else { other.map(|other| other.config_digest) },
            "networks": links,
        })
    };
    node.cluster.nodes.iter().map(|member| one(member.id, &member.name)).collect()
}

fn module(node: &Node, handle: &Handle, shown: &Shown) -> Value {
    let name = &handle.module.name;
    let mut value = fields(&shown.snapshot);
    value["name"] = json!(name);
    value["kind"] = json!(kind(handle.module.kind));
    value["node"] = json!(node.name());
    value["nodes"] = handle.module.nodes.iter().map(|&id| on_node(node, id, name, shown)).collect();
    value["resync"] = shown.snapshot.resync.clone();
    value["can_fail_over"] = can_fail_over(node, handle, shown);
    value["virtual_ips"] = addresses(node, handle, shown);
    let engine = engine_kept(node, handle);
    value["kept"] = engine.as_ref().map_or_else(|| json!([]), |answer| answer["kept"].clone());
    value["consistent"] = consistent(engine.as_ref(), handle);
    value["checks"] = shown.snapshot.checks.clone();
    value["failover"] = json!(shown.snapshot.failover_on);
    value["checks_on"] = json!(shown.snapshot.checks_on);
    value["directories"] = handle.module.replicate.iter().map(|replicate| json!(replicate.directory)).collect();
    if !shown.snapshot.directories.is_empty() {
        value["directory_states"] = json!(shown.snapshot.directories);
    }
    if let Some(farm) = super::super::solo::farm_status(node, name) {
        value["farm"] = farm;
    }
    value
}

fn kind(kind: ModuleKind) -> &'static str {
    match kind {
        ModuleKind::Mirror => "mirror",
        ModuleKind::Farm => "farm",
        ModuleKind::Service => "service",
    }
}

fn fields(shown: &Snapshot) -> Value {
    json!({
        "state": shown.state, "readiness": shown.readiness, "reason": shown.reason, "reason_code": shown.reason_code,
        "since": shown.since, "data": shown.data, "generation": shown.generation, "phase": shown.phase,
    })
}

fn on_node(node: &Node, id: NodeId, module: &str, own: &Shown) -> Value {
    let other = node.board.other(id);
    let heard = id == node.me || node.beats.get().is_some_and(|beats| beats.presence(id) == Presence::Heard);
    let shown = if id == node.me { Some(own.clone()) } else { other.as_ref().and_then(|other| other.modules.get(module).cloned()) };
    let mut value = match (&shown, heard) {
        (Some(shown), true) => fields(&shown.snapshot),
        (Some(shown), false) => {
            let mut last = fields(&shown.snapshot);
            last["readiness"] = json!("not_ready");
            last["reason"] = json!(format!("not heard; was {}: {}", shown.snapshot.state, shown.snapshot.reason));
            last["reason_code"] = json!("unreachable");
            last
        }
        (None, _) => json!({
            "state": "STOP", "readiness": "not_ready", "reason": "nothing is known of it", "reason_code": "unknown",
            "since": Value::Null, "data": Value::Null, "generation": Value::Null,
        }),
    };
    value["node"] = json!(node.cluster.name_of(id));
    value["reachable"] = json!(heard);
    value["version"] = if id == node.me { json!(node.version) } else { json!(other.as_ref().map(|other| other.version.clone())) };
    value["config_digest"] =
        json!(if id == node.me { Some(own_digest(node, module)) } else { other.and_then(|other| other.digests.get(module).cloned()) });
    value
}

fn own_digest(node: &Node, module: &str) -> String {
    node.module(module).map_or_else(String::new, |handle| handle.module.digest.clone())
}

/// Of the node that serves, wherever that is.
fn can_fail_over(node: &Node, handle: &Handle, own: &Shown) -> Value {
    let leads = |shown: &Snapshot| matches!(shown.state.as_str(), "PRIM" | "ALONE");
    if leads(&own.snapshot) {
        return own.snapshot.can_fail_over.clone();
    }
    let peer = handle.peer_of(node.me).and_then(|id| node.board.other(id));
    let there = peer.and_then(|other| other.modules.get(&handle.module.name).cloned()).filter(|shown| leads(&shown.snapshot));
    there.map_or_else(|| own.snapshot.can_fail_over.clone(), |shown| shown.snapshot.can_fail_over)
}

fn addresses(node: &Node, handle: &Handle, own: &Shown) -> Value {
    let holder = if own.snapshot.addressed {
        Some(node.me)
    } else {
        let others = handle.module.nodes.iter().copied();
        others.into_iter().find(|&id| {
            node.board.other(id).is_some_and(|other| other.modules.get(&handle.module.name).is_some_and(|shown| shown.snapshot.addressed))
        })
    };
    let one = |address: &crate::config::VirtualIp| {
        json!({
            "name": address.name,
            "address": format!("{}/{}", address.address, address.prefix),
            "interface": address.interface,
            "script": address.script.is_some(),
            "node": holder.map(|id| node.cluster.name_of(id)),
        })
    };
    handle.module.virtual_ips.iter().map(one).collect()
}

/// What the engines on this node say is kept in their replicas.
fn engine_kept(node: &Node, handle: &Handle) -> Option<Value> {
    if handle.module.kind != ModuleKind::Mirror {
        return None;
    }
    super::engines::ask(node, &handle.module, "kept", &json!({}), None, std::time::Duration::from_secs(2)).ok()
}

/// The state from before a resync that runs or was cut off: without an engine, the directory says.
fn consistent(engine: Option<&Value>, handle: &Handle) -> Value {
    match engine {
        Some(answer) => answer["consistent"].clone(),
        None => handle.module.replicate.first().map_or(Value::Null, |one| json!(fsrepl::kept::consistent::shown_in(&one.directory))),
    }
}
