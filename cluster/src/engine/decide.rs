//! The engine's question, whether it may go on without its secondary, asked by the engine itself: the daemon may be away.

use crate::arbiter::{self, ClusterArbiter};
use crate::replica::{Party, Replica};
use crate::{NodeId, replica};
use fsrepl::arbiter::{Arbiter, Verdict};
use fsrepl::node::identity::Identity;
use fsrepl::node::offline::boot_now;
use uuid::Uuid;

/// Asks the other node, over every network, and the quorum.
pub struct ClusterDecides {
    /// Who is asked.
    pub arbiter: ClusterArbiter,
    /// This node.
    pub me: NodeId,
    /// Acknowledged is on both disks.
    pub durable: bool,
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

impl Arbiter for ClusterDecides {
    fn go_on_alone(&self, identity: &Identity, next: Uuid, ending: &dyn Fn() -> bool) -> Verdict {
        match self.arbiter.decide(identity.set, party(self.me, identity, self.durable), next, ending) {
            arbiter::Verdict::Granted { superseded, by } => {
                tracing::info!(?by, %next, "may go on alone");
                Verdict::Granted { superseded }
            }
            arbiter::Verdict::Refused { reason } => Verdict::Refused { reason },
            arbiter::Verdict::Cancelled => Verdict::Refused { reason: "this node stops".into() },
            arbiter::Verdict::HeldTooLong => {
                Verdict::Refused { reason: format!("{HELD} whether this node may go on, for longer than replies may be held") }
            }
        }
    }
}
