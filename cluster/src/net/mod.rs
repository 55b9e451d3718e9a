//! What travels between the daemons and engines of a cluster, and to the witness. Plain threads and sockets: what decides
//! who serves must not wait for a runtime that something else keeps busy.
//!
//! - [`preface`]: the first bytes of a connection to the one TCP port of a node;
//! - [`secure`]: whole messages over a connection whose ends have proved their key;
//! - [`server`], [`client`]: requests and answers; [`connect_replication`] for the engines' own connections;
//! - [`beats`]: heartbeats and the datagrams of farms;
//! - [`message`]: what requests say.

mod acceptor;
pub mod beats;
pub mod client;
pub mod limits;
mod line;
pub mod message;
pub mod preface;
mod quiet;
mod race;
pub mod secure;
pub mod server;
mod sockets;
#[cfg(test)]
mod tests;

pub use acceptor::{Acceptor, Arrival, Place, Room};
pub use client::{CallError, Client, connect_replication};
pub use line::{Line, Purpose};
pub use message::{Message, Undecodable};
pub use quiet::Quiet;
pub use server::{Caller, Handler, Replication, Server};

use crate::NodeId;
use fsrepl::wire::{Auth, KeyRing};
use parking_lot::RwLock;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// The keys of a cluster, shared by all that uses them, so that a rotation reaches everybody at once.
#[derive(Clone, Debug)]
pub struct Keys(Arc<RwLock<KeyRing>>);

impl Keys {
    /// Of this file's content.
    pub fn new(ring: KeyRing) -> Keys {
        Keys(Arc::new(RwLock::new(ring)))
    }

    /// From now on these are used. Connections that are open stay.
    pub fn replace(&self, ring: KeyRing) {
        *self.0.write() = ring;
    }

    /// The keys of now.
    pub fn ring(&self) -> KeyRing {
        self.0.read().clone()
    }

    /// The keys of now, for a handshake.
    pub fn auth(&self) -> Auth {
        Auth::Keys(self.ring())
    }
}

impl From<KeyRing> for Keys {
    fn from(ring: KeyRing) -> Keys {
        Keys::new(ring)
    }
}

/// Who one is, as the other end is told in the hello, sealed with the cluster's key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The cluster's name: a node of another one is refused, also when it has the key.
    pub cluster: String,
    /// Place in `cluster.toml`; none for a tool that is no node.
    pub node: Option<NodeId>,
    /// The node's name, for sentences.
    pub name: String,
}

impl Identity {
    /// A node of a cluster.
    pub fn node(cluster: impl Into<String>, node: NodeId, name: impl Into<String>) -> Identity {
        Identity { cluster: cluster.into(), node: Some(node), name: name.into() }
    }

    /// For the handshake.
    fn encode(&self) -> Vec<u8> {
        rmp_serde::to_vec_named(self).expect("plain data becomes MessagePack")
    }

    /// From a handshake; names that no configuration can have are refused.
    fn decode(bytes: &[u8]) -> Option<Identity> {
        let identity: Identity = rmp_serde::from_slice(bytes).ok()?;
        let sound = |name: &str| name.len() <= limits::NAME && !name.chars().any(char::is_control);
        (sound(&identity.cluster) && sound(&identity.name)).then_some(identity)
    }

    /// What is wrong with `other` as a member of the same cluster, in words for its operator.
    fn objection(&self, other: &Identity) -> Option<String> {
        (self.cluster != other.cluster).then(|| {
            format!(
                "this is node {} of the cluster {:?}, and {} belongs to the cluster {:?}: compare name and addresses in cluster.toml",
                self.name, self.cluster, other.name, other.cluster
            )
        })
    }
}
