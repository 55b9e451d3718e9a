//! A farm's part on this node: the runtime of `vip::farm`, driven by the module's thread; its beats travel with the heartbeats.

use super::super::mirror::Input;
use super::super::node::Node;
use super::super::operator::{route_module, unknown_module, usage_error};
use crate::NodeId;
use crate::config::{self, Module, ModuleKind};
use fsrepl::report::{Failure, FailureKind};
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::net::IpAddr;
use std::sync::Arc;
use vip::farm::{Affinity, Farm, Mode, Protocol, Rule, Server, Settings, VirtualAddress};

/// The part, shared with those who ask.
pub struct Part {
    node: Arc<Node>,
    module: Arc<Module>,
    /// None: the module is stopped here, and no rule of it is in the kernel.
    farm: Mutex<Option<Farm>>,
    drained: Mutex<bool>,
    trouble: Mutex<Option<String>>,
}

impl Part {
    /// The part of `module`, if it is a farm.
    pub fn of(node: &Arc<Node>, module: &Arc<Module>) -> Result<Option<Arc<Part>>, String> {
        if module.kind != ModuleKind::Farm {
            return Ok(None);
        }
        settings(node, module).checked().map_err(|why| why.to_string())?;
        let drained = Mutex::new(node.board.desired(&module.name).drained);
        let part =
            Arc::new(Part { node: node.clone(), module: module.clone(), farm: Mutex::new(None), drained, trouble: Mutex::new(None) });
        node.farms.lock().insert(module.name.clone(), part.clone());
        Ok(Some(part))
    }

    /// What is due, with what the application is now. `runs`: the module is not stopped here.
    pub fn tick(&self, runs: bool, serves: bool) {
        let mut place = self.farm.lock();
        if runs && place.is_none() {
            *place = self.begin();
        }
        if !runs && let Some(farm) = place.take() {
            drop(place);
            return self.end(farm);
        }
        let Some(farm) = place.as_mut() else { return };
        let now = self.node.now();
        farm.set_up(serves, now);
        let beats = farm.tick(now);
        drop(place);
        beats.iter().for_each(|bytes| self.send(bytes));
    }

    fn begin(&self) -> Option<Farm> {
        let begun = Farm::new(settings(&self.node, &self.module), self.node.name(), self.node.now());
        match begun {
            Ok(mut farm) => {
                *self.trouble.lock() = None;
                if *self.drained.lock() {
                    let _ = farm.drain(self.node.name(), true, self.node.now());
                }
                Some(farm)
            }
            Err(why) => {
                let words = why.to_string();
                let mut trouble = self.trouble.lock();
                if trouble.as_ref() != Some(&words) {
                    self.node.board.note(&self.module.name, &format!("the farm cannot begin here: {words}"), "farm_failed");
                    *trouble = Some(words);
                }
                None
            }
        }
    }

    fn end(&self, mut farm: Farm) {
        let last = farm.leave(self.node.now());
        self.send(&last);
        if let Err(why) = farm.stop() {
            self.node.board.note(&self.module.name, &format!("the farm's rules could not be removed: {why}"), "farm_failed");
        }
    }

    /// The daemon ends: the others take this node's part, and no rule stays behind.
    pub fn leave(&self) {
        if let Some(farm) = self.farm.lock().take() {
            self.end(farm);
        }
    }

    fn send(&self, bytes: &[u8]) {
        let name = self.module.name.as_bytes();
        let mut packet = vec![name.len() as u8];
        packet.extend_from_slice(name);
        packet.extend_from_slice(bytes);
        let Some(beats) = self.node.beats.get() else { return };
        for &id in self.module.nodes.iter().filter(|&&id| id != self.node.me) {
            if let Err(why) = beats.send_farm(id, &packet) {
                tracing::debug!(module = self.module.name, %why, "a beat of the farm was not sent");
            }
        }
    }

    /// A beat of another server.
    pub fn beat(&self, from: NodeId, bytes: &[u8]) {
        let mut place = self.farm.lock();
        let Some(farm) = place.as_mut() else { return };
        if let Err(why) = farm.on_beat(self.node.cluster.name_of(from), bytes, self.node.now()) {
            tracing::debug!(module = self.module.name, %why, "a beat of the farm was not taken");
        }
    }

    /// Takes no new clients, or does again.
    pub fn drain(&self, drained: bool) {
        *self.drained.lock() = drained;
        if let Some(farm) = self.farm.lock().as_mut()
            && let Err(why) = farm.drain(self.node.name(), drained, self.node.now())
        {
            tracing::warn!(module = self.module.name, %why, "cannot drain");
        }
    }

    /// Whether it is drained.
    pub fn drained(&self) -> bool {
        *self.drained.lock()
    }

    /// Why it does not work here.
    pub fn trouble(&self) -> Option<String> {
        self.trouble.lock().clone()
    }

    /// Whether this node answers for the addresses.
    pub fn answers(&self) -> bool {
        let status = self.farm.lock().as_ref().map(|farm| farm.status(self.node.now()));
        status.is_some_and(|status| status.servers.iter().any(|server| server.name == self.node.name() && server.answers_arp))
    }
}

fn settings(node: &Node, module: &Module) -> Settings {
    let none =
        config::Farm { balance: Vec::new(), weights: Vec::new(), priorities: None, lost_after: std::time::Duration::from_millis(800) };
    let farm = module.farm.as_ref().unwrap_or(&none);
    let server = |(at, &id): (usize, &NodeId)| Server {
        name: node.cluster.name_of(id).to_owned(),
        weight: farm.weights.get(at).copied().unwrap_or(1),
        priority: farm.priorities.as_ref().and_then(|all| all.get(at).copied()).unwrap_or(0),
    };
    let rule = |balance: &config::Balance| Rule {
        name: balance.name.clone(),
        protocol: match balance.protocol {
            config::Protocol::Tcp => Protocol::Tcp,
            config::Protocol::Udp => Protocol::Udp,
        },
        port: balance.port,
        affinity: match balance.affinity {
            config::Affinity::ClientIp => Affinity::ClientIp,
            config::Affinity::ClientPort => Affinity::ClientPort,
        },
    };
    let address = |ip: &config::VirtualIp| VirtualAddress { ip: ip.address, prefix: ip.prefix, interface: ip.interface.clone() };
    Settings {
        servers: module.nodes.iter().enumerate().map(server).collect(),
        mode: if farm.priorities.is_some() { Mode::Chain } else { Mode::Spread },
        addresses: module.virtual_ips.iter().map(address).collect(),
        rules: farm.balance.iter().map(rule).collect(),
        lost_after: farm.lost_after,
        ..Settings::new(&module.name, &[])
    }
}

/// A datagram of a farm on another node.
pub fn farm_beat(node: &Node, from: NodeId, packet: &[u8]) {
    let Some((&length, rest)) = packet.split_first() else { return };
    let Some((name, bytes)) = rest.split_at_checked(usize::from(length)) else { return };
    let Some(handle) = std::str::from_utf8(name).ok().and_then(|name| node.module(name)) else { return };
    // One that is lost is followed by the next.
    let _ = handle.inputs.try_send(Input::FarmBeat(from, bytes.to_vec()));
}

/// For `status`.
pub fn farm_status(node: &Node, module: &str) -> Option<Value> {
    let part = node.farms.lock().get(module).cloned()?;
    let status = part.farm.lock().as_ref().map(|farm| farm.status(node.now()));
    Some(json!({ "runs": status.is_some(), "trouble": part.trouble(), "drained": part.drained(), "map": status }))
}

/// `understudy farm whose CLIENT_IP[:PORT] MODULE`
pub fn whose(node: &Node, args: &Value) -> Result<Value, Failure> {
    let module = route_module(args)?;
    let Some(part) = node.farms.lock().get(&module).cloned() else { return Err(unknown_module(node, &module)) };
    let text = args["client"].as_str().unwrap_or_default();
    let Some((client, port)) = client(text) else {
        return Err(usage_error("cannot tell whose that is", format!("`{text}` is no address"), "write IP or IP:PORT"));
    };
    let place = part.farm.lock();
    let Some(farm) = place.as_ref() else {
        let cure = "start it, or ask on a node where it runs";
        return Err(Failure::new(FailureKind::Refused, "cannot tell whose that is", format!("{module} does not run on this node"), cure));
    };
    Ok(json!({ "schema": 1, "client": text, "rules": farm.whose(client, port) }))
}

fn client(text: &str) -> Option<(IpAddr, Option<u16>)> {
    if let Ok(ip) = text.parse() {
        return Some((ip, None));
    }
    text.parse::<std::net::SocketAddr>().ok().map(|address| (address.ip(), Some(address.port())))
}
