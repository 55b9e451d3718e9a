//! The hosts and their networks.
//!
//! Each network is a bridge on the hub with a cable to each node. The witness, the clients and everything else that both
//! nodes reach is on the hub; a cut between the nodes alone leaves the hub to both.

use super::client::Clients;
use super::node::Node;
use super::setup::{Places, Setup};
use super::till::read_all;
use super::{PORT, SECOND, Watch};
use crate::engine::{Engine, Start, wait_for};
use crate::hosts::{Host, new_network, nic};
use crate::lab::Lab;
use crate::ledger::{Notes, check_final};
use crate::pair::make_key;
use crate::tree::{Ignore, differences};
use serde_json::json;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// For what a cluster does by itself: detection, a vote, a resync, on a busy machine.
pub const SOON: Duration = Duration::from_secs(40);
/// Threads of clients.
pub const THREADS: usize = 3;

/// One network.
struct Network {
    number: u8,
    bridge: String,
    /// The hub's ends of both nodes' cables, and the nodes' own.
    ports: [u8; 2],
    nics: [u8; 2],
}

impl Network {
    fn address(&self, host: u8) -> Ipv4Addr {
        Ipv4Addr::new(10, 77, self.number, host)
    }
}

/// Everything.
pub struct Site {
    /// Its configuration.
    pub setup: Setup,
    /// The third host.
    pub hub: Host,
    /// Both nodes, `a` and `b`.
    pub nodes: [Node; 2],
    lab: Arc<Lab>,
    networks: Vec<Network>,
    keys: [PathBuf; 2],
    data: Vec<PathBuf>,
    witness: Option<Engine>,
}

const NAMES: [&str; 2] = ["a", "b"];

impl Site {
    /// Hosts, networks and configuration; the witness runs if there is one, daemons do not.
    pub fn prepare(lab: &Arc<Lab>, setup: Setup) -> Site {
        let hub = lab.host("hub");
        let hosts = NAMES.map(|name| lab.host(name));
        let networks: Vec<Network> = (0..setup.networks).map(|place| network(lab, &hub, &hosts, place)).collect();
        let keys = ["cluster", "witness"].map(|name| make_key(&lab.dir.join(name), 1));
        let data: Vec<PathBuf> = ["data", SECOND][..setup.directories].iter().map(|name| lab.dir.join(name)).collect();
        data.iter().for_each(|place| fs::create_dir_all(place).expect("create the directory that hosts mount theirs on"));
        let mut number = 0;
        let nodes = hosts.map(|host| {
            number += 1;
            Node::new(NAMES[number - 1], host, &data, 1)
        });
        let mut site = Site { setup, hub, nodes, lab: lab.clone(), networks, keys, data, witness: None };
        for node in &site.nodes {
            site.configure(node);
        }
        if site.setup.witness {
            let folder = site.hub.dir.join("keys");
            fs::create_dir_all(&folder).expect("create the witness' keys");
            fs::copy(&site.keys[1], folder.join("lab.key")).expect("copy the key");
            site.start_witness();
        }
        site
    }

    /// The usual: both daemons, the module serves on `a`, both in sync.
    pub fn in_sync(lab: &Arc<Lab>, setup: Setup) -> Site {
        let mut site = Site::prepare(lab, setup);
        site.first_start();
        site
    }

    /// The very first start, of daemons and of the module.
    pub fn first_start(&mut self) {
        self.nodes.iter_mut().for_each(Node::start_daemon);
        self.nodes[0].order_here("start");
        self.nodes[1].order_here("start");
        self.nodes[0].order("promote", json!({ "node": "a", "accept": "first" }));
        self.wait_roles(0);
    }

    fn configure(&self, node: &Node) {
        let addresses: Vec<[Ipv4Addr; 2]> = self.networks.iter().map(|network| [network.address(1), network.address(2)]).collect();
        node.configure(
            &self.setup,
            &Places {
                config: &node.host.dir.join("config"),
                data: &self.data,
                keys: [&self.keys[0], &self.keys[1]],
                networks: &addresses,
                hub: self.networks[0].address(9),
                address: self.virtual_address(),
                sick: &self.lab.dir,
            },
        );
    }

    /// The address that clients use.
    pub fn virtual_address(&self) -> Ipv4Addr {
        self.address(100)
    }

    /// An address of the first network: 1 and 2 are the nodes', 9 the hub's, from 100 on they are virtual.
    pub fn address(&self, host: u8) -> Ipv4Addr {
        self.networks[0].address(host)
    }

    /// Where the application of node `which` is reached whatever has the virtual address.
    pub fn own_socket(&self, which: usize) -> SocketAddr {
        SocketAddr::from((self.networks[0].address(which as u8 + 1), PORT))
    }

    /// Starts the witness (again).
    pub fn start_witness(&mut self) {
        let listen = format!("{}:7409", self.networks[0].address(9));
        let folder = self.hub.dir.join("keys");
        // The verb's first word is its directory everywhere else.
        let start = Start::plain(&self.hub, "witness").args(["--listen", &listen, "--keys"]).args([&folder]);
        let witness = start.spawn();
        witness.wait_ready();
        self.witness = Some(witness);
    }

    /// The witness ends at once; its disk stays.
    pub fn kill_witness(&mut self) {
        self.witness.take().expect("the witness runs").kill();
    }

    /// `leader` serves in sync, and the other one follows.
    pub fn wait_roles(&self, leader: usize) {
        self.nodes[leader].wait_phase("Prim", SOON);
        self.nodes[1 - leader].wait_phase("Second", SOON);
        // The one knows of the other, so that it could hand over.
        self.nodes[leader].wait("able to fail over", SOON, |shown| shown["can_fail_over"]["now"] == true);
    }

    /// Waits until one of the nodes serves in sync; which.
    pub fn wait_leader(&self) -> usize {
        let leads = || (0..2).find(|&which| self.nodes[which].shown()["phase"] == "Prim");
        wait_for(SOON, leads).unwrap_or_else(|| panic!("nobody serves in sync: {:#}, {:#}", self.nodes[0].shown(), self.nodes[1].shown()))
    }

    /// Clients on the hub, through the virtual address.
    pub fn clients(&self, name: &str) -> Clients {
        let address = SocketAddr::from((self.virtual_address(), PORT));
        Clients::start(self.hub.first_process(), address, THREADS, crate::rng::seed(name))
    }

    /// Judges the virtual address from now on.
    pub fn watch(&self) -> Watch {
        Watch::start(self.virtual_address(), [0, 1].map(|which| self.nodes[which].host.first_process()))
    }

    /// Network `place` between the nodes is cut or mended; both still reach the hub.
    pub fn cut_between(&self, place: usize, cut: bool) {
        for port in self.networks[place].ports {
            let isolated = if cut { "on" } else { "off" };
            self.hub.run(["ip", "link", "set", &nic(port), "type", "bridge_slave", "isolated", isolated]);
        }
    }

    /// Node `which` hears nothing of network `place`, and is still heard; or hears again.
    pub fn deafen(&self, which: usize, place: usize, deaf: bool) {
        let (host, number) = (&self.nodes[which].host, self.networks[place].nics[which]);
        if deaf { host.deafen(number) } else { host.undeafen(number) }
    }

    /// The plug of node `which` on every network, at the hub.
    pub fn plug(&self, which: usize, up: bool) {
        let words: Vec<String> = self.networks.iter().map(|network| nic(network.ports[which])).collect();
        for name in words {
            self.hub.run(["ip", "link", "set", &name, if up { "up" } else { "down" }]);
        }
    }

    /// Node `which` hears the other one over every network.
    pub fn networks_up(&self, which: usize) -> bool {
        let Ok(status) = self.nodes[which].ask("status", &json!({})) else { return false };
        let peer = &status["nodes"][1 - which]["networks"];
        peer.as_array().is_some_and(|networks| networks.len() == self.networks.len() && networks.iter().all(|one| one["state"] == "up"))
    }

    /// Node `which` is gone: links and processes at once.
    pub fn power_off(&mut self, which: usize) {
        self.plug(which, false);
        self.nodes[which].power_off();
    }

    /// Node `which` boots, without its daemon.
    pub fn boot(&mut self, which: usize) {
        let host = self.lab.host(NAMES[which]);
        for network in &mut self.networks {
            attach(&self.lab, &self.hub, &host, network, which);
        }
        let boots = self.nodes[which].boots + 1;
        self.nodes[which] = Node::new(NAMES[which], host, &self.data, boots);
        self.configure(&self.nodes[which]);
    }

    /// Node `which` boots, with its daemon.
    pub fn power_on(&mut self, which: usize) {
        self.boot(which);
        self.nodes[which].start_daemon();
    }

    /// Everything acknowledged is in the tree of node `which`, which serves.
    pub fn must_hold(&self, which: usize, notes: &Notes) {
        let verdict = check_final(notes, &read_all(&self.nodes[which].all_seen(), THREADS));
        assert!(verdict.acknowledged > 0, "nothing was acknowledged");
        verdict.must_be_clean();
    }

    /// The end of a story in which `leader` serves: one node had the address at a time, if that was watched; nothing
    /// acknowledged is missing, and both trees are equal.
    pub fn judge(self, leader: usize, clients: Clients, watch: Option<Watch>) {
        let notes = clients.stop();
        if let Some(watch) = watch {
            watch.stop().must_be_one();
        }
        self.must_hold(leader, &notes);
        self.finish(&notes);
    }

    /// Stops the module everywhere; both trees are equal, and hold everything acknowledged.
    pub fn finish(self, notes: &Notes) {
        self.stop_everywhere();
        self.must_be_equal();
        check_final(notes, &read_all(&self.nodes[0].all_bare(), THREADS)).must_be_clean();
    }

    /// Stops the module on both nodes.
    pub fn stop_everywhere(&self) {
        self.nodes[0].order("stop", json!({}));
        self.nodes.iter().for_each(|node| drop(node.wait_state("STOP", SOON)));
    }

    /// Both trees are equal, as they are on the disks.
    pub fn must_be_equal(&self) {
        for (one, other) in self.nodes[0].all_bare().iter().zip(&self.nodes[1].all_bare()) {
            let found = differences(one, other, &Ignore::default());
            assert!(found.is_empty(), "the nodes' directories differ:\n{}", found.join("\n"));
        }
    }
}

fn network(lab: &Arc<Lab>, hub: &Host, hosts: &[Host; 2], place: usize) -> Network {
    let bridge = format!("br{place}");
    hub.run(["ip", "link", "add", &bridge, "type", "bridge", "forward_delay", "0"]);
    let mut network = Network { number: new_network(), bridge, ports: [0; 2], nics: [0; 2] };
    hub.run(["ip", "address", "add", &format!("{}/24", network.address(9)), "dev", &network.bridge]);
    hub.run(["ip", "link", "set", &network.bridge, "up"]);
    for (which, host) in hosts.iter().enumerate() {
        attach(lab, hub, host, &mut network, which);
    }
    network
}

fn attach(lab: &Arc<Lab>, hub: &Host, host: &Host, network: &mut Network, which: usize) {
    let [port, own] = lab.cable(hub, host);
    (network.ports[which], network.nics[which]) = (port, own);
    hub.run(["ip", "link", "set", &nic(port), "master", &network.bridge, "up"]);
    host.run(["ip", "address", "add", &format!("{}/24", network.address(which as u8 + 1)), "dev", &nic(own)]);
    host.run(["ip", "link", "set", &nic(own), "up"]);
}
