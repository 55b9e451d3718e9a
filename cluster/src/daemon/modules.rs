//! The modules of this node: loaded, started, told, ended.

use super::mirror::{self, Input, Mirror};
use super::node::{Handle, Node};
use super::snapshot::Snapshot;
use super::solo;
use crate::config::{self, Boot, Module, ModuleKind};
use crate::engine::{Engine, Home};
use crate::failover::{Command, Readiness};
use crate::module::environment::Environment;
use crossbeam::channel::bounded;
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use vip::manager::Event as AddressEvent;

/// Modules of which this node leads the engine, left by an earlier daemon: their addresses stay.
pub fn led_here(home: &Home) -> BTreeSet<String> {
    let living = fsrepl::node::control::list(&home.run);
    living.into_iter().filter(|name| Engine::leads(home, name)).collect()
}

/// Digests of the modules' folders as they are now, or were this long ago: every change of state tells them, and a failover
/// of many modules has better things to do than to read all folders each time.
const DIGESTS_FRESH: Duration = Duration::from_secs(5);

/// Digests of the modules' folders.
pub fn digests(config: &Path) -> Arc<dyn Fn() -> BTreeMap<String, String> + Send + Sync> {
    let config = config.to_owned();
    let known: Mutex<Option<(Instant, BTreeMap<String, String>)>> = Mutex::default();
    Arc::new(move || {
        let mut known = known.lock();
        if let Some((at, digests)) = &*known
            && at.elapsed() < DIGESTS_FRESH
        {
            return digests.clone();
        }
        let names = config::load::module_names(&config).unwrap_or_default();
        let digest = |name: String| {
            let digest = config::load::folder_digest(&config.join("modules").join(&name)).ok()?;
            Some((name, digest))
        };
        let digests: BTreeMap<String, String> = names.into_iter().filter_map(digest).collect();
        *known = Some((Instant::now(), digests.clone()));
        digests
    })
}

/// Loads and starts all modules that run on this node; what cannot be used is said, and the others run.
pub fn start_all(node: &Arc<Node>) {
    let names = match config::load::module_names(&node.config) {
        Ok(names) => names,
        Err(problem) => return tracing::error!(%problem, "the modules cannot be listed"),
    };
    let not_loaded = |name: &str, why: &str| tracing::error!(module = name, why, "the module is not loaded");
    let mut modules = Vec::new();
    for name in names {
        match config::load_module(&node.config, &name, &node.cluster) {
            Ok(module) => modules.push(module),
            Err(problems) => not_loaded(&name, &words(&problems)),
        }
    }
    if modules.iter().any(|module| module.kind == ModuleKind::Farm) {
        remove_stale_rules();
    }
    for module in modules {
        let name = module.name.clone();
        if let Err(why) = start(node, module) {
            not_loaded(&name, &why);
        }
    }
}

/// Rules that a killed daemon left would go on sharing traffic with servers that nobody watches.
fn remove_stale_rules() {
    match vip::farm::filter::remove_stale("nft", &[]) {
        Ok(removed) if removed.is_empty() => {}
        Ok(removed) => tracing::warn!(?removed, "rules of a farm that a dead daemon left were removed"),
        Err(why) => tracing::warn!(%why, "whether a dead daemon left rules of a farm cannot be seen"),
    }
}

/// Starts the thread of a module that was loaded, if it runs on this node.
pub fn start(node: &Arc<Node>, module: Module) -> Result<(), String> {
    if !module.nodes.contains(&node.me) {
        return Ok(());
    }
    let module = Arc::new(module);
    let name = module.name.as_str();
    let (inputs, taken) = bounded(mirror::limits::INPUTS);
    let kind = match module.kind {
        ModuleKind::Mirror => "mirror",
        ModuleKind::Farm => "farm",
        ModuleKind::Service => "service",
    };
    let stopped = Snapshot::plain(kind, "STOP", Readiness::NotReady, "stopped", "stopped");
    let desired = node.board.add(node.name(), name, stopped);
    let handle = Handle { module: module.clone(), inputs: inputs.clone() };
    // Before its thread: what comes from the other nodes finds it.
    node.modules.write().insert(name.to_owned(), handle);
    let spawn = std::thread::Builder::new().name(format!("m-{name}"));
    match module.kind {
        ModuleKind::Mirror => {
            let mirror = Mirror::new(node, &module, inputs.clone()).map_err(|why| why.to_string())?;
            spawn.spawn(move || mirror.run(&taken)).map_err(|why| why.to_string())?;
        }
        ModuleKind::Farm | ModuleKind::Service => {
            let solo = solo::Solo::new(node, &module, inputs.clone()).map_err(|why| why.to_string())?;
            spawn.spawn(move || solo.run(&taken)).map_err(|why| why.to_string())?;
        }
    }
    let _ = inputs.send(Input::Checks(desired.checks));
    greet(node, name, &module);
    let (reply, _) = bounded(1);
    if !desired.failover {
        let _ = inputs.send(Input::Command(Command::Failover(false), reply.clone()));
    }
    let starts = match module.boot {
        Boot::On => true,
        Boot::Off => false,
        Boot::Last => desired.started,
    };
    if starts {
        let _ = inputs.send(Input::Command(Command::Start, reply));
    }
    Ok(())
}

/// What is known already of the other node.
fn greet(node: &Node, name: &str, module: &Module) {
    let Some(handle) = node.module(name) else { return };
    let Some(peer) = handle.peer_of(node.me) else { return };
    if let Some(beats) = node.beats.get() {
        let _ = handle.inputs.send(Input::Presence(beats.presence(peer)));
    }
    if let Some(facts) = node.board.other(peer).and_then(|other| other.modules.get(&module.name).and_then(|shown| shown.facts.clone())) {
        let _ = handle.inputs.send(Input::Peer(Box::new(facts)));
    }
}

/// A module's file has changed: what can be is taken in at once. What is to be said of each change.
pub fn refresh(node: &Arc<Node>, handle: &Handle, module: Module) -> Vec<String> {
    let changes: Vec<String> = config::reload::changes(&handle.module, &module).iter().map(ToString::to_string).collect();
    if changes.is_empty() {
        return Vec::new();
    }
    let name = module.name.clone();
    // A thread begins anew with the new file where nothing runs that could notice.
    if node.board.own(&name).is_some_and(|shown| shown.state == "STOP") {
        let _ = handle.inputs.send(Input::End);
        return match start(node, module) {
            Ok(()) => changes,
            Err(why) => vec![format!("cannot be loaded: {why}")],
        };
    }
    changes
        .into_iter()
        .map(|change| format!("{change}; taken in when the module is stopped here and `understudy reload` is said again"))
        .collect()
}

/// A module's folder is gone.
pub fn retire(node: &Node, name: &str) -> String {
    let stopped = node.board.own(name).is_none_or(|shown| shown.state == "STOP");
    if !stopped {
        return "removed, but it still runs here: stop it, then reload again".into();
    }
    if let Some(handle) = node.modules.write().remove(name) {
        let _ = handle.inputs.send(Input::End);
    }
    node.board.remove(name);
    "removed".into()
}

/// All problems in one line.
pub fn words(problems: &[config::Problem]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// The threads end; what runs stays.
pub fn end_all(node: &Node) {
    for handle in node.modules.read().values() {
        let _ = handle.inputs.send(Input::End);
    }
    // What is being written at this moment is finished.
    std::thread::sleep(Duration::from_millis(50));
}

/// What scripts and checks are told of the module.
pub fn environment(node: &Node, module: &Module) -> Environment {
    let peer = module.nodes.iter().find(|&&id| id != node.me).filter(|_| module.kind == ModuleKind::Mirror);
    Environment {
        module: module.name.clone(),
        node: node.name().to_owned(),
        peer: peer.map_or_else(String::new, |&id| node.cluster.name_of(id).to_owned()),
        directories: module.replicate.iter().map(|replicate| replicate.directory.clone()).collect(),
        virtual_ips: module.virtual_ips.iter().map(|address| address.address).collect(),
        variables: module.variables.clone(),
    }
}

/// Something happened to a virtual address.
pub fn address_event(node: &Node, event: &AddressEvent) {
    match event {
        AddressEvent::RivalSeen { module, ip, interface, mac, .. } => {
            node.board.note(module, &format!("{ip} is claimed by {mac} on {interface} as well"), "address_rival");
        }
        AddressEvent::Lost(held) => {
            let why = held.lost.map_or_else(String::new, |reason| reason.to_string());
            node.board.note(&held.module, &format!("{} on {} is lost: {why}", held.ip, held.interface), "address_lost");
            let Some(handle) = node.module(&held.module) else { return };
            let fails = |address: &config::VirtualIp| address.address == held.ip && address.on_loss == config::LostAddress::Failover;
            if handle.module.virtual_ips.iter().any(fails) {
                let _ = handle.inputs.send(Input::AddressLost(format!("address {}", held.ip)));
            }
        }
        AddressEvent::Restored(held) => {
            node.board.note(&held.module, &format!("{} on {} was put back", held.ip, held.interface), "address_restored");
        }
        AddressEvent::RestoreFailed { held, why } => {
            node.board.note(&held.module, &format!("{} cannot be put back on {}: {why}", held.ip, held.interface), "address_lost");
        }
        AddressEvent::Released { held, reset: Some(Err(why)) } => {
            node.board.note(&held.module, &format!("connections to {} could not be reset: {why}", held.ip), "reset_failed");
        }
        AddressEvent::Acquired(_) | AddressEvent::Released { .. } => {}
    }
}

/// Modules that depend on others are told whether those serve here.
pub fn look_at_dependencies(node: &Node) {
    let handles: Vec<Handle> = node.modules.read().values().filter(|handle| !handle.module.depends_on.is_empty()).cloned().collect();
    for handle in handles {
        let serves = |name: &&String| node.board.own(name).is_some_and(|shown| shown.serves);
        let missing = handle.module.depends_on.iter().find(|name| !serves(name)).cloned();
        let _ = handle.inputs.send(Input::Depends(missing));
    }
}
