//! `module.toml`: what every kind of module has.

use super::{address, application, checks, farm, parts, replicate};
use crate::NodeId;
use crate::config::read::{Section, Value};
use crate::config::{Boot, Cluster, Module, ModuleKind, limits, words};
use fsrepl::node::options::Ack;
use std::collections::BTreeMap;
use std::path::Path;

/// Keys that only a mirror has.
const MIRROR_KEYS: [&str; 8] =
    ["preferred_node", "failback", "ack", "replicate", "resync_max_rate", "keep_budget", "low_latency", "start_after_power_cut"];

/// Keys that only a farm has.
const FARM_KEYS: [&str; 2] = ["load_balancing", "farm"];

/// What is known of a module before its parts are read.
pub(super) struct Context<'a> {
    pub(super) cluster: &'a Cluster,
    pub(super) folder: &'a Path,
    pub(super) kind: ModuleKind,
    pub(super) nodes: &'a [NodeId],
}

pub(super) fn read(root: &Section<'_>, folder: &Path, name: &str, cluster: &Cluster, digest: String) -> Option<Module> {
    parts::schema(root);
    let known = [("mirror", ModuleKind::Mirror), ("farm", ModuleKind::Farm), ("service", ModuleKind::Service)];
    let Some(kind) = root.need("kind", "mirror, farm or service").and_then(|value| value.word(&known)) else {
        // Which keys may follow depends on the kind.
        for (key, _) in root.all() {
            ALL_KEYS.iter().filter(|known| **known == key).for_each(|known| drop(root.get(known)));
        }
        return None;
    };
    let nodes = nodes(root, kind, cluster).unwrap_or_default();
    let context = Context { cluster, folder, kind, nodes: &nodes };
    let mirror = mirror(root, &context);
    let boot = root.get("boot").map_or(Some(Boot::Last), |value| value.word(&[("on", Boot::On), ("off", Boot::Off), ("last", Boot::Last)]));
    let depends_on = depends_on(root, name, folder);
    let virtual_ips = address::read(root, &context);
    let application = root.section("application").map(|section| application::read(&section, &context));
    let checks = checks::read(root, &context, name, application.is_some());
    let variables = variables(root);
    let farm = match kind {
        ModuleKind::Farm => farm::read(root, &context, !virtual_ips.is_empty()),
        _ => {
            root.refuse(&FARM_KEYS, "none: only a module of kind farm has it");
            None
        }
    };
    let mirror = mirror?;
    Some(Module {
        name: name.into(),
        folder: folder.into(),
        kind,
        nodes: nodes.clone(),
        preferred: mirror.preferred,
        failback: mirror.failback,
        boot: boot?,
        depends_on,
        ack: mirror.ack,
        replicate: mirror.replicate,
        resync_max_rate: mirror.resync_max_rate,
        keep_budget: mirror.keep_budget,
        low_latency: mirror.low_latency,
        start_after_power_cut: mirror.start_after_power_cut,
        virtual_ips,
        application: match application {
            Some(read) => Some(read?),
            None => None,
        },
        checks,
        variables,
        farm: if kind == ModuleKind::Farm { Some(farm?) } else { None },
        digest,
    })
}

/// Every key at the top of a module's file.
const ALL_KEYS: [&str; 19] = [
    "schema",
    "kind",
    "nodes",
    "preferred_node",
    "failback",
    "boot",
    "depends_on",
    "ack",
    "replicate",
    "resync_max_rate",
    "keep_budget",
    "low_latency",
    "start_after_power_cut",
    "virtual_ip",
    "application",
    "check",
    "variables",
    "load_balancing",
    "farm",
];

fn nodes(root: &Section<'_>, kind: ModuleKind, cluster: &Cluster) -> Option<Vec<NodeId>> {
    let (bounds, expected) = match kind {
        ModuleKind::Mirror => (2..=2, "two nodes for a mirror, such as [\"node1\", \"node2\"]"),
        ModuleKind::Service => (1..=1, "one node for a service, such as [\"node1\"]"),
        ModuleKind::Farm => (limits::FARM_NODES, "2 to 32 nodes for a farm"),
    };
    let value = root.need("nodes", expected)?;
    let list = value.list()?;
    let mut nodes = Vec::new();
    for item in &list {
        let Some(id) = node(item, cluster) else { continue };
        if parts::first(&id, &nodes, || item.unlike("every node once")) {
            nodes.push(id);
        }
    }
    if !bounds.contains(&list.len()) {
        value.wrong(format!("{} nodes", list.len()), expected);
    }
    (nodes.len() == list.len()).then_some(nodes)
}

/// A node of the cluster by its name.
pub(super) fn node(value: &Value<'_>, cluster: &Cluster) -> Option<NodeId> {
    let known: Vec<(&str, NodeId)> = cluster.nodes.iter().map(|node| (node.name.as_str(), node.id)).collect();
    value.word(&known)
}

/// What only a mirror has; for other kinds, what stands for its absence.
struct Mirror {
    preferred: Option<NodeId>,
    failback: bool,
    ack: Ack,
    replicate: Vec<crate::config::Replicate>,
    resync_max_rate: Option<u64>,
    keep_budget: Option<u64>,
    low_latency: bool,
    start_after_power_cut: bool,
}

fn mirror(root: &Section<'_>, context: &Context<'_>) -> Option<Mirror> {
    if context.kind != ModuleKind::Mirror {
        root.refuse(&MIRROR_KEYS, "none: only a module of kind mirror has it");
        return Some(Mirror {
            preferred: None,
            failback: false,
            ack: Ack::default(),
            replicate: Vec::new(),
            resync_max_rate: None,
            keep_budget: None,
            low_latency: false,
            start_after_power_cut: false,
        });
    }
    let yes = |key| root.get(key).map_or(Some(false), |value| value.boolean());
    let preferred = preferred(root, context);
    let failback = yes("failback");
    if failback == Some(true) && root.get("preferred_node").is_none() {
        root.missing("preferred_node", "the node to return to, since failback = true");
    }
    let ack = ack(root);
    let replicate = replicate::read(root, context);
    let resync_max_rate = root.get("resync_max_rate").map(|value| value.parsed(words::RATE, words::rate));
    let keep_budget = root.get("keep_budget").map(|value| value.parsed(words::BUDGET, words::budget));
    let (low_latency, start_after_power_cut) = (yes("low_latency"), yes("start_after_power_cut"));
    Some(Mirror {
        preferred: preferred?,
        failback: failback?,
        ack: ack?,
        replicate,
        resync_max_rate: resync_max_rate.unwrap_or_default(),
        keep_budget: keep_budget.unwrap_or_default(),
        low_latency: low_latency?,
        start_after_power_cut: start_after_power_cut?,
    })
}

fn preferred(root: &Section<'_>, context: &Context<'_>) -> Option<Option<NodeId>> {
    let Some(value) = root.get("preferred_node") else { return Some(None) };
    let id = node(&value, context.cluster)?;
    if !context.nodes.is_empty() && !context.nodes.contains(&id) {
        value.unlike("one of the module's nodes");
        return None;
    }
    Some(Some(id))
}

fn ack(root: &Section<'_>) -> Option<Ack> {
    let Some(value) = root.get("ack") else { return Some(Ack::default()) };
    let word = value.text("memory or disk")?;
    if matches!(word, "fsync" | "async") {
        value.wrong(format!("\"{word}\", which is reserved and not built yet"), "memory or disk");
        return None;
    }
    value.word(&[("memory", Ack::Memory), ("disk", Ack::Disk)])
}

fn depends_on(root: &Section<'_>, name: &str, folder: &Path) -> Vec<String> {
    let Some(value) = root.get("depends_on") else { return Vec::new() };
    let mut names = Vec::new();
    for item in value.list().unwrap_or_default() {
        if let Some(other) = module(&item, name, folder)
            && parts::first(&other, &names, || item.unlike("every module once"))
        {
            names.push(other);
        }
    }
    names
}

/// The name of another module whose folder is there.
pub(super) fn module(value: &Value<'_>, name: &str, folder: &Path) -> Option<String> {
    let expected = "the name of another module: its folder below modules";
    let there = |other: &str| folder.parent().is_some_and(|modules| modules.join(other).join(super::MODULE_FILE).is_file());
    value.checked(expected, |other| words::is_name(other) && other != name && there(other))
}

fn variables(root: &Section<'_>) -> BTreeMap<String, String> {
    let mut variables = BTreeMap::new();
    let Some(section) = root.section("variables") else { return variables };
    for (key, value) in section.all() {
        let plain = key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') && !key.starts_with(|c: char| c.is_ascii_digit());
        if key.is_empty() || !plain || key.starts_with("UNDERSTUDY_") {
            value.wrong("this name", "letters, digits and `_`, not beginning with a digit or UNDERSTUDY_");
        } else if let Some(text) = value.text("text in quotes") {
            variables.insert(key.to_owned(), text.to_owned());
        }
    }
    variables
}
