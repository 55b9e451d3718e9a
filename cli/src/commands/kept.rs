//! `understudy kept`: the trees of changes that lost.

use crate::args::{Global, KeptArgs};
use crate::model::{Cluster, Module};
use crate::{engine, names, node, output, render};
use fsrepl::node::options::Outcome;
use fsrepl::report::{Failure, FailureKind};
use serde_json::{Value, json};
use std::time::Duration;

/// Removing a tree takes as long as its files.
const PATIENCE: Duration = Duration::from_secs(600);
/// Putting a state back takes as long as what the resync had changed.
const PUT_BACK: Duration = Duration::from_secs(3600);

pub fn run(args: &KeptArgs, global: &Global) -> Outcome {
    let words: Vec<&str> = args.words.iter().map(String::as_str).collect();
    match words[..] {
        [] => list(None, global),
        [name, "restore"] => restore(name, args, global),
        ["remove", id] => remove(None, id, global),
        [name] if name != "remove" => list(Some(name), global),
        [name, "remove", id] => remove(Some(name), id, global),
        _ => Err(Failure::new(
            FailureKind::Usage,
            "cannot tell what to do",
            "`kept` takes a replica's name, and `remove` with the id of a kept tree, or `restore`",
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

    /// What is kept there: the trees, and the state from before a resync.
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

/// The modules, as the daemon knows them; without a daemon there are none.
fn cluster(global: &Global) -> Result<Cluster, Failure> {
    match node::status(global, None) {
        Ok((_, cluster)) => Ok(cluster),
        Err(failure) if node::is_away(&failure) => Ok(Cluster::default()),
        Err(failure) => Err(failure),
    }
}

/// The replicas that are meant: those of modules on all nodes where they run, and the other engines of this node.
fn keepers(name: Option<&str>, cluster: &Cluster, global: &Global) -> Result<Vec<Keeper>, Failure> {
    let running = engine::list(&global.run)?;
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
fn look(name: Option<&str>, cluster: &Cluster, global: &Global) -> Result<Vec<(Keeper, Vec<Value>)>, Failure> {
    let mut found = Vec::new();
    let mut last = None;
    for keeper in keepers(name, cluster, global)? {
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

/// States from before a resync on this node: of its modules, whether an engine runs or not, and of other engines.
fn states(name: Option<&str>, cluster: &Cluster, global: &Global) -> Vec<Value> {
    let running = engine::list(&global.run).unwrap_or_default();
    let wanted = |one: &str| name.is_none_or(|name| name == one || names::running(name, &running) == one);
    let engines = running.iter().filter(|name| !cluster.owns(name) && wanted(name)).map(|name| {
        let answer = engine::ask(&global.run, name, "kept", &Value::Null, PATIENCE).unwrap_or_default();
        (name.clone(), answer["consistent"].clone())
    });
    let of_modules =
        cluster.modules.iter().filter(|module| wanted(&module.name)).map(|module| (module.name.clone(), module.consistent.clone()));
    let mut all = Vec::new();
    for (name, mut state) in of_modules.chain(engines).filter(|(_, state)| state.is_object()) {
        state["module"] = json!(name);
        all.push(state);
    }
    all
}

/// Puts the state from before an unfinished resync back.
fn restore(name: &str, args: &KeptArgs, global: &Global) -> Outcome {
    let answer = if cluster(global)?.module(name).is_some_and(Module::is_mirror) {
        let asked = json!({ "module": name, "node": args.node, "dry_run": args.dry_run });
        node::ask(global, "put-back", &asked, PUT_BACK)?
    } else {
        let running = engine::list(&global.run)?;
        engine::ask(&global.run, &names::running(name, &running), "kept-restore", &json!({ "dry_run": args.dry_run }), PUT_BACK)?
    };
    if global.json {
        output::line(&answer.to_string());
    } else if args.dry_run {
        output::line(&format!("the state of {name} from before the resync can be put back; nothing was changed"));
    } else {
        let done = |key: &str| answer["put_back"][key].as_u64().unwrap_or_default();
        let text = format!(
            "{name} is what it was before the resync: {} names and {} objects put back, {} of content. It is outdated; `understudy promote {name} \
             --accept outdated` serves from it",
            done("names"),
            done("objects"),
            render::bytes(done("bytes")),
        );
        output::line(&text);
    }
    Ok(())
}

fn list(name: Option<&str>, global: &Global) -> Outcome {
    let cluster = cluster(global);
    let none = Cluster::default();
    let states = states(name, cluster.as_ref().unwrap_or(&none), global);
    let found = match cluster.and_then(|cluster| look(name, &cluster, global)) {
        // No engine, and yet something to tell.
        Err(_) if !states.is_empty() => Vec::new(),
        other => other?,
    };
    let all: Vec<Value> = found.into_iter().flat_map(|(_, trees)| trees).collect();
    if global.json {
        output::line(&json!({"schema": output::SCHEMA, "kept": all, "consistent": states}).to_string());
        return Ok(());
    }
    for state in &states {
        output::text(&render::consistent(state["module"].as_str().unwrap_or("?"), state));
    }
    if all.is_empty() && !states.is_empty() {
        return Ok(());
    }
    if all.is_empty() {
        output::line("nothing is kept");
    } else {
        all.iter().for_each(|tree| output::text(&render::kept(tree)));
    }
    Ok(())
}

fn remove(name: Option<&str>, id: &str, global: &Global) -> Outcome {
    for (keeper, trees) in look(name, &cluster(global)?, global)? {
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
