//! All that an engine is told at its start, in one file: a configuration that is being edited must not keep a module from
//! failing over.

use crate::NodeId;
use crate::heartbeat::Profile;
use crate::quorum::Kind;
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use uuid::Uuid;

/// One start of an engine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EngineSpec {
    /// Form of the file.
    pub schema: u64,
    /// The module.
    pub module: String,
    /// The engines of the module, this one's name at `place`. The first decides for all whether the module goes on without its
    /// secondary. Empty in specifications of former versions: the module's name.
    #[serde(default)]
    pub engines: Vec<String>,
    /// Which of them this one is.
    #[serde(default)]
    pub place: usize,
    /// The cluster's name.
    pub cluster: String,
    /// This node.
    pub me: NodeId,
    /// This node's name.
    pub me_name: String,
    /// The other node.
    pub peer: NodeId,
    /// Its name, for sentences.
    pub peer_name: String,
    /// Where it is reached, in the order of networks: control and replication have one port.
    pub peer_addresses: Vec<SocketAddr>,
    /// Those that replication may use.
    pub replication_addresses: Vec<SocketAddr>,
    /// The cluster's key.
    pub key_file: PathBuf,
    /// Who decides between isolated nodes.
    pub quorum: QuorumSpec,
    /// Times.
    pub profile: Profile,
    /// What is replicated.
    pub directory: PathBuf,
    /// Paths that stay local.
    pub exclude: Vec<String>,
    /// Acknowledged is on both disks.
    pub durable: bool,
    /// Keep a CPU's sleep states out of the write path.
    pub low_latency: bool,
    /// Most bytes per second of a resync.
    pub resync_max_rate: Option<u64>,
    /// Bytes that the last consistent state may take while a resync runs here.
    #[serde(default)]
    pub keep_budget: Option<u64>,
    /// What it is started as.
    pub role: RoleSpec,
}

impl EngineSpec {
    /// The replica's name: of its control socket, its log, its connections.
    pub fn name(&self) -> &str {
        self.engines.get(self.place).unwrap_or(&self.module)
    }
}

/// Version of [`EngineSpec`].
pub const SCHEMA: u64 = 1;

/// What an engine is started as.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RoleSpec {
    /// The application runs here.
    Primary(BeginSpec),
    /// Follows.
    Secondary {
        /// Data that is no replica, or what only this node has, is given up (the latter is kept aside).
        discard: bool,
    },
}

/// The generation that begins.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BeginSpec {
    /// Which.
    pub generation: Uuid,
    /// Claimed and given up for it.
    pub superseded: Vec<Uuid>,
    /// An operator has accepted what is lost.
    pub accepted: bool,
}

/// Who decides between isolated nodes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum QuorumSpec {
    /// Nobody.
    None,
    /// The witness.
    Witness {
        /// Where.
        address: SocketAddr,
        /// Its key.
        key_file: PathBuf,
    },
    /// An address that answers pings.
    Tiebreaker {
        /// Which.
        address: IpAddr,
    },
}

impl QuorumSpec {
    /// For the decisions.
    pub fn kind(&self) -> Kind {
        match self {
            QuorumSpec::None => Kind::None,
            QuorumSpec::Witness { .. } => Kind::Witness,
            QuorumSpec::Tiebreaker { .. } => Kind::Tiebreaker,
        }
    }
}
