//! The engine's question, whether it may go on without its secondary, asked by the engine itself: the daemon may be away.

use super::pace::{Pace, Step};
use crate::arbiter::{self, ClusterArbiter};
use crate::replica::{Party, Replica};
use crate::{NodeId, replica};
use fsrepl::arbiter::{Arbiter, Verdict};
use fsrepl::node::identity::Identity;
use fsrepl::node::offline::boot_now;
use std::time::{Duration, Instant};
use uuid::Uuid;

/// Asks the other node, over every network, and the quorum.
pub struct ClusterDecides {
    /// Who is asked.
    pub arbiter: ClusterArbiter,
    /// This node.
    pub me: NodeId,
    /// Acknowledged is on both disks.
    pub durable: bool,
    /// The module's other directories.
    pub pace: Pace,
    /// Longest that replies are held.
    pub hold: Duration,
}

impl std::fmt::Debug for ClusterDecides {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ClusterDecides({})", self.me.0)
    }
}

/// How the reason begins when nobody could be asked for too long: no other history has won by that.
pub const HELD: &str = "nobody answered";

/// A primary that serves, as a candidate.
fn party(me: NodeId, identity: &Identity, durable: bool) -> Party {
    let replica: replica::Replica = Replica::of(identity, &boot_now(), durable);
    Party { node: me, replica, willing: true, serving: true }
}

impl ClusterDecides {
    /// Nobody has answered for too long.
    fn held_too_long(whom: &str) -> Verdict {
        Verdict::Refused { reason: format!("{HELD} whether this node may go on, for longer than replies may be held{whom}") }
    }
}

impl Arbiter for ClusterDecides {
    fn intends(&self) -> bool {
        self.pace.leads()
    }

    fn has_moved(&self, identity: &Identity) -> bool {
        self.pace.has_moved(identity)
    }

    fn go_on_alone(&self, identity: &Identity, next: Uuid, ending: &dyn Fn() -> bool) -> Verdict {
        // The first waits for the others, then for an answer.
        let until = Instant::now() + if self.pace.leads() { self.hold } else { self.hold * 2 };
        // No other directory of the module may go on with the secondary when this one goes on without it.
        match self.pace.together(identity, until, ending) {
            Step::Asks => {}
            Step::Joins { generation, superseded } => return Verdict::Joined { generation, superseded },
            Step::Refused(reason) => return Verdict::Refused { reason },
            Step::Late(engine) => return Self::held_too_long(&format!(" (the engine {engine} does not)")),
            Step::Ends => return Verdict::Refused { reason: "this node stops".into() },
        }
        match self.arbiter.decide(identity.set, party(self.me, identity, self.durable), next, ending) {
            arbiter::Verdict::Granted { superseded, by } => {
                tracing::info!(?by, %next, "may go on alone");
                Verdict::Granted { superseded }
            }
            arbiter::Verdict::Refused { reason } => Verdict::Refused { reason },
            arbiter::Verdict::Cancelled => Verdict::Refused { reason: "this node stops".into() },
            arbiter::Verdict::HeldTooLong => Self::held_too_long(""),
        }
    }
}
