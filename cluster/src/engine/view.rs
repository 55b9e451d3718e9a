//! What an engine says of itself.

use fsrepl::node::identity::Identity;
use fsrepl::report::{Data, State};
use serde::Deserialize;
use serde_json::Value;

/// Everything that the daemon acts on.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct View {
    /// Number of this news.
    pub version: u64,
    /// Its process.
    pub pid: u32,
    /// `primary` or `secondary`.
    pub role: String,
    /// State.
    pub state: State,
    /// Data.
    pub data: Data,
    /// Why.
    pub reason: String,
    /// Stable.
    pub reason_code: String,
    /// The directory is mounted (primary).
    pub serving: bool,
    /// Connected to the other engine.
    pub session: bool,
    /// Both have everything.
    pub in_sync: bool,
    /// It was sealed or fenced: it serves nobody any more.
    #[serde(default)]
    pub over: bool,
    /// All replies are held.
    pub holding: Option<Holding>,
    /// Progress of a resync.
    #[serde(default)]
    pub resync: Value,
    /// What the replica is; of several directories, the first.
    pub identity: Option<Identity>,
    /// The same of all directories.
    #[serde(skip)]
    pub identities: Vec<Option<Identity>>,
    /// How each directory is, where there are several; for people.
    #[serde(skip)]
    pub directories: Vec<Value>,
}

/// Replies are held.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Holding {
    /// Since so long.
    pub seconds: f64,
    /// Why.
    pub reason: String,
}

impl View {
    /// The application's side.
    pub fn is_primary(&self) -> bool {
        self.role == "primary"
    }

    /// The engine may no longer go on, and ends as soon as nobody uses the directory.
    pub fn refused(&self) -> bool {
        self.is_primary() && self.state == State::Wait && self.reason_code == "failed"
    }

    /// The secondary turned its primary away, or was told to.
    pub fn follow_refused(&self) -> bool {
        !self.is_primary() && self.state == State::Wait && self.reason.starts_with("refused the primary")
    }
}
