//! The control plane: which node runs a module, and how it moves.
//!
//! What decides does nothing else: functions of state and event, with time and fresh generations passed in. A simulator runs
//! them in a virtual world; the daemon runs them in this one.
//!
//! - [`replica`]: what a node's data is, and who of two leads;
//! - [`heartbeat`]: whether a node is heard;
//! - [`quorum`]: who may go on without the other;
//! - [`failover`]: what one node does with one module, as one table;
//! - [`config`]: what an administrator writes;
//! - [`net`], [`witness`], [`arbiter`]: what travels, and who is asked;
//! - [`engine`]: the data plane's processes;
//! - [`module`]: what a daemon runs for a module: its application, its checks, its log;
//! - [`daemon`]: the shell around all of it.

pub mod arbiter;
pub mod config;
pub mod daemon;
pub mod durable;
pub mod engine;
pub mod failover;
pub mod heartbeat;
pub mod module;
pub mod net;
pub mod ping;
pub mod quorum;
pub mod replica;
pub mod templates;
pub mod witness;

use serde::{Deserialize, Serialize};

/// A node's place in `cluster.toml`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NodeId(pub u16);

/// Tells systemd, where it started this process, that commands are answered.
pub fn ready() -> std::io::Result<()> {
    sd_notify::notify(false, &[sd_notify::NotifyState::Ready])
}

/// A moment of this process' own clock: the time since an arbitrary start. It never goes back, may stand still while the
/// process does not run, and is never compared with another process' clock.
pub type Moment = std::time::Duration;
