//! What all parts of a daemon share.

use super::board::Board;
use super::courier::Couriers;
use super::mirror::Input;
use super::solo::Part;
use crate::arbiter::{ClusterArbiter, Quorum, Settings};
use crate::config::{self, Cluster, Module, ModuleKind, Network};
use crate::engine::{Home, QuorumSpec};
use crate::module::events::{Event, Kind};
use crate::module::notify::{Notice, Notifier};
use crate::net::beats::Beats;
use crate::net::{Client, Identity, Keys};
use crate::witness::WitnessClient;
use crate::{Moment, NodeId};
use crossbeam::channel::Sender;
use parking_lot::{Condvar, Mutex, RwLock};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::OnceLock;
use std::time::{Duration, Instant};
use vip::manager::Manager;

/// Longest that an order waits for a daemon that is starting; finding the engines of many modules takes a while.
const LOADING: Duration = Duration::from_secs(20);

/// A module that this node runs.
#[derive(Clone)]
pub struct Handle {
    /// As it was configured when it was loaded.
    pub module: Arc<Module>,
    /// Its thread.
    pub inputs: Sender<Input>,
}

impl Handle {
    /// Of a mirror: the other node.
    pub fn peer_of(&self, me: NodeId) -> Option<NodeId> {
        match self.module.kind {
            ModuleKind::Mirror => self.module.nodes.iter().copied().find(|&node| node != me),
            _ => None,
        }
    }
}

/// The node.
pub struct Node {
    /// The configuration.
    pub cluster: Cluster,
    /// Its directory.
    pub config: PathBuf,
    /// Which of its nodes this one is.
    pub me: NodeId,
    /// For engines.
    pub home: Home,
    /// Boot of today.
    pub boot: String,
    /// The cluster's keys.
    pub keys: Keys,
    /// The other nodes.
    pub clients: BTreeMap<NodeId, Arc<Client>>,
    /// Virtual addresses.
    pub addresses: Manager,
    /// What goes out.
    pub couriers: Couriers,
    /// What is shown.
    pub board: Arc<Board>,
    /// Who is told of roles.
    pub notify: Notifier,
    /// Modules.
    pub modules: RwLock<BTreeMap<String, Handle>>,
    /// The parts of farms on this node.
    pub farms: Mutex<BTreeMap<String, Arc<Part>>>,
    /// Heartbeats, once they are started.
    pub beats: OnceLock<Beats>,
    /// Of the program.
    pub version: String,
    /// Whether the modules are loaded; whoever waits for that.
    loaded: (Mutex<bool>, Condvar),
    quorum: Quorum,
    witness: Option<Arc<WitnessClient>>,
    began: Instant,
}

impl Node {
    #[expect(clippy::too_many_arguments, reason = "the one place where a node is put together")]
    pub fn new(
        cluster: Cluster,
        config: PathBuf,
        me: NodeId,
        home: Home,
        boot: String,
        keys: Keys,
        clients: BTreeMap<NodeId, Arc<Client>>,
        addresses: Manager,
        couriers: Couriers,
        board: Arc<Board>,
        notify: Notifier,
        quorum: Quorum,
        version: String,
    ) -> Node {
        let witness = match &quorum {
            Quorum::Witness { address, keys } => Some(Arc::new(WitnessClient::new(*address, keys.clone()))),
            _ => None,
        };
        Node {
            cluster,
            config,
            me,
            home,
            boot,
            keys,
            clients,
            addresses,
            couriers,
            board,
            notify,
            modules: RwLock::default(),
            farms: Mutex::default(),
            beats: OnceLock::new(),
            version,
            loaded: (Mutex::default(), Condvar::new()),
            quorum,
            witness,
            began: Instant::now(),
        }
    }

    /// The time of this daemon.
    pub fn now(&self) -> Moment {
        self.began.elapsed()
    }

    /// The modules are loaded.
    pub fn set_loaded(&self) {
        *self.loaded.0.lock() = true;
        self.loaded.1.notify_all();
    }

    /// Waits until they are: whoever asks before that must not hear that there are none. False: not in time.
    pub fn wait_loaded(&self) -> bool {
        let mut loaded = self.loaded.0.lock();
        if !*loaded {
            self.loaded.1.wait_while_for(&mut loaded, |loaded| !*loaded, LOADING);
        }
        *loaded
    }

    /// This node's name.
    pub fn name(&self) -> &str {
        self.cluster.name_of(self.me)
    }

    /// Who this node is, to others.
    pub fn identity(&self) -> Identity {
        Identity::node(&self.cluster.name, self.me, self.name())
    }

    /// Who decides between isolated nodes.
    pub fn quorum(&self) -> QuorumSpec {
        match &self.cluster.quorum {
            None => QuorumSpec::None,
            Some(config::Quorum::Witness { address, key_file }) => QuorumSpec::Witness { address: *address, key_file: key_file.clone() },
            Some(config::Quorum::Tiebreaker { address }) => QuorumSpec::Tiebreaker { address: *address },
        }
    }

    /// The witness, if it is the quorum.
    pub fn witness(&self) -> Option<Arc<WitnessClient>> {
        self.witness.clone()
    }

    /// Where a node is reached over the networks that `wanted` takes.
    pub fn addresses_of(&self, node: NodeId, wanted: impl Fn(&Network) -> bool) -> Vec<SocketAddr> {
        let networks = self.cluster.nodes.get(usize::from(node.0)).map(|node| node.networks.as_slice()).unwrap_or_default();
        let port = self.cluster.ports.control;
        networks.iter().filter(|network| wanted(network)).map(|network| SocketAddr::new(network.advertise, port)).collect()
    }

    /// Who is asked whether this node may lead a module. It asks as long as it takes.
    pub fn arbiter(&self, module: &str, peer: NodeId) -> ClusterArbiter {
        let profile = crate::heartbeat::Profile { hold: Duration::from_secs(365 * 86_400), ..self.cluster.profile };
        ClusterArbiter::new(Settings {
            me: self.identity(),
            peer,
            module: module.to_owned(),
            peer_addresses: self.addresses_of(peer, |_| true),
            keys: self.keys.clone(),
            quorum: self.quorum.clone(),
            profile,
        })
    }

    /// A module took a step: the operator reads it in the logs, and when its state `moved` whom it concerns is told.
    pub fn tell_step(&self, module: &str, moved: bool, event: Event) {
        tracing::info!(module, state = event.state, code = event.reason_code, "{}", event.reason);
        if moved {
            self.notify.tell(Notice {
                cluster: self.cluster.name.clone(),
                node: self.name().to_owned(),
                module: module.to_owned(),
                event: "state".into(),
                state: event.state.clone(),
                previous: self.board.own(module).map_or_else(String::new, |shown| shown.state),
                reason: event.reason.clone(),
                reason_code: event.reason_code.clone(),
            });
        }
        self.board.event(module, event);
    }

    /// What is shown has changed.
    pub fn facts_changed(&self, version: u64) {
        self.couriers.facts_changed();
        if let Some(beats) = self.beats.get() {
            beats.set_facts(version);
        }
    }

    /// The module of that name, if this node runs it.
    pub fn module(&self, name: &str) -> Option<Handle> {
        self.modules.read().get(name).cloned()
    }

    /// Tells every mirror that has `peer` as its other node.
    pub fn tell_mirrors(&self, peer: NodeId, input: impl Fn() -> Input) {
        for handle in self.modules.read().values().filter(|handle| handle.peer_of(self.me) == Some(peer)) {
            let _ = handle.inputs.send(input());
        }
    }
}

/// A step, as it is logged.
pub fn state_event(state: &str, reason: &str, code: &str, consequence: String) -> Event {
    Event { kind: Kind::State, state: state.to_owned(), reason: reason.to_owned(), reason_code: code.to_owned(), consequence }
}
