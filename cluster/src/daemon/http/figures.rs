//! What is told as metrics, gathered before anything is written.

use super::super::snapshot::Snapshot;
use crate::heartbeat::{LinkState, Presence};
use serde_json::Value;
use std::time::Duration;

/// Everything.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    /// Of the program.
    pub version: String,
    /// The cluster's name.
    pub cluster: String,
    /// This node's name.
    pub node: String,
    /// Who decides between isolated nodes: `none`, `witness`, `tiebreaker`.
    pub quorum: String,
    /// Modules of this node.
    pub modules: Vec<ModuleFigures>,
    /// The other nodes.
    pub peers: Vec<PeerFigures>,
    /// Of this server.
    pub connections: Vec<Connections>,
}

/// One module on this node.
#[derive(Clone, Debug)]
pub struct ModuleFigures {
    /// Its name.
    pub name: String,
    /// As it is shown.
    pub shown: Snapshot,
    /// Since its state or the reason for it changed.
    pub age: Option<Duration>,
    /// Of the application, since the daemon runs.
    pub restarts: u64,
    /// Its virtual addresses; none where they could not be asked for.
    pub addresses: Vec<AddressFigures>,
    /// It has an engine while it runs.
    pub replicates: bool,
    /// What its engine answered to `status`; none: nothing in time.
    pub engine: Option<Value>,
    /// Of a farm: as in `status --json`.
    pub farm: Option<Value>,
}

/// One virtual address.
#[derive(Clone, Debug)]
pub struct AddressFigures {
    /// Without prefix.
    pub address: String,
    /// It is on an interface of this node now.
    pub held: bool,
}

/// Another node.
#[derive(Clone, Debug)]
pub struct PeerFigures {
    /// Its name.
    pub name: String,
    /// Whether it is there.
    pub presence: Presence,
    /// Each network to it: number, state, silence.
    pub networks: Vec<(u8, LinkState, Duration)>,
}

/// Connections to one port.
#[derive(Clone, Copy, Debug)]
pub struct Connections {
    /// `public` or `protected`.
    pub port: &'static str,
    /// Open now.
    pub open: u64,
    /// Turned away since the daemon runs.
    pub refused: u64,
}
