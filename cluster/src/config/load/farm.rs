//! What only farms have: `[[load_balancing]]` and `[farm]`.

use super::module::Context;
use super::parts;
use crate::config::read::Section;
use crate::config::{Affinity, Balance, Farm, Protocol, limits, words};

pub(super) fn read(root: &Section<'_>, context: &Context<'_>, addresses: bool) -> Option<Farm> {
    let sections = root.sections("load_balancing");
    let mut balance: Vec<Balance> = Vec::new();
    for section in &sections {
        if let Some(rule) = rule(section, &balance) {
            balance.push(rule);
        }
    }
    let section = root.section("farm");
    let table = section.as_ref();
    let weights = table.and_then(|farm| numbers(farm, "weights", context)).unwrap_or_default();
    let priorities = table.and_then(|farm| numbers(farm, "priorities", context));
    let lost_after = match table.and_then(|farm| farm.get("lost_after")) {
        Some(value) => value.duration(false).filter(|time| {
            let sound = *time >= context.cluster.profile.pulse * 4;
            if !sound {
                value.unlike("at least four pulses of the cluster's profile: one lost beat is no failure");
            }
            sound
        }),
        None => Some(context.cluster.profile.degrade),
    };
    let priorities = priorities.map(|set| chain(table, set, context));
    if let Some(farm) = table {
        farm.finish();
    }
    if !sections.is_empty() && !addresses {
        root.missing("virtual_ip", "[[virtual_ip]]: without an address there is nothing to balance");
    }
    if sections.is_empty() && addresses && priorities.is_none() {
        root.missing("load_balancing", "[[load_balancing]] with protocol and port, or priorities in [farm]");
    }
    let weights: Vec<u32> = (0..context.nodes.len()).map(|place| weights.get(place).copied().flatten().unwrap_or(1)).collect();
    if !weights.is_empty() && weights.iter().all(|weight| *weight == 0) {
        root.missing("farm.weights", "a weight of more than 0 for at least one node");
    }
    let priorities = match priorities {
        Some(chain) => Some(chain?),
        None => None,
    };
    Some(Farm { balance, weights, priorities, lost_after: lost_after? })
}

/// A table from nodes to numbers, in the order of the module's nodes.
fn numbers(farm: &Section<'_>, key: &'static str, context: &Context<'_>) -> Option<Vec<Option<u32>>> {
    let section = farm.section(key)?;
    let mut numbers = vec![None; context.nodes.len()];
    for (name, value) in section.all() {
        let place = context.cluster.node(name).and_then(|node| context.nodes.iter().position(|id| *id == node.id));
        match place {
            Some(place) => numbers[place] = value.number(0, limits::WEIGHT),
            // With unsound nodes nothing can be said about the names.
            None if context.nodes.is_empty() => {}
            None => value.wrong("a name that is none of the module's nodes", "the name of a node of this module"),
        }
    }
    Some(numbers)
}

/// Every node has its own place in a chain.
fn chain(farm: Option<&Section<'_>>, set: Vec<Option<u32>>, context: &Context<'_>) -> Option<Vec<u32>> {
    let mut places: Vec<u32> = Vec::new();
    for (id, priority) in context.nodes.iter().zip(&set) {
        let Some(priority) = priority else {
            let name = context.cluster.name_of(*id);
            farm.inspect(|farm| farm.missing(&format!("priorities.{name}"), "a number for every node of the module"));
            return None;
        };
        if !parts::first(priority, &places, || {
            if let Some(farm) = farm {
                farm.wrong(format!("the priority {priority} for two nodes"), "another priority for each node");
            }
        }) {
            return None;
        }
        places.push(*priority);
    }
    Some(places)
}

fn rule(section: &Section<'_>, earlier: &[Balance]) -> Option<Balance> {
    let protocol = section.need("protocol", "tcp or udp");
    let protocol = protocol.and_then(|value| value.word(&[("tcp", Protocol::Tcp), ("udp", Protocol::Udp)]));
    let port = section.need("port", "the port whose traffic is shared").and_then(|value| {
        let port = value.number(1, u16::MAX)?;
        if earlier.iter().any(|rule| rule.port == port && Some(rule.protocol) == protocol) {
            value.unlike("every port of a protocol once");
        }
        Some(port)
    });
    let known = [("client-ip", Affinity::ClientIp), ("client-port", Affinity::ClientPort)];
    let affinity = section.get("affinity").map_or(Some(Affinity::ClientIp), |value| value.word(&known));
    let name = section.get("name").map(|value| value.checked(words::LABEL, words::is_label));
    section.finish();
    let name = match name {
        Some(given) => given?,
        None => format!("port {}", port?),
    };
    Some(Balance { name, protocol: protocol?, port: port?, affinity: affinity? })
}
