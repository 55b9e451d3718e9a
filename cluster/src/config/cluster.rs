//! `cluster.toml`: the same file on every node.

use crate::NodeId;
use crate::heartbeat::Profile;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

/// The cluster.
#[derive(Clone, Debug, PartialEq)]
pub struct Cluster {
    /// Its name.
    pub name: String,
    /// Key of all traffic between its nodes.
    pub key_file: PathBuf,
    /// Times of detection.
    pub profile: Profile,
    /// Its nodes; [`NodeId`] is the place in this list.
    pub nodes: Vec<Node>,
    /// Who decides between isolated nodes; none: nobody.
    pub quorum: Option<Quorum>,
    /// Where nodes listen.
    pub ports: Ports,
    /// What is answered over HTTP.
    pub http: Http,
    /// A command that makes sure that another node is off.
    pub fence: Option<Fence>,
    /// Who is told of changes of role.
    pub notify: Notify,
    /// Digest of the file, for comparing nodes.
    pub digest: String,
}

/// A node.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Its place in the file.
    pub id: NodeId,
    /// Its name: what `--node` takes.
    pub name: String,
    /// Where it is reached, in the order of networks, which is the same on all nodes.
    pub networks: Vec<Network>,
}

/// A node on one network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Network {
    /// Where the node itself listens; usually the same as `advertise`.
    pub bind: IpAddr,
    /// Where others reach it.
    pub advertise: IpAddr,
    /// Heartbeats travel here.
    pub heartbeat: bool,
    /// Replication may travel here.
    pub replication: bool,
}

/// Who decides between isolated nodes.
#[derive(Clone, Debug, PartialEq)]
pub enum Quorum {
    /// Our witness.
    Witness {
        /// Where.
        address: SocketAddr,
        /// Authorises voting and nothing else.
        key_file: PathBuf,
    },
    /// An address that answers pings.
    Tiebreaker {
        /// Usually the router.
        address: IpAddr,
    },
}

/// Ports of every node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ports {
    /// UDP.
    pub heartbeat: u16,
    /// TCP: control and replication of all modules.
    pub control: u16,
    /// TCP.
    pub http: u16,
}

impl Default for Ports {
    fn default() -> Ports {
        Ports { heartbeat: 7400, control: 7400, http: 7480 }
    }
}

/// HTTP beyond the public health answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Http {
    /// `/metrics` and `/api` from other hosts too; only with TLS and a token.
    pub tls: Option<Tls>,
}

/// What other hosts need.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// Port of the protected server.
    pub port: u16,
    /// PEM.
    pub certificate: PathBuf,
    /// PEM.
    pub key: PathBuf,
    /// File with the token that clients send as `Authorization: Bearer`.
    pub token_file: PathBuf,
}

/// Makes sure that a node is off before another takes over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fence {
    /// Program and arguments; gets `UNDERSTUDY_NODE` (the node to be switched off) and `UNDERSTUDY_MODULE`.
    pub command: Vec<String>,
    /// Longest that it may take; a failure or a time out is reported and the takeover does not happen.
    pub timeout: std::time::Duration,
}

/// Who is told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Notify {
    /// Program and arguments; gets the event in `UNDERSTUDY_*` and as JSON on its input.
    pub command: Option<Vec<String>>,
    /// Gets the event as JSON by POST.
    pub webhook: Option<String>,
}

impl Cluster {
    /// The node of that name.
    pub fn node(&self, name: &str) -> Option<&Node> {
        self.nodes.iter().find(|node| node.name == name)
    }

    /// Its name, for sentences.
    pub fn name_of(&self, id: NodeId) -> &str {
        self.nodes.get(usize::from(id.0)).map_or("?", |node| &node.name)
    }
}
