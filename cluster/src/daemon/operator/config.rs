//! The configuration: compared between nodes, pushed to them, taken in.

use super::super::modules;
use super::super::node::Node;
use super::{refused, route};
use crate::config::{self, Module};
use fsrepl::report::{Failure, FailureKind};
use serde_json::{Value, json};
use std::sync::Arc;

fn failed(what: &str, why: impl std::fmt::Display) -> Failure {
    Failure::new(FailureKind::Failed, what, why.to_string(), "see its log")
}

/// All files of this node's configuration.
pub fn pack(node: &Node) -> Result<Value, Failure> {
    let images = config::push::pack(&node.config).map_err(|why| failed("cannot read the configuration", why))?;
    Ok(json!({ "schema": 1, "files": images }))
}

/// Replaces this node's configuration.
pub fn unpack(node: &Arc<Node>, args: &Value) -> Result<Value, Failure> {
    let images: Vec<config::push::FileImage> =
        serde_json::from_value(args["files"].clone()).map_err(|why| failed("cannot take the configuration", why))?;
    config::push::unpack(&node.config, &images).map_err(|why| failed("cannot take the configuration", why))?;
    reload(node)
}

/// To every other node, or to the one that is named.
pub fn push(node: &Arc<Node>, args: &Value) -> Result<Value, Failure> {
    let packed = pack(node)?;
    let mut told = Vec::new();
    for member in node.cluster.nodes.iter().filter(|member| member.id != node.me) {
        if args["node"].as_str().is_some_and(|name| name != member.name) {
            continue;
        }
        let answer = if args["dry_run"] == true {
            diff_to(node, member.id, &packed)?
        } else {
            route::ask(node, member.id, "config-unpack", &packed)?
        };
        told.push(json!({ "node": member.name, "answer": answer }));
    }
    if told.is_empty() {
        return Err(refused("cannot push the configuration", "there is no other node of that name", "see cluster.toml"));
    }
    Ok(json!({ "schema": 1, "nodes": told }))
}

/// What differs between this node and the others.
pub fn diff(node: &Arc<Node>, args: &Value) -> Result<Value, Failure> {
    let packed = pack(node)?;
    let mut nodes = Vec::new();
    for member in node.cluster.nodes.iter().filter(|member| member.id != node.me) {
        if args["node"].as_str().is_some_and(|name| name != member.name) {
            continue;
        }
        let diff = match diff_to(node, member.id, &packed) {
            Ok(diff) => diff,
            Err(failure) => json!({ "error": failure.to_string() }),
        };
        nodes.push(json!({ "node": member.name, "diff": diff }));
    }
    Ok(json!({ "schema": 1, "nodes": nodes }))
}

fn diff_to(node: &Arc<Node>, to: crate::NodeId, packed: &Value) -> Result<Value, Failure> {
    let theirs = route::ask(node, to, "config-pack", &json!({}))?;
    let parse = |value: &Value| {
        serde_json::from_value::<Vec<config::push::FileImage>>(value["files"].clone()).map_err(|why| failed("cannot compare", why))
    };
    Ok(json!(config::push::diff(&parse(packed)?, &parse(&theirs)?)))
}

/// What has to be the same on all nodes, as it is here.
pub fn facts(node: &Node) -> Result<Value, Failure> {
    let modules: Vec<Module> = node.modules.read().values().map(|handle| (*handle.module).clone()).collect();
    Ok(json!(config::compare::facts_for_compare(&node.cluster, &modules, node.name(), &node.version)))
}

/// What differs between nodes and should not.
pub fn compare(node: &Arc<Node>) -> Result<Value, Failure> {
    let own = facts(node)?;
    let parse = |value: Value| serde_json::from_value::<config::compare::Facts>(value).map_err(|why| failed("cannot compare", why));
    let own = parse(own)?;
    let mut findings = Vec::new();
    let mut missing = Vec::new();
    for member in node.cluster.nodes.iter().filter(|member| member.id != node.me) {
        match route::ask(node, member.id, "config-facts-here", &json!({})) {
            Ok(value) => findings.extend(config::compare::compare(&own, &parse(value)?)),
            Err(failure) => missing.push(json!({ "node": member.name, "error": failure.to_string() })),
        }
    }
    Ok(json!({ "schema": 1, "findings": findings, "unreachable": missing }))
}

/// Takes in what has changed in the files: new modules start their threads, what takes effect only after a restart is said.
pub fn reload(node: &Arc<Node>) -> Result<Value, Failure> {
    let bad = |problems: Vec<config::Problem>| {
        let cure = "correct it; nothing was changed";
        Failure::new(FailureKind::Usage, "cannot reload", modules::words(&problems), cure)
    };
    let cluster = config::load_cluster(&node.config).map_err(bad)?;
    let mut changes: Vec<Value> = config::reload::cluster_changes(&node.cluster, &cluster)
        .iter()
        .map(|change| json!({ "file": "cluster.toml", "change": change.to_string() }))
        .collect();
    let names = config::load::module_names(&node.config).map_err(|problem| bad(vec![problem]))?;
    let mut loaded = Vec::new();
    for name in &names {
        loaded.push((name.clone(), config::load_module(&node.config, name, &node.cluster).map_err(bad)?));
    }
    for (name, module) in loaded {
        match node.module(&name) {
            Some(handle) => changes.extend(
                modules::refresh(node, &handle, module)
                    .into_iter()
                    .map(|text| json!({ "file": format!("modules/{name}"), "change": text })),
            ),
            None => {
                modules::start(node, module).map_err(|why| failed("cannot start a new module", why))?;
                changes.push(json!({ "file": format!("modules/{name}"), "change": "new" }));
            }
        }
    }
    let gone: Vec<String> = node.modules.read().keys().filter(|name| !names.contains(name)).cloned().collect();
    for name in gone {
        changes.push(json!({ "file": format!("modules/{name}"), "change": modules::retire(node, &name) }));
    }
    node.keys.replace(crate::engine::ring(&node.cluster.key_file)?);
    Ok(json!({ "schema": 1, "changes": changes }))
}
