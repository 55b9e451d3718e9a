//! `modules/NAME/module.toml`: the same file on every node of the module.

use crate::NodeId;
use fsrepl::node::options::Ack;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

/// A module.
#[derive(Clone, Debug, PartialEq)]
pub struct Module {
    /// The folder's name.
    pub name: String,
    /// The folder, with the scripts.
    pub folder: PathBuf,
    /// What it is.
    pub kind: ModuleKind,
    /// Where it may run: two for a mirror, one for a service, 2 to 32 for a farm.
    pub nodes: Vec<NodeId>,
    /// Where it should run.
    pub preferred: Option<NodeId>,
    /// It returns there by itself once in sync.
    pub failback: bool,
    /// Whether it starts with the node.
    pub boot: Boot,
    /// Modules that must serve on this node before this one starts here.
    pub depends_on: Vec<String>,
    /// When a write is acknowledged (mirror).
    pub ack: Ack,
    /// What is replicated (mirror): one consistency group.
    pub replicate: Vec<Replicate>,
    /// Most bytes per second of a resync; none: what link and disks leave.
    pub resync_max_rate: Option<u64>,
    /// Bytes that the last consistent state of a secondary may take while its resync runs; 0 for none, none for the usual.
    pub keep_budget: Option<u64>,
    /// Keep a CPU's sleep states out of the write path.
    pub low_latency: bool,
    /// A primary that lost its memory in sync starts without its peer (see the failover document).
    pub start_after_power_cut: bool,
    /// Addresses that go with the module.
    pub virtual_ips: Vec<VirtualIp>,
    /// What runs; none: only data and addresses.
    pub application: Option<Application>,
    /// What is looked at while it runs.
    pub checks: Vec<Check>,
    /// The module's own, for its scripts.
    pub variables: BTreeMap<String, String>,
    /// Only for farms.
    pub farm: Option<Farm>,
    /// Digest of the folder, for comparing nodes.
    pub digest: String,
}

impl Module {
    /// The names of its engines, one for each directory. The first has the module's, which no other can: a name of a module has
    /// no colon.
    pub fn engines(&self) -> Vec<String> {
        let name = |(place, replicate): (usize, &Replicate)| match place {
            0 => self.name.clone(),
            _ => format!("{}:{}", self.name, replicate.name),
        };
        self.replicate.iter().enumerate().map(name).collect()
    }
}

/// What a module is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ModuleKind {
    /// Replicated directories on two nodes.
    Mirror,
    /// One service on several nodes behind one address.
    Farm,
    /// One node, restart only.
    Service,
}

/// Whether a module starts with the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Boot {
    /// Always.
    On,
    /// Never by itself.
    Off,
    /// As it was.
    Last,
}

/// One replicated directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replicate {
    /// For sentences.
    pub name: String,
    /// Absolute.
    pub directory: PathBuf,
    /// Anchored patterns of paths that stay local.
    pub exclude: Vec<String>,
    /// Relative paths that must be there before the module starts as primary.
    pub require: Vec<PathBuf>,
}

/// One virtual address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VirtualIp {
    /// For sentences.
    pub name: String,
    /// The address.
    pub address: IpAddr,
    /// Length of the network's prefix.
    pub prefix: u8,
    /// None: found by subnet.
    pub interface: Option<String>,
    /// What happens when somebody takes it off the interface.
    pub on_loss: LostAddress,
    /// TCP connections to it are reset when it is given up.
    pub reset_connections: bool,
    /// Moves it (a cloud's route, an elastic address) in place of an interface of this node.
    pub script: Option<AddressScript>,
}

/// What moves an address that is on no interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddressScript {
    /// The executable.
    pub file: PathBuf,
    /// Killed when it takes longer.
    pub timeout: Duration,
}

/// What the loss of an address means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LostAddress {
    /// It is put back.
    Restore,
    /// A failure, as of a check with `failover`.
    Failover,
}

/// What runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Application {
    /// How.
    pub launch: Launch,
    /// Longest until it is started.
    pub start_timeout: Duration,
    /// Longest until it is stopped; then it is forced.
    pub stop_timeout: Duration,
    /// Failures within `restart_window` that are answered by a restart in place.
    pub max_restarts: usize,
    /// See there.
    pub restart_window: Duration,
}

/// How an application is started and stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Launch {
    /// Executables in the module's folder.
    Scripts {
        /// Returns when the application is started.
        start: PathBuf,
        /// Called again with `UNDERSTUDY_FORCE=1` when the application outlives `stop_timeout`.
        stop: PathBuf,
    },
    /// A program in the foreground, watched.
    Run(Vec<String>),
    /// A unit of systemd.
    Unit(String),
}

/// One check.
#[derive(Clone, Debug, PartialEq)]
pub struct Check {
    /// For sentences.
    pub name: String,
    /// What is looked at.
    pub kind: CheckKind,
    /// How often.
    pub timing: Timing,
    /// What follows.
    pub on_failure: OnFailure,
}

/// When a check runs and when it counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// Between starts.
    pub interval: Duration,
    /// A check that hangs is a failed check.
    pub timeout: Duration,
    /// Successes in a row until it passes.
    pub rise: u32,
    /// Failures in a row until it fails.
    pub fall: u32,
    /// After the application started, failures do not count for so long.
    pub grace: Duration,
}

/// What is looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CheckKind {
    /// A connection is accepted.
    Tcp {
        /// Where.
        address: SocketAddr,
    },
    /// An address answers.
    Ping {
        /// Which.
        address: IpAddr,
    },
    /// An interface is up with a carrier.
    Interface {
        /// Which.
        interface: String,
    },
    /// A process of that name runs.
    Process {
        /// As in /proc/PID/comm, or the base name of its program.
        process: String,
        /// At least so many.
        count: usize,
    },
    /// A URL answers.
    Http {
        /// `http://…`.
        url: String,
        /// Of the answer; none: 200 to 399.
        status: Option<u16>,
        /// Must be in the body.
        contains: Option<String>,
    },
    /// A unit of systemd is active.
    Unit {
        /// Which.
        unit: String,
    },
    /// A script in the module's folder exits with 0.
    Script {
        /// Which.
        script: PathBuf,
    },
    /// Another module on this node serves.
    Module {
        /// Which.
        module: String,
    },
}

/// What a failing check asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnFailure {
    /// Restart in place, within the ladder.
    Restart,
    /// Let the other node serve.
    Failover,
    /// Stop here.
    Stop,
    /// Serve nothing until it passes.
    Wait,
    /// Say so.
    Log,
}

/// What only farms have.
#[derive(Clone, Debug, PartialEq)]
pub struct Farm {
    /// Rules.
    pub balance: Vec<Balance>,
    /// Weight of each node of the module, in the order of `nodes`; 1 unless set, 0 = drained.
    pub weights: Vec<u32>,
    /// A chain instead of a spread: the highest living priority serves everything. In the order of `nodes`.
    pub priorities: Option<Vec<u32>>,
    /// Silence after which a member is lost.
    pub lost_after: Duration,
}

/// One rule of a farm.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Balance {
    /// For sentences.
    pub name: String,
    /// Which.
    pub protocol: Protocol,
    /// Which.
    pub port: u16,
    /// What goes to one server.
    pub affinity: Affinity,
}

/// A transport protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

/// What goes to one server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Affinity {
    /// All of a client.
    ClientIp,
    /// Each connection by itself.
    ClientPort,
}
