//! Heartbeats in the real world: sockets, a clock, and a thread that does nothing else. What is thought about them is
//! [`crate::heartbeat`]'s.
//!
//! Datagrams of farms use the same sockets: they are small, may be lost, and want to be where it is known who is there.

mod epoch;
mod farm;
mod runner;
#[cfg(test)]
mod tests;

pub use epoch::{boot_id, next_epoch};

use super::{Keys, limits, sockets};
use crate::NodeId;
use crate::config::Cluster;
use crate::heartbeat::{Change, LinkState, Presence, Stall};
use crossbeam::channel::Sender;
use farm::Packet;
use fsrepl::wire::datagram::{DatagramError, DatagramSealer};
use parking_lot::{Mutex, RwLock};
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::net::{SocketAddr, UdpSocket};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;
use uuid::Uuid;

/// A heartbeat.
const BEAT: u8 = 1;
/// A datagram of a farm.
const FARM: u8 = 2;

/// What happens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BeatEvent {
    /// Something about another node has changed.
    Change {
        /// The node.
        node: NodeId,
        /// What.
        change: Change,
    },
    /// Another node has been there long enough for what can wait, or no longer is.
    Steady {
        /// The node.
        node: NodeId,
        /// Whether it is.
        steady: bool,
    },
    /// This process did not run for a while: what it thinks it knows is old.
    Stall(Stall),
    /// From a farm on another node, each datagram once.
    Farm {
        /// The node.
        from: NodeId,
        /// What [`Beats::send_farm`] was given there.
        bytes: Vec<u8>,
    },
}

/// One network to another node, as it is now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkView {
    /// The network's place in `cluster.toml`.
    pub network: u8,
    /// What is known of it.
    pub state: LinkState,
    /// How long nothing was heard on it while this node listened.
    pub silence: Duration,
}

/// What is known of another node.
#[derive(Clone, Debug)]
struct View {
    presence: Presence,
    links: Vec<LinkView>,
}

/// Beats until it is dropped.
pub struct Beats {
    shared: Arc<Shared>,
    wake: UnixStream,
    thread: Option<JoinHandle<()>>,
}

/// Of the thread and of those who ask.
struct Shared {
    outlet: Outlet,
    epoch: u64,
    facts: AtomicU64,
    farm: AtomicU64,
    ended: AtomicBool,
    views: Mutex<BTreeMap<NodeId, View>>,
}

/// Who starts beating.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The node.
    pub me: NodeId,
    /// Of [`next_epoch`]: on disk before the first beat.
    pub epoch: u64,
    /// Of [`boot_id`].
    pub boot: Uuid,
}

impl Beats {
    /// Begins. Events go to `sender`; a full channel delays them and never this thread.
    ///
    /// # Errors
    /// A network's address that cannot be used, by name; no node `me`; no random bytes.
    pub fn start(cluster: &Cluster, origin: Origin, keys: Keys, sender: Sender<BeatEvent>) -> io::Result<Beats> {
        let outlet = Outlet::open(cluster, origin.me, &keys)?;
        let views = Mutex::default();
        let (facts, farm, ended) = (AtomicU64::new(0), AtomicU64::new(0), AtomicBool::new(false));
        let shared = Arc::new(Shared { outlet, epoch: origin.epoch, facts, farm, ended, views });
        let (wake, woken) = UnixStream::pair()?;
        let runner = runner::Runner::new(shared.clone(), cluster.profile, origin, keys, sender);
        let thread = std::thread::Builder::new().name("beats".into()).spawn(move || runner.run(&woken))?;
        Ok(Beats { shared, wake, thread: Some(thread) })
    }

    /// The other nodes are told of this version of what this node tells of its modules.
    pub fn set_facts(&self, version: u64) {
        self.shared.facts.store(version, Ordering::Relaxed);
    }

    /// Whether a node is there. Of oneself and of unknown ones nothing is known.
    pub fn presence(&self, node: NodeId) -> Presence {
        self.shared.views.lock().get(&node).map_or(Presence::Unknown, |view| view.presence)
    }

    /// The networks to a node.
    pub fn links(&self, node: NodeId) -> Vec<LinkView> {
        self.shared.views.lock().get(&node).map_or_else(Vec::new, |view| view.links.clone())
    }

    /// Sends bytes to the farms of another node over every network; they arrive once or not at all.
    ///
    /// # Errors
    /// More than [`limits::FARM`] bytes, no such node, or no network that takes it.
    pub fn send_farm(&self, to: NodeId, bytes: &[u8]) -> io::Result<()> {
        if bytes.len() > limits::FARM {
            let told = format!("a datagram of {} bytes is too long: at most {}", bytes.len(), limits::FARM);
            return Err(io::Error::new(io::ErrorKind::InvalidInput, told));
        }
        let seq = self.shared.farm.fetch_add(1, Ordering::Relaxed) + 1;
        let packet = Packet { from: self.shared.outlet.me, epoch: self.shared.epoch, seq, bytes };
        self.shared.outlet.send_everywhere(FARM, to, &packet.encode())
    }

    /// Ports in use, in order of networks: of interest when the port was 0.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.shared.outlet.sockets.iter().filter_map(|socket| socket.local_addr().ok()).collect()
    }
}

impl Drop for Beats {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::SeqCst);
        let _ = self.wake.write_all(&[0]);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A way to a node over one network.
#[derive(Clone, Copy, Debug)]
struct Route {
    socket: usize,
    to: SocketAddr,
}

/// Sockets, and what is sealed on them.
struct Outlet {
    me: NodeId,
    sockets: Vec<UdpSocket>,
    /// Per node and network; none where the network carries no beats.
    routes: BTreeMap<NodeId, Vec<Option<Route>>>,
    sealer: RwLock<Arc<DatagramSealer>>,
}

impl Outlet {
    fn open(cluster: &Cluster, me: NodeId, keys: &Keys) -> io::Result<Outlet> {
        let port = cluster.ports.heartbeat;
        let own = cluster.nodes.iter().find(|node| node.id == me);
        let own = own.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "this node is not in cluster.toml"))?;
        let (mut binds, mut sockets) = (Vec::new(), Vec::new());
        let mut of_network = Vec::new();
        for network in &own.networks {
            let bind = SocketAddr::new(network.bind, port);
            // Networks of one address share a socket.
            let at = binds.iter().position(|known| *known == bind);
            let at = if network.heartbeat && at.is_none() {
                let told = |error: io::Error| io::Error::new(error.kind(), format!("cannot use {bind} for heartbeats: {error}"));
                sockets.push(sockets::datagrams(bind).map_err(told)?);
                binds.push(bind);
                Some(sockets.len() - 1)
            } else {
                at
            };
            of_network.push(at.filter(|_| network.heartbeat));
        }
        let others = cluster.nodes.iter().filter(|node| node.id != me);
        let routes = others.map(|node| {
            let pairs = node.networks.iter().zip(&of_network);
            let route = pairs.map(|(network, socket)| {
                let to = SocketAddr::new(network.advertise, port);
                socket.filter(|_| network.heartbeat).map(|socket| Route { socket, to })
            });
            (node.id, route.collect())
        });
        let routes = routes.collect();
        let sealer = DatagramSealer::new(&keys.ring()).map_err(io::Error::other)?;
        Ok(Outlet { me, sockets, routes, sealer: RwLock::new(Arc::new(sealer)) })
    }

    fn route(&self, node: NodeId, network: usize) -> Option<Route> {
        self.routes.get(&node)?.get(network).copied().flatten()
    }

    /// Never blocks; what cannot be sent is lost, as on a network.
    fn send(&self, kind: u8, to: NodeId, route: Route, plain: &[u8]) -> io::Result<()> {
        let sealer = self.sealer.read().clone();
        let sealed = sealer.seal(kind, to.0, plain).map_err(|error: DatagramError| io::Error::other(error))?;
        self.sockets[route.socket].send_to(&sealed, route.to).map(|_| ())
    }

    fn send_everywhere(&self, kind: u8, to: NodeId, plain: &[u8]) -> io::Result<()> {
        let routes = self.routes.get(&to).map_or(&[][..], |routes| routes);
        let mut outcome = Err(io::Error::new(io::ErrorKind::NotFound, "no network with heartbeats leads to this node"));
        for route in routes.iter().flatten() {
            match self.send(kind, to, *route, plain) {
                Ok(()) => outcome = Ok(()),
                Err(error) if outcome.is_err() => outcome = Err(error),
                Err(_) => {}
            }
        }
        outcome
    }
}
