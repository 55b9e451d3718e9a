//! What a node's data is, as it knows itself, and how that knowledge changes. Every change here is on disk before
//! anything is said or done because of it.

mod elect;
mod group;
mod recorded;
mod relation;
#[cfg(test)]
mod tests;

pub use elect::{Leader, Nobody, Party, elect};
pub use fsrepl::node::identity::{Right, Role};
pub use fsrepl::report::Data;
pub use group::together;
pub use relation::{Relation, relation};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// One history of the data. A new one begins whenever a node goes on without the other.
pub type Generation = Uuid;

/// Former generations that are remembered.
pub const HISTORY: usize = 64;
/// Intents that came to nothing and are remembered until the next generation. Each needs a lost peer, so there are few.
pub const TRIED: usize = 16;

/// A generation of the past.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Past {
    /// Which.
    pub generation: Generation,
    /// This node was the primary of it.
    pub led: bool,
}

/// What a node knows of its own data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replica {
    /// The generation; none before the first copy is complete.
    pub current: Option<Generation>,
    /// Newest first; also generations that were claimed and given up, so that nobody takes them for a rival's.
    pub history: Vec<Past>,
    /// What is known of the data.
    pub data: Data,
    /// Last role in the current generation.
    pub role: Role,
    /// This node went on without the peer: nobody else has what it acknowledged since.
    pub alone: bool,
    /// Left in order: everything is on both disks.
    pub clean: bool,
    /// Nothing that was acknowledged from memory can be missing.
    pub whole: bool,
    /// The host has restarted since the current generation was entered: the disk may have been put back in time.
    pub rebooted: bool,
    /// A generation that was asked for, before the answer.
    pub intent: Option<Generation>,
    /// Generations that were asked for and given up.
    pub tried: Vec<Generation>,
    /// The generation of the peer for which this node became outdated.
    pub yielded_to: Option<Generation>,
    /// Who may begin the next generation.
    pub right: Right,
}

impl Default for Replica {
    fn default() -> Replica {
        Replica {
            current: None,
            history: Vec::new(),
            data: Data::Inconsistent,
            role: Role::None,
            alone: false,
            clean: false,
            whole: true,
            rebooted: false,
            intent: None,
            tried: Vec::new(),
            yielded_to: None,
            right: Right::Peer,
        }
    }
}

impl Replica {
    /// The good side at the very first start: nobody else has data of this set.
    pub fn first(generation: Generation) -> Replica {
        let mut replica = Replica { data: Data::Uptodate, ..Replica::default() };
        replica.commit(generation, &[]);
        replica
    }

    /// Whether `generation` is this data's, now or in the past.
    pub fn knows(&self, generation: Generation) -> bool {
        self.current == Some(generation) || self.history.iter().any(|past| past.generation == generation)
    }

    /// The current generation and those before it, newest first.
    pub fn lineage(&self) -> Vec<Generation> {
        self.current.into_iter().chain(self.history.iter().map(|past| past.generation)).collect()
    }

    /// Every generation that this node ever asked for since the current one began and did not get.
    pub fn attempts(&self) -> Vec<Generation> {
        self.tried.iter().copied().chain(self.intent).collect()
    }

    /// Wants to begin `next`. An intent that is there already stays: it may have been granted.
    pub fn intend(&mut self, next: Generation) -> Generation {
        *self.intent.get_or_insert(next)
    }

    /// Gives up an intent: whoever grants it later grants nothing.
    pub fn give_up(&mut self) {
        if let Some(intent) = self.intent.take() {
            self.tried.push(intent);
            let surplus = self.tried.len().saturating_sub(TRIED);
            self.tried.drain(..surplus);
        }
    }

    /// The peer goes on as `next`, and this node does not.
    pub fn yield_to(&mut self, next: Generation) {
        self.give_up();
        self.yielded_to = Some(next);
        self.right = Right::Peer;
        if self.data == Data::Uptodate {
            self.data = Data::Outdated;
        }
    }

    /// Another history has won, as the quorum or the peer says.
    pub fn superseded(&mut self) {
        self.give_up();
        self.right = Right::Peer;
        if self.data == Data::Uptodate {
            self.data = Data::Outdated;
        }
    }

    /// Begins `next`, which was granted. `superseded`: generations that were claimed and given up for it.
    pub fn commit(&mut self, next: Generation, superseded: &[Generation]) {
        let led = self.role == Role::Primary;
        let mut history: Vec<Past> = Vec::with_capacity(self.history.len() + 2);
        let own = self.tried.iter().copied().chain(self.intent).filter(|&own| own != next);
        history.extend(superseded.iter().copied().chain(own).map(|generation| Past { generation, led: false }));
        history.extend(self.current.map(|generation| Past { generation, led }));
        history.append(&mut self.history);
        history.truncate(HISTORY);
        self.history = history;
        self.current = Some(next);
        self.data = Data::Uptodate;
        self.role = Role::Primary;
        self.right = Right::Here;
        self.alone = true;
        self.settle();
    }

    /// A session with the primary begins: until its end the data is torn.
    pub fn follow(&mut self) {
        self.give_up();
        self.data = Data::Inconsistent;
        self.right = Right::Peer;
        self.clean = false;
        self.alone = false;
    }

    /// The primary's half of getting in sync, before the secondary may record that it is: from here on the secondary may
    /// have what is acknowledged.
    pub fn close_in(&mut self) {
        self.alone = false;
        self.clean = false;
        self.right = Right::Here;
    }

    /// The secondary's half: it has everything of `sender`.
    pub fn adopt(&mut self, sender: &Replica) {
        let led = |generation: Generation| {
            let own = self.history.iter().any(|past| past.generation == generation && past.led);
            own || self.current == Some(generation) && self.role == Role::Primary
        };
        let past = |past: &Past| Past { generation: past.generation, led: led(past.generation) };
        self.history = sender.history.iter().map(past).take(HISTORY).collect();
        self.current = sender.current;
        self.data = Data::Uptodate;
        self.role = Role::Secondary;
        self.right = Right::Peer;
        self.alone = false;
        self.settle();
    }

    fn settle(&mut self) {
        self.intent = None;
        self.tried.clear();
        self.yielded_to = None;
        self.clean = false;
        self.whole = true;
        self.rebooted = false;
    }

    /// The host was started anew. `durable`: everything that was acknowledged is on this disk (`ack = "disk"`).
    pub fn reboot(&mut self, durable: bool) {
        self.rebooted = true;
        // Alone, nobody else has more, whatever was lost.
        self.whole &= self.alone || self.clean || durable;
    }
}
