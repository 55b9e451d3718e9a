//! `understudy kept`: the trees of changes that lost.

use crate::args::{Global, KeptArgs};
use crate::model::Cluster;
use crate::{engine, names, node, output, render};
use fsrepl::node::options::Outcome;
use fsrepl::report::{Failure, FailureKind};
use serde_json::{Value, json};
use std::time::Duration;

/// Removing a tree takes as long as its files.
const PATIENCE: Duration = Duration::from_secs(600);

pub fn run(args: &KeptArgs, global: &Global) -> Outcome {
    let words: Vec<&str> = args.words.iter().map(String::as_str).collect();
    match words[..] {
        [] => list(None, global),
        ["remove", id] => remove(None, id, global),
        [name] if name != "remove" => list(Some(name), global),
        [name, "remove", id] => remove(Some(name), id, global),
        _ => Err(Failure::new(
            FailureKind::Usage,
            "cannot tell what to do",
            "`kept` takes a replica's name, and `remove` with the id of a kept tree",
            "see `understudy kept --help`",
        )),
    }
}

/// One replica that may keep something.
enum Keeper {
    /// An engine of this node, with the node's name if it is a module's.
    Here(String, Option<String>),
    /// A module on another node.
    There(String, String),
}

impl Keeper {
    fn name(&self) -> &str {
        match self {
            Keeper::Here(name, _) | Keeper::There(name, _) => name,
        }
    }

    fn node(&self) -> Option<&str> {
        match self {
            Keeper::Here(_, node) => node.as_deref(),
            Keeper::There(_, node) => Some(node),
        }
    }

    fn ask(&self, verb: &str, args: &Value, global: &Global) -> Result<Value, Failure> {
        match self {
            Keeper::Here(name, _) => engine::ask(&global.run, name, verb, args, PATIENCE),
            Keeper::There(name, node) => {
                let asked = json!({ "module": name, "node": node, "verb": verb, "args": args });
                node::ask(global, "engine", &asked, PATIENCE).map(|answer| answer["answer"].clone())
            }
        }
    }

    fn trees(&self, global: &Global) -> Result<Vec<Value>, Failure> {
        let answer = self.ask("kept", &Value::Null, global)?;
        let mut trees = answer["kept"].as_array().cloned().unwrap_or_default();
        for tree in &mut trees {
            tree["module"] = json!(self.name());
            if let Some(node) = self.node() {
                tree["node"] = json!(node);
            }
        }
        Ok(trees)
    }
}

/// The replicas that are meant: those of modules on all nodes where they run, and the other engines of this node.
fn keepers(name: Option<&str>, global: &Global) -> Result<Vec<Keeper>, Failure> {
    let running = engine::list(&global.run)?;
    let cluster = match node::status(global, None) {
        Ok((_, cluster)) => cluster,
        Err(failure) if node::is_away(&failure) => Cluster::default(),
        Err(failure) => return Err(failure),
    };
    let mut keepers = Vec::new();
    for module in cluster.modules.iter().filter(|module| module.is_mirror() && name.is_none_or(|name| name == module.name)) {
        for on in module.nodes.iter().filter(|on| on.reachable && on.state != "STOP") {
            keepers.push(if on.node == module.node && module.directories.len() < 2 {
                Keeper::Here(module.name.clone(), Some(on.node.clone()))
            } else {
                Keeper::There(module.name.clone(), on.node.clone())
            });
        }
    }
    match name {
        Some(name) if cluster.module(name).is_some() => {}
        Some(name) => keepers.push(Keeper::Here(names::running(name, &running), None)),
        None => keepers.extend(running.into_iter().filter(|name| !cluster.owns(name)).map(|name| Keeper::Here(name, None))),
    }
    if keepers.is_empty() {
        return Err(match name {
            Some(name) => {
                let cure = format!("start it, or look into .understudy/kept in its directories; `understudy status {name}` says how it is");
                Failure::new(FailureKind::Refused, format!("cannot look at {name}"), "it does not run on any node that is heard", cure)
            }
            None => {
                let why = format!("no replica runs here (no control socket in {})", global.run.display());
                let cure =
                    "start one with `understudy start`, `understudy mount` or `understudy receive`, or name the right --run directory";
                Failure::new(FailureKind::Unreachable, "cannot look", why, cure)
            }
        });
    }
    Ok(keepers)
}

/// What is kept, and why some could not be asked; a failure if none could.
fn look(name: Option<&str>, global: &Global) -> Result<Vec<(Keeper, Vec<Value>)>, Failure> {
    let mut found = Vec::new();
    let mut last = None;
    for keeper in keepers(name, global)? {
        match keeper.trees(global) {
            Ok(trees) => found.push((keeper, trees)),
            Err(failure) => {
                tracing::warn!(module = keeper.name(), node = keeper.node(), "not known what is kept there: {failure}");
                last = Some(failure);
            }
        }
    }
    match last {
        Some(failure) if found.is_empty() => Err(failure),
        _ => Ok(found),
    }
}

fn list(name: Option<&str>, global: &Global) -> Outcome {
    let all: Vec<Value> = look(name, global)?.into_iter().flat_map(|(_, trees)| trees).collect();
    if global.json {
        output::line(&json!({"schema": output::SCHEMA, "kept": all}).to_string());
    } else if all.is_empty() {
        output::line("nothing is kept");
    } else {
        all.iter().for_each(|tree| output::text(&render::kept(tree)));
    }
    Ok(())
}

fn remove(name: Option<&str>, id: &str, global: &Global) -> Outcome {
    for (keeper, trees) in look(name, global)? {
        if trees.iter().any(|tree| tree["id"] == id) {
            keeper.ask("kept-remove", &json!({ "id": id }), global)?;
            if global.json {
                let (name, node) = (keeper.name(), keeper.node());
                output::line(&json!({"schema": output::SCHEMA, "module": name, "node": node, "removed": id}).to_string());
            }
            return Ok(());
        }
    }
    Err(Failure::new(FailureKind::Failed, format!("cannot remove {id}"), "nothing of that name is kept", "`understudy kept` lists what is"))
}
