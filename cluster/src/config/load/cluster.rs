//! `cluster.toml`.

use super::parts::{self, command, file, host};
use crate::NodeId;
use crate::config::read::{Section, Value};
use crate::config::{Cluster, Fence, Http, Network, Node, Notify, Ports, Quorum, Tls, limits, words};
use crate::heartbeat::Profile;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::Duration;

/// The port of a witness, unless given.
const WITNESS_PORT: u16 = 7409;
/// Longest run of a fencing command, unless given.
const FENCE_TIMEOUT: Duration = Duration::from_secs(30);

pub(super) fn read(root: &Section<'_>, dir: &Path, digest: String) -> Option<Cluster> {
    parts::schema(root);
    let name = root.need("name", "a name").and_then(|value| value.checked(words::NAME, words::is_name));
    let key_file = root.need("key_file", "the file made by `understudy keygen`, the same on all nodes");
    let key_file = key_file.and_then(|value| file(&value, dir));
    let profile = profile(root);
    let nodes = nodes(root);
    let quorum = root.section("quorum").map(|section| quorum(&section, dir));
    let ports = root.section("ports").map_or(Some(Ports::default()), |section| ports(&section));
    let http = root.section("http").map_or(Some(Http::default()), |section| http(&section, dir, ports));
    let fence = root.section("fence").map(|section| fence(&section, dir));
    let notify = root.section("notify").map_or(Some(Notify::default()), |section| notify(&section, dir));
    Some(Cluster {
        name: name?,
        key_file: key_file?,
        profile: profile?,
        nodes: nodes?,
        quorum: transpose(quorum)?,
        ports: ports?,
        http: http?,
        fence: transpose(fence)?,
        notify: notify?,
        digest,
    })
}

/// A table that may be absent but not wrong.
fn transpose<T>(section: Option<Option<T>>) -> Option<Option<T>> {
    match section {
        None => Some(None),
        Some(read) => read.map(Some),
    }
}

fn profile(root: &Section<'_>) -> Option<Profile> {
    let known = ["lan", "virtual", "wan", "fast"].map(|word| (word, word));
    let word = root.get("profile").map_or(Some("lan"), |value| value.word(&known));
    let mut profile = word.and_then(Profile::named).unwrap_or(Profile::LAN);
    let Some(times) = root.section("times") else { return word.map(|_| profile) };
    let fields: [(&'static str, &mut Duration); 10] = [
        ("pulse", &mut profile.pulse),
        ("degrade", &mut profile.degrade),
        ("promote", &mut profile.promote),
        ("patience", &mut profile.patience),
        ("resend", &mut profile.resend),
        ("witness_away", &mut profile.witness_away),
        ("witness_pulse", &mut profile.witness_pulse),
        ("look", &mut profile.look),
        ("hold", &mut profile.hold),
        ("settle", &mut profile.settle),
    ];
    let mut sound = true;
    for (key, time) in fields {
        if let Some(value) = times.get(key) {
            match value.duration(false) {
                Some(set) => *time = set,
                None => sound = false,
            }
        }
    }
    times.finish();
    // Times that could not be read would be judged by the profile's, which nobody wrote.
    if sound && let Some(fault) = profile.fault() {
        times.wrong(format!("times that do not go together ({fault})"), "times in proportion, as every profile has them");
    }
    word.map(|_| profile)
}

fn nodes(root: &Section<'_>) -> Option<Vec<Node>> {
    let sections = root.sections("node");
    if sections.is_empty() {
        root.missing("node", "[[node]] with name and addresses, once for each node");
    }
    if sections.len() > limits::NODES {
        root.wrong(format!("{} nodes", sections.len()), format!("at most {}", limits::NODES));
        return None;
    }
    let mut nodes: Vec<Node> = Vec::new();
    let mut taken: Vec<IpAddr> = Vec::new();
    let mut whole = true;
    for (place, section) in sections.iter().enumerate() {
        let name = section.need("name", "the node's name").and_then(|value| {
            let name = value.checked(words::NAME, words::is_name)?;
            let names: Vec<String> = nodes.iter().map(|node| node.name.clone()).collect();
            parts::first(&name, &names, || value.unlike("a name that no other node has")).then_some(name)
        });
        let addresses = section.need("addresses", "the node's IP addresses in the order of networks");
        let networks = addresses.and_then(|value| {
            let networks = networks(&value, &mut taken)?;
            alike(&value, &networks, nodes.first()).then_some(networks)
        });
        section.finish();
        match (name, networks) {
            (Some(name), Some(networks)) => nodes.push(Node { id: NodeId(place as u16), name, networks }),
            _ => whole = false,
        }
    }
    whole.then_some(nodes)
}

/// A node's networks; `taken` are all addresses so far.
fn networks(value: &Value<'_>, taken: &mut Vec<IpAddr>) -> Option<Vec<Network>> {
    let list = value.list()?;
    let mut networks = Vec::new();
    for item in &list {
        let network = if item.is_table() {
            item.section().and_then(|section| network(&section))
        } else {
            host(item).map(|address| Network { bind: address, advertise: address, heartbeat: true, replication: true })
        };
        let Some(network) = network else { continue };
        if parts::first(&network.advertise, taken, || item.unlike("an address that appears once: every node and network has its own")) {
            taken.push(network.advertise);
            networks.push(network);
        }
    }
    if !(1..=limits::NETWORKS).contains(&list.len()) {
        value.wrong(format!("{} addresses", list.len()), format!("1 to {}", limits::NETWORKS));
        return None;
    }
    (networks.len() == list.len()).then_some(networks)
}

fn network(section: &Section<'_>) -> Option<Network> {
    let advertise = section.get("advertise").map(|value| host(&value));
    let bind = section.get("bind").map(|value| host(&value));
    if advertise.is_none() && bind.is_none() {
        section.missing("bind", "the address where the node listens");
    }
    let (mut heartbeat, mut replication) = (true, true);
    if let Some(value) = section.get("roles") {
        let known = [("heartbeat", 0), ("replication", 1)];
        let list = value.list()?;
        let roles: Vec<i32> = list.iter().filter_map(|role| role.word(&known)).collect();
        (heartbeat, replication) = (roles.contains(&0), roles.contains(&1));
        if list.is_empty() {
            value.wrong("no role", "\"heartbeat\", \"replication\" or both");
        }
        if roles.len() < list.len() {
            section.finish();
            return None;
        }
    }
    section.finish();
    let bind = bind.or(advertise)??;
    Some(Network { bind, advertise: advertise.unwrap_or(Some(bind))?, heartbeat, replication })
}

/// A network has two ends that are alike: what the first node says of its networks holds for all.
fn alike(value: &Value<'_>, networks: &[Network], first: Option<&Node>) -> bool {
    if !networks.iter().any(|network| network.heartbeat) || !networks.iter().any(|network| network.replication) {
        value.wrong("networks that lack a role", "at least one with the role heartbeat and one with replication");
        return false;
    }
    let Some(first) = first else { return true };
    if first.networks.len() != networks.len() {
        let expected = format!("{} as node {} has: one for each network, in the same order", first.networks.len(), first.name);
        value.wrong(format!("{} addresses", networks.len()), expected);
        return false;
    }
    for (place, (ours, theirs)) in networks.iter().zip(&first.networks).enumerate() {
        if ours.advertise.is_ipv4() != theirs.advertise.is_ipv4() {
            value.wrong(
                format!("{} as number {}", ours.advertise, place + 1),
                format!(
                    "an address of the family of {} (node {}): the order of networks is the same on all nodes",
                    theirs.advertise, first.name
                ),
            );
            return false;
        }
        if (ours.heartbeat, ours.replication) != (theirs.heartbeat, theirs.replication) {
            value.wrong(format!("other roles of network {}", place + 1), format!("those that node {} gives it", first.name));
            return false;
        }
    }
    true
}

#[derive(Clone, Copy)]
enum QuorumKind {
    Witness,
    Tiebreaker,
    Etcd,
}

fn quorum(section: &Section<'_>, dir: &Path) -> Option<Quorum> {
    let known = [("witness", QuorumKind::Witness), ("tiebreaker", QuorumKind::Tiebreaker), ("etcd", QuorumKind::Etcd)];
    let value = section.need("kind", "witness or tiebreaker");
    let kind = value.as_ref().and_then(|value| value.word(&known));
    let quorum = match kind {
        None => {
            // What belongs here depends on the kind: the rest cannot be judged.
            section.get("address");
            section.get("key_file");
            None
        }
        Some(QuorumKind::Etcd) => {
            section.get("address");
            section.get("key_file");
            if let Some(value) = value {
                value.wrong("\"etcd\", which is reserved and not built yet", "witness or tiebreaker");
            }
            None
        }
        Some(QuorumKind::Tiebreaker) => {
            let address = section.need("address", "the address that is pinged, usually the router's").and_then(|value| host(&value));
            section.refuse(&["key_file"], "none: a tiebreaker is only pinged");
            address.map(|address| Quorum::Tiebreaker { address })
        }
        Some(QuorumKind::Witness) => {
            let address = section.need("address", "where `understudy witness` listens").and_then(|value| witness_address(&value));
            let key_file = section.need("key_file", "a key file of its own: it authorises voting and nothing else");
            let key_file = key_file.and_then(|value| file(&value, dir));
            address.zip(key_file).map(|(address, key_file)| Quorum::Witness { address, key_file })
        }
    };
    section.finish();
    quorum
}

fn witness_address(value: &Value<'_>) -> Option<SocketAddr> {
    let address: SocketAddr = value.parsed("an IP address and a port, such as \"10.0.0.9:7409\"", |text| {
        text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(|address| (address, WITNESS_PORT).into()))
    })?;
    if address.ip().is_unspecified() || address.ip().is_multicast() || address.port() == 0 {
        value.unlike("the address and the port of one host");
        return None;
    }
    Some(address)
}

fn ports(section: &Section<'_>) -> Option<Ports> {
    let default = Ports::default();
    let port = |key, default| section.get(key).map_or(Some(default), |value| value.number(1, u16::MAX));
    let (heartbeat, control, http) = (port("heartbeat", default.heartbeat), port("control", default.control), port("http", default.http));
    section.finish();
    let ports = Ports { heartbeat: heartbeat?, control: control?, http: http? };
    if ports.control == ports.http {
        section.wrong(format!("{} for both control and http", ports.http), "two different ports: both are TCP");
    }
    Some(ports)
}

fn http(section: &Section<'_>, dir: &Path, ports: Option<Ports>) -> Option<Http> {
    let all = "tls_port, certificate, key and token_file together: other hosts are answered only with TLS and a token";
    let port = section.need("tls_port", all);
    let port = port.and_then(|value| {
        let port = value.number(1, u16::MAX)?;
        if ports.is_some_and(|ports| port == ports.http || port == ports.control) {
            value.unlike("a port of its own");
        }
        Some(port)
    });
    let path = |key| section.need(key, all).and_then(|value| file(&value, dir));
    let (certificate, key, token_file) = (path("certificate"), path("key"), path("token_file"));
    section.finish();
    Some(Http { tls: Some(Tls { port: port?, certificate: certificate?, key: key?, token_file: token_file? }) })
}

fn fence(section: &Section<'_>, dir: &Path) -> Option<Fence> {
    let program = section.need("command", "a program that switches off the node UNDERSTUDY_NODE");
    let program = program.and_then(|value| command(&value, dir));
    let timeout = section.get("timeout").map_or(Some(FENCE_TIMEOUT), |value| value.duration(false));
    section.finish();
    Some(Fence { command: program?, timeout: timeout? })
}

fn notify(section: &Section<'_>, dir: &Path) -> Option<Notify> {
    let program = section.get("command").map(|value| command(&value, dir));
    let webhook = section.get("webhook").map(|value| parts::url(&value));
    section.finish();
    Some(Notify { command: transpose(program)?, webhook: transpose(webhook)? })
}
