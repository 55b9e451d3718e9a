//! The control plane: which node runs a module, and how it moves.
//!
//! What is here decides and does nothing: functions of state and event, with time and fresh generations passed in.
//! A daemon's shell will carry messages, keep files and run programs; a simulator can do the same with a virtual
//! world. Neither is built yet: an operator starts a pair of engines (`fsrepl::node`) and decides which one leads.
//!
//! - [`replica`]: what a node's data is, and who of two leads;
//! - [`heartbeat`]: whether a node is heard;
//! - [`quorum`]: who may go on without the other;
//! - [`failover`]: what one node does with one module, as one table.

pub mod failover;
pub mod heartbeat;
pub mod quorum;
pub mod replica;
pub mod templates;

use serde::{Deserialize, Serialize};

/// A node's place in `cluster.toml`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NodeId(pub u16);

/// A moment of this process' own clock: the time since an arbitrary start. It never goes back, may stand still while the
/// process does not run, and is never compared with another process' clock.
pub type Moment = std::time::Duration;
