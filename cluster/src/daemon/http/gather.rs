//! Answers of a whole daemon.

use super::super::node::{Handle, Node};
use super::super::operator;
use super::figures::{AddressFigures, Figures, ModuleFigures, PeerFigures};
use super::{Doors, Source, limits};
use crate::config::ModuleKind;
use crate::heartbeat::Presence;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use vip::manager::Held;

/// The daemon, asked over HTTP.
pub(super) struct NodeSource {
    pub node: Arc<Node>,
    pub doors: Doors,
}

impl Source for NodeSource {
    fn serves(&self, module: &str) -> bool {
        self.node.board.serves(module)
    }

    fn status(&self) -> Result<Value, String> {
        operator::here(&self.node, "status", &Value::Null).map_err(|failure| failure.to_string())
    }

    fn figures(&self) -> Figures {
        let node = &self.node;
        Figures {
            version: node.version.clone(),
            cluster: node.cluster.name.clone(),
            node: node.name().to_owned(),
            quorum: json!(node.quorum().kind()).as_str().unwrap_or_default().to_owned(),
            modules: modules(node),
            peers: peers(node),
            connections: self.doors.connections().to_vec(),
        }
    }
}

fn modules(node: &Arc<Node>) -> Vec<ModuleFigures> {
    let handles: Vec<Handle> = node.modules.read().values().cloned().collect();
    let held = node.addresses.held().ok();
    let held = held.as_deref();
    // At the same time: one that is stuck costs its own patience and nobody else's.
    std::thread::scope(|scope| {
        let asked: Vec<_> = handles.iter().map(|handle| (handle, ask(scope, node, handle))).collect();
        let gathered = asked.into_iter().filter_map(|(handle, answer)| {
            let engine = answer.and_then(|asking| asking.join().ok().flatten());
            module(node, handle, held, engine)
        });
        gathered.collect()
    })
}

type Asking<'scope> = std::thread::ScopedJoinHandle<'scope, Option<Value>>;

fn ask<'scope, 'env>(
    scope: &'scope std::thread::Scope<'scope, 'env>,
    node: &'env Arc<Node>,
    handle: &'env Handle,
) -> Option<Asking<'scope>> {
    if handle.module.kind != ModuleKind::Mirror {
        return None;
    }
    let question = move || operator::ask_engines(node, &handle.module, "status", &Value::Null, None, limits::ENGINE).ok();
    std::thread::Builder::new().name("figures".into()).spawn_scoped(scope, question).ok()
}

fn module(node: &Node, handle: &Handle, held: Option<&[Held]>, engine: Option<Value>) -> Option<ModuleFigures> {
    let name = &handle.module.name;
    let shown = node.board.own(name)?;
    Some(ModuleFigures {
        name: name.clone(),
        age: age(&shown.since),
        restarts: node.board.restarts(name),
        addresses: held.map_or_else(Vec::new, |held| addresses(handle, held)),
        replicates: handle.module.kind == ModuleKind::Mirror,
        engine,
        farm: super::super::solo::farm_status(node, name),
        shown,
    })
}

fn age(since: &str) -> Option<Duration> {
    let since = humantime::parse_rfc3339(since).ok()?;
    // A clock that was put back is no age.
    Some(SystemTime::now().duration_since(since).unwrap_or_default())
}

fn addresses(handle: &Handle, held: &[Held]) -> Vec<AddressFigures> {
    let module = &handle.module;
    let there = |address: &crate::config::VirtualIp| {
        held.iter().any(|held| held.module == module.name && held.ip == address.address && held.lost.is_none())
    };
    let one = |address: &crate::config::VirtualIp| AddressFigures { address: address.address.to_string(), held: there(address) };
    // Where a script has moved an address to is not seen on any interface.
    module.virtual_ips.iter().filter(|address| address.script.is_none()).map(one).collect()
}

fn peers(node: &Node) -> Vec<PeerFigures> {
    let Some(beats) = node.beats.get() else { return Vec::new() };
    let others = node.cluster.nodes.iter().filter(|member| member.id != node.me);
    let peer = |member: &crate::config::Node| {
        let links = beats.links(member.id);
        let networks = links.iter().map(|link| (link.network, link.state, link.silence)).collect();
        PeerFigures { name: member.name.clone(), presence: beats.presence(member.id), networks }
    };
    others.map(peer).filter(|peer| peer.presence != Presence::Unknown || !peer.networks.is_empty()).collect()
}
