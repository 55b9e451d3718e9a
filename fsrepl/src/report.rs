//! What an engine tells its operator: states, events, and failures that say what to do next.

use serde::{Deserialize, Serialize};
use std::fmt;

/// State of a replica on this node, in the words of the contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum State {
    /// Primary, the secondary has everything that was acknowledged.
    Prim,
    /// Secondary of a primary that is connected.
    Second,
    /// Primary without an up-to-date secondary.
    Alone,
    /// Waiting for a peer.
    Wait,
}

/// What is known of this node's data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Data {
    /// Holds every acknowledged operation.
    Uptodate,
    /// Consistent, but the other node went on without it.
    Outdated,
    /// In the middle of a resync.
    Inconsistent,
}

/// One state change as it is printed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateLine {
    /// State after the change.
    pub state: State,
    /// Data after the change.
    pub data: Data,
    /// Why, in the operator's words.
    pub reason: String,
    /// The same, stable, for machines.
    pub reason_code: String,
}

/// What an engine reports while it runs.
#[derive(Clone, Debug)]
pub enum Event {
    /// The application may use the directory (mount), or the secondary listens (receive).
    Ready,
    /// The state changed.
    State(StateLine),
    /// Something the operator should read that is no change of state.
    Notice(String),
}

/// Where events go. Called from any thread of the engine; must not block for long.
pub type Reporter = std::sync::Arc<dyn Fn(Event) + Send + Sync>;

/// Exit codes of the contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureKind {
    /// 1
    Failed,
    /// 2
    Usage,
    /// 3
    Refused,
    /// 4
    TimedOut,
    /// 5
    Differs,
    /// 6
    Unreachable,
}

impl FailureKind {
    /// The process exit code.
    pub fn exit_code(self) -> u8 {
        match self {
            FailureKind::Failed => 1,
            FailureKind::Usage => 2,
            FailureKind::Refused => 3,
            FailureKind::TimedOut => 4,
            FailureKind::Differs => 5,
            FailureKind::Unreachable => 6,
        }
    }
}

/// Why a command ended without success: one line that says what failed, why, and what to do next.
#[derive(Clone, Debug, thiserror::Error)]
pub struct Failure {
    /// Decides the exit code.
    pub kind: FailureKind,
    /// What failed.
    pub what: String,
    /// Why it failed.
    pub why: String,
    /// What to do next.
    pub cure: String,
}

impl Failure {
    /// A failure of `kind`; see the fields for the meaning of the three texts.
    pub fn new(kind: FailureKind, what: impl Into<String>, why: impl Into<String>, cure: impl Into<String>) -> Self {
        Failure { kind, what: what.into(), why: why.into(), cure: cure.into() }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.what, self.why)?;
        if !self.cure.is_empty() {
            write!(f, "; {}", self.cure)?;
        }
        Ok(())
    }
}
