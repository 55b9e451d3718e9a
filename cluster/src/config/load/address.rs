//! `[[virtual_ip]]`: an address that goes with the module, on an interface of this node or moved by a script.

use super::application::script;
use super::module::Context;
use crate::config::read::{Section, Value};
use crate::config::{AddressScript, LostAddress, ModuleKind, VirtualIp, limits, words};
use std::net::IpAddr;

pub(super) fn read(root: &Section<'_>, context: &Context<'_>) -> Vec<VirtualIp> {
    let mut addresses: Vec<VirtualIp> = Vec::new();
    for section in root.sections("virtual_ip") {
        if let Some(address) = virtual_ip(&section, context, &addresses) {
            addresses.push(address);
        }
    }
    addresses
}

fn virtual_ip(section: &Section<'_>, context: &Context<'_>, earlier: &[VirtualIp]) -> Option<VirtualIp> {
    let name = section.get("name").map_or(Some("address".into()), |value| value.checked(words::LABEL, words::is_label));
    let expected = "an address with the length of its network's prefix, such as \"10.0.0.100/24\"";
    let address = section.need("address", expected).and_then(|value| {
        let (address, prefix) = value.parsed(expected, with_prefix)?;
        let nodes = context.cluster.nodes.iter();
        let own = nodes.filter(|node| node.networks.iter().any(|network| network.advertise == address || network.bind == address));
        for node in own {
            value.unlike(format!("an address of its own: this one belongs to node {}", node.name));
        }
        if earlier.iter().any(|other| other.address == address) {
            value.unlike("every address once");
        }
        Some((address, prefix))
    });
    let script = section.get("script").map(|value| {
        if context.kind != ModuleKind::Mirror {
            value.unlike("no script: only a mirror's address can be a script's business");
        }
        script(&value, context.folder)
    });
    let timeout = section.get("script_timeout").map_or(Some(limits::ADDRESS_SCRIPT), |value| {
        if script.is_none() {
            value.unlike("no script_timeout without a script");
        }
        value.duration(false)
    });
    let of_interfaces = |value: &Value<'_>| {
        if script.is_some() {
            value.unlike("no such key beside `script`: the script decides where the address is");
        }
    };
    let interface = section.get("interface").inspect(of_interfaces).map(|value| value.checked(words::INTERFACE, words::is_interface));
    let known = [("restore", LostAddress::Restore), ("failover", LostAddress::Failover)];
    let on_loss = section.get("on_loss").inspect(of_interfaces).map_or(Some(LostAddress::Restore), |value| {
        let on_loss = value.word(&known);
        if on_loss == Some(LostAddress::Failover) && context.kind != ModuleKind::Mirror {
            value.unlike("restore: only a mirror fails over");
        }
        on_loss
    });
    let reset_connections = section.get("reset_connections").inspect(of_interfaces).map_or(Some(true), |value| value.boolean());
    section.finish();
    let (address, prefix) = address?;
    let script = match script {
        Some(file) => Some(AddressScript { file: file?, timeout: timeout? }),
        None => None,
    };
    Some(VirtualIp {
        name: name?,
        address,
        prefix,
        interface: interface.unwrap_or_default(),
        on_loss: on_loss?,
        reset_connections: reset_connections?,
        script,
    })
}

/// `ADDRESS/PREFIX`.
fn with_prefix(text: &str) -> Option<(IpAddr, u8)> {
    let (address, prefix) = text.split_once('/')?;
    let (address, prefix): (IpAddr, u8) = (address.parse().ok()?, prefix.parse().ok()?);
    let longest = if address.is_ipv4() { 32 } else { 128 };
    let usable = !address.is_unspecified() && !address.is_multicast();
    (usable && (1..=longest).contains(&prefix)).then_some((address, prefix))
}
