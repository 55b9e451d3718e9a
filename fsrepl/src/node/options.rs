//! What an engine is started with.

use crate::arbiter::Arbiter;
use crate::report::Failure;
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

/// When a write is acknowledged to the application.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ack {
    /// When the secondary has applied it in memory; fsync waits for both disks.
    #[default]
    Memory,
    /// When both nodes have it on stable storage.
    Disk,
}

impl std::str::FromStr for Ack {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        match word {
            "memory" => Ok(Ack::Memory),
            "disk" => Ok(Ack::Disk),
            "fsync" | "async" => Err(format!("`{word}` is reserved and not built yet: use `memory` or `disk`")),
            _ => Err(format!("unknown mode `{word}`: use `memory` or `disk`")),
        }
    }
}

/// Where this node keeps what does not belong to the data.
#[derive(Clone, Debug)]
pub struct Places {
    /// Survives reboots (`/var/lib/understudy`): which replicas this node has.
    pub state: PathBuf,
    /// Does not (`/run/understudy`): control sockets.
    pub run: PathBuf,
}

/// How a primary in a cluster reaches its secondary: by any of several networks, through the port that all modules share.
pub trait Dial: Send + Sync + std::fmt::Debug {
    /// A fresh connection to the secondary's engine.
    fn dial(&self) -> io::Result<TcpStream>;

    /// The secondary, for sentences.
    fn peer(&self) -> String;
}

/// A primary that a cluster has decided on.
#[derive(Clone, Debug)]
pub struct Begin {
    /// The generation that was granted.
    pub generation: Uuid,
    /// Generations that were claimed and given up for it.
    pub superseded: Vec<Uuid>,
    /// The data may be outdated or half a copy: an operator has accepted that.
    pub accepted: bool,
}

/// What an engine is told by a cluster; none of it for a pair that an operator runs by hand.
#[derive(Clone, Debug)]
pub struct Clustered {
    /// Who may go on without the other.
    pub arbiter: Arc<dyn Arbiter>,
    /// The way to the secondary.
    pub dial: Arc<dyn Dial>,
    /// What begins with this start.
    pub begin: Begin,
}

/// Start of a primary.
#[derive(Clone, Debug)]
pub struct MountOptions {
    /// The directory to replicate; mounted over itself.
    pub dir: PathBuf,
    /// The secondary; `None` only with `passthrough`.
    pub to: Option<SocketAddr>,
    /// Keys, or none.
    pub auth: crate::wire::keys::Auth,
    /// Name of the replica for `status` and `sync`.
    pub name: String,
    /// When a write is acknowledged.
    pub ack: Ack,
    /// Start without a reachable secondary.
    pub alone: bool,
    /// Anchored patterns of paths that stay local.
    pub exclude: Vec<String>,
    /// Hold `/dev/cpu_dma_latency` at 0 while replicating.
    pub low_latency: bool,
    /// Silence after which the secondary counts as lost.
    pub peer_timeout: Duration,
    /// Most bytes that a resync sends in a second; 0 for no limit.
    pub resync_max_rate: u64,
    /// The same FUSE layer with neither replication nor journal, for measurements.
    pub passthrough: bool,
    /// State and run directories.
    pub places: Places,
    /// Started by a cluster.
    pub clustered: Option<Clustered>,
}

impl MountOptions {
    /// The secondary, for sentences.
    pub fn peer(&self) -> Option<String> {
        self.clustered.as_ref().map(|clustered| clustered.dial.peer()).or_else(|| self.to.map(|to| to.to_string()))
    }
}

/// Where a secondary takes connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listen {
    /// Here.
    Address(SocketAddr),
    /// From the cluster's daemon, which hands them over.
    Handed,
}

/// Start of a secondary.
#[derive(Clone, Debug)]
pub struct ReceiveOptions {
    /// The directory that becomes the replica.
    pub dir: PathBuf,
    /// Where the primary connects to.
    pub listen: Listen,
    /// Keys, or none.
    pub auth: crate::wire::keys::Auth,
    /// Name of the replica for `status`.
    pub name: String,
    /// Give up data in `dir` that is no replica of the sender's.
    pub discard_local: bool,
    /// Silence after which the primary counts as lost.
    pub peer_timeout: Duration,
    /// Bytes that the last consistent state may take while a resync runs; 0 for none of it, `None` for the usual part of
    /// what is free.
    pub keep_budget: Option<u64>,
    /// State and run directories.
    pub places: Places,
}

/// What both engines end with.
pub type Outcome = Result<(), Failure>;
