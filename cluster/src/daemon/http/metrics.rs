//! Figures to the text that Prometheus reads. `docs/http.md` names every one of them.

use super::figures::{Figures, ModuleFigures};
use crate::failover::Readiness;
use crate::heartbeat::{LinkState, Presence};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;
use serde_json::Value;
use std::fmt;

/// OpenMetrics, as the encoder writes it.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

const STATES: [&str; 6] = ["STOP", "WAIT", "ALONE", "PRIM", "SECOND", "UP"];
const ROLES: [&str; 3] = ["primary", "secondary", "none"];
const DATA: [&str; 3] = ["uptodate", "outdated", "inconsistent"];
const READINESS: [&str; 3] = ["ready", "transient", "not_ready"];
const RESULTS: [&str; 3] = ["pass", "fail", "unknown"];
const LINKS: [(&str, LinkState); 4] =
    [("new", LinkState::New), ("up", LinkState::Up), ("deaf", LinkState::Deaf), ("down", LinkState::Down)];

/// The text of one scrape.
///
/// # Errors
/// Never: a string takes everything.
pub fn text(figures: Figures) -> Result<String, fmt::Error> {
    let mut registry = Registry::with_prefix("understudy");
    registry.register_collector(Box::new(Page(figures)));
    let mut page = String::new();
    text::encode(&mut page, &registry)?;
    Ok(page)
}

#[derive(Debug)]
struct Page(Figures);

impl Collector for Page {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut out = Out(encoder);
        node(&mut out, &self.0)?;
        let modules = &self.0.modules;
        states(&mut out, modules)?;
        serving(&mut out, modules)?;
        resync(&mut out, modules)?;
        engines(&mut out, modules)?;
        kept(&mut out, modules)?;
        farms(&mut out, modules)?;
        peers(&mut out, &self.0)
    }
}

type Labels = Vec<(&'static str, String)>;

/// Names and samples, in order.
struct Out<'a>(DescriptorEncoder<'a>);

impl Out<'_> {
    fn gauge(&mut self, name: &str, help: &str, samples: impl IntoIterator<Item = (Labels, f64)>) -> fmt::Result {
        let mut samples = samples.into_iter().peekable();
        if samples.peek().is_none() {
            return Ok(());
        }
        let mut family = self.0.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (labels, value) in samples {
            family.encode_family(&clean(labels))?.encode_gauge(&value)?;
        }
        Ok(())
    }

    /// The encoder adds `_total`.
    fn counter(&mut self, name: &str, help: &str, samples: impl IntoIterator<Item = (Labels, u64)>) -> fmt::Result {
        let mut samples = samples.into_iter().peekable();
        if samples.peek().is_none() {
            return Ok(());
        }
        let mut family = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (labels, value) in samples {
            family.encode_family(&clean(labels))?.encode_counter::<NoLabelSet, u64, u64>(&value, None)?;
        }
        Ok(())
    }
}

/// The encoder writes values as they are; one that ends its own quotes would spoil the whole page.
fn clean(labels: Labels) -> Labels {
    let clean = |value: String| value.replace(['"', '\\', '\n'], "_");
    labels.into_iter().map(|(name, value)| (name, clean(value))).collect()
}

fn of(module: &ModuleFigures) -> Labels {
    vec![("module", module.name.clone())]
}

fn with(mut labels: Labels, name: &'static str, value: &str) -> Labels {
    labels.push((name, value.to_owned()));
    labels
}

fn flag(on: bool) -> f64 {
    f64::from(u8::from(on))
}

/// One sample for each word, 1 for the one that holds.
fn one_of(labels: &Labels, name: &'static str, words: &[&'static str], now: &str) -> Vec<(Labels, f64)> {
    words.iter().map(|word| (with(labels.clone(), name, word), flag(*word == now))).collect()
}

fn node(out: &mut Out<'_>, figures: &Figures) -> fmt::Result {
    out.gauge("build_info", "Always 1: the program", [(vec![("version", figures.version.clone())], 1.0)])?;
    let node = vec![("cluster", figures.cluster.clone()), ("node", figures.node.clone()), ("quorum", figures.quorum.clone())];
    out.gauge("node_info", "Always 1: this node", [(node, 1.0)])?;
    let port = |port: &'static str| vec![("port", port.to_owned())];
    let connections = &figures.connections;
    out.gauge("http_connections", "Open connections", connections.iter().map(|at| (port(at.port), at.open as f64)))?;
    let refused = connections.iter().map(|at| (port(at.port), at.refused));
    out.counter("http_connections_refused", "Connections that found no place", refused)
}

fn states(out: &mut Out<'_>, modules: &[ModuleFigures]) -> fmt::Result {
    let state = |module: &ModuleFigures| one_of(&of(module), "state", &STATES, &module.shown.state);
    out.gauge("module_state", "1 for the state of the module on this node", modules.iter().flat_map(state))?;
    let info = |module: &ModuleFigures| {
        let labels = with(of(module), "kind", &module.shown.kind);
        (with(labels, "reason_code", &module.shown.reason_code), 1.0)
    };
    out.gauge("module_info", "Always 1: kind of the module, and the reason for its state", modules.iter().map(info))?;
    let readiness = |module: &ModuleFigures| one_of(&of(module), "readiness", &READINESS, word(module.shown.readiness));
    out.gauge("module_readiness", "1 for how the module stands on this node", modules.iter().flat_map(readiness))?;
    let role = |module: &ModuleFigures| one_of(&of(module), "role", &ROLES, role(module));
    out.gauge("module_role", "1 for the role of this node", replicated(modules).flat_map(role))?;
    let data = |module: &ModuleFigures| one_of(&of(module), "data", &DATA, &module.shown.data);
    out.gauge("module_data", "1 for what is known of this node's data; all 0: nothing yet", replicated(modules).flat_map(data))?;
    let in_sync = replicated(modules).map(|module| (of(module), flag(in_sync(module))));
    out.gauge("module_in_sync", "1 while this node's replica and the other one have everything", in_sync)?;
    let can = |module: &ModuleFigures| (of(module), flag(module.shown.can_fail_over["now"].as_bool().unwrap_or(false)));
    out.gauge("module_can_fail_over", "1 while the other node could take over at once", replicated(modules).map(can))?;
    let age = modules.iter().filter_map(|module| module.age.map(|age| (of(module), age.as_secs_f64())));
    out.gauge("module_state_age_seconds", "Time since the state or the reason for it changed", age)
}

fn replicated(modules: &[ModuleFigures]) -> impl Iterator<Item = &ModuleFigures> {
    modules.iter().filter(|module| module.replicates)
}

fn word(readiness: Readiness) -> &'static str {
    match readiness {
        Readiness::Ready => "ready",
        Readiness::Transient => "transient",
        Readiness::NotReady => "not_ready",
    }
}

fn role(module: &ModuleFigures) -> &'static str {
    match module.shown.state.as_str() {
        "PRIM" | "ALONE" => "primary",
        "SECOND" => "secondary",
        _ => "none",
    }
}

/// A secondary that is still being brought up to date is in transition.
fn in_sync(module: &ModuleFigures) -> bool {
    match module.shown.state.as_str() {
        "PRIM" => true,
        "SECOND" => module.shown.readiness == Readiness::Ready,
        _ => false,
    }
}

fn serving(out: &mut Out<'_>, modules: &[ModuleFigures]) -> fmt::Result {
    let all = |figure: fn(&ModuleFigures) -> bool| modules.iter().map(move |module| (of(module), flag(figure(module))));
    out.gauge("module_serves", "1 where the health answer is OK", all(|module| module.shown.serves))?;
    let failover = replicated(modules).map(|module| (of(module), flag(module.shown.failover_on)));
    out.gauge("module_failover_enabled", "1 while automatic failover is on", failover)?;
    out.gauge("module_checks_enabled", "1 while checks run", all(|module| module.shown.checks_on))?;
    let restarts = modules.iter().map(|module| (of(module), module.restarts));
    out.counter("application_restarts", "Times that the application was started again since the daemon runs", restarts)?;
    let checks = modules.iter().flat_map(|module| {
        let checks = module.shown.checks.as_array().map(Vec::as_slice).unwrap_or_default();
        checks.iter().flat_map(|check| {
            let labels = with(of(module), "check", check["name"].as_str().unwrap_or_default());
            one_of(&labels, "result", &RESULTS, check["ok"].as_bool().map_or("unknown", |ok| if ok { "pass" } else { "fail" }))
        })
    });
    out.gauge("check_result", "1 for what the check last found", checks)?;
    let addresses = modules.iter().flat_map(|module| {
        let one = |address: &super::figures::AddressFigures| (with(of(module), "address", &address.address), flag(address.held));
        module.addresses.iter().map(one)
    });
    out.gauge("virtual_ip_held", "1 while the address is on an interface of this node", addresses)
}

/// A number at a place of each module's JSON, where there is one.
fn numbers<'a>(
    modules: &'a [ModuleFigures],
    place: impl Fn(&'a ModuleFigures) -> Option<&'a Value>,
) -> impl Iterator<Item = (Labels, f64)> {
    modules.iter().filter_map(move |module| place(module)?.as_f64().map(|value| (of(module), value)))
}

fn resync(out: &mut Out<'_>, modules: &[ModuleFigures]) -> fmt::Result {
    let active = replicated(modules).map(|module| (of(module), flag(module.shown.resync.is_object())));
    out.gauge("resync_active", "1 while this node brings the other one up to date", active)?;
    let gauges = [
        ("resync_bytes", "bytes_total", "Bytes that the resync has to bring"),
        ("resync_done_bytes", "bytes_done", "Bytes that it has brought"),
        ("resync_files", "files_total", "Files that the resync has to bring"),
        ("resync_done_files", "files_done", "Files that it has brought"),
        ("resync_rate_bytes_per_second", "rate_bytes_per_second", "Its speed"),
        ("resync_eta_seconds", "eta_seconds", "Time that it will take at this speed"),
    ];
    for (name, key, help) in gauges {
        out.gauge(name, help, numbers(modules, |module| module.shown.resync.get(key)))?;
    }
    Ok(())
}

fn engines(out: &mut Out<'_>, modules: &[ModuleFigures]) -> fmt::Result {
    let up = replicated(modules).map(|module| (of(module), flag(module.engine.is_some())));
    out.gauge("engine_up", "1 while the module's engine answers on this node", up)?;
    let counters = [
        ("engine_operations_sent", "operations_sent", "Operations sent to the other node by this engine"),
        ("engine_sent_bytes", "bytes_sent", "Bytes sent to the other node by this engine"),
        ("engine_operations_applied", "applied", "Operations of the other node that this engine has applied"),
        ("engine_dirty_log_flushes", "dirty_log_flushes", "Synchronous writes of the dirty log"),
        ("engine_dirty_log_hot_hits", "dirty_log_hot_hits", "Operations that needed none, because their place was marked"),
    ];
    for (name, key, help) in counters {
        let samples = modules.iter().filter_map(|module| counted(module, key)?.as_u64().map(|value| (of(module), value)));
        out.counter(name, help, samples)?;
    }
    let unacknowledged = modules.iter().filter_map(|module| {
        let (sent, acknowledged) = (counted(module, "sequence")?.as_u64()?, counted(module, "acknowledged")?.as_u64()?);
        Some((of(module), sent.saturating_sub(acknowledged) as f64))
    });
    out.gauge("engine_operations_unacknowledged", "Operations that the other node has not acknowledged", unacknowledged)?;
    out.gauge("engine_objects", "Files and directories of the replica", numbers(modules, |module| counted(module, "objects")))?;
    let slots = numbers(modules, |module| counted(module, "dirty_log_slots"));
    out.gauge("engine_dirty_log_slots", "Places of the dirty log that are in use", slots)
}

fn counted<'a>(module: &'a ModuleFigures, key: &str) -> Option<&'a Value> {
    module.engine.as_ref()?.get("counters")?.get(key)
}

fn kept(out: &mut Out<'_>, modules: &[ModuleFigures]) -> fmt::Result {
    let trees = || modules.iter().filter_map(|module| module.engine.as_ref()?.get("kept")?.as_array().map(|trees| (module, trees)));
    out.gauge("kept_trees", "Trees kept from lost histories", trees().map(|(module, trees)| (of(module), trees.len() as f64)))?;
    let bytes = trees().map(|(module, trees)| (of(module), trees.iter().filter_map(|tree| tree["bytes"].as_f64()).sum()));
    out.gauge("kept_bytes", "Bytes in them", bytes)
}

fn farms(out: &mut Out<'_>, modules: &[ModuleFigures]) -> fmt::Result {
    let farms = || modules.iter().filter_map(|module| module.farm.as_ref().map(|farm| (module, farm)));
    let drained = farms().map(|(module, farm)| (of(module), flag(farm["drained"] == true)));
    out.gauge("farm_drained", "1 while this server takes no new clients", drained)?;
    let trouble = farms().map(|(module, farm)| (of(module), flag(!farm["trouble"].is_null() || !farm["map"]["trouble"].is_null())));
    out.gauge("farm_trouble", "1 while something of the farm went wrong on this server and is tried again", trouble)?;
    let shares = farms().flat_map(|(module, farm)| {
        let servers = farm["map"]["servers"].as_array().map(Vec::as_slice).unwrap_or_default();
        servers.iter().filter_map(|server| {
            let labels = with(of(module), "server", server["name"].as_str()?);
            Some((labels, server["share"].as_f64()?))
        })
    });
    out.gauge("farm_share_ratio", "Part of the clients that a server gets, as this node has it in force", shares)
}

fn peers(out: &mut Out<'_>, figures: &Figures) -> fmt::Result {
    let heard = figures.peers.iter().map(|peer| (vec![("peer", peer.name.clone())], flag(peer.presence == Presence::Heard)));
    out.gauge("peer_heard", "1 while the other node is heard on some network", heard)?;
    let networks = || {
        figures.peers.iter().flat_map(|peer| {
            let labels = |network: u8| vec![("peer", peer.name.clone()), ("network", network.to_string())];
            peer.networks.iter().map(move |&(network, state, silence)| (labels(network), state, silence))
        })
    };
    let states =
        networks().flat_map(|(labels, state, _)| LINKS.map(|(word, which)| (with(labels.clone(), "state", word), flag(which == state))));
    out.gauge("network_state", "1 for the state of a network to the other node", states)?;
    let silence = networks().map(|(labels, _, silence)| (labels, silence.as_secs_f64()));
    out.gauge("heartbeat_silence_seconds", "Time in which nothing was heard on the network", silence)
}
