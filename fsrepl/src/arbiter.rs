//! Who may go on without the other: asked by the engine itself before it acknowledges anything alone.

use crate::node::identity::Identity;
use uuid::Uuid;

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Go on; the other node cannot be promoted with what it has.
    Granted {
        /// Generations that were claimed and given up for this one.
        superseded: Vec<Uuid>,
    },
    /// Go on as this generation, which the replica that this one keeps pace with has begun.
    Joined {
        /// Which.
        generation: Uuid,
        /// What lies between, newest first.
        superseded: Vec<Uuid>,
    },
    /// The other node has the right: stop serving.
    Refused {
        /// In the operator's words.
        reason: String,
    },
}

/// Decides between two nodes that have lost each other. Blocking; the caller holds acknowledgements meanwhile.
pub trait Arbiter: Send + Sync + std::fmt::Debug {
    /// Whether anybody is asked. If not, no intent has to be on disk before.
    fn asks(&self) -> bool {
        true
    }

    /// Whether this replica asks for a generation of its own: then the intent is on disk before.
    fn intends(&self) -> bool {
        self.asks()
    }

    /// Whether the replica that this one keeps pace with has gone on from the generation that `identity` is at.
    fn has_moved(&self, _identity: &Identity) -> bool {
        false
    }

    /// This node, a primary with `identity`, wants to go on as `next` without its secondary. The intent is on disk. Ends early
    /// when `ending` says so: then the answer does not matter.
    fn go_on_alone(&self, identity: &Identity, next: Uuid, ending: &dyn Fn() -> bool) -> Verdict;
}

/// A pair without a cluster: nobody promotes the secondary but an operator, so the primary may go on.
#[derive(Debug, Default)]
pub struct AlwaysConsents;

impl Arbiter for AlwaysConsents {
    fn asks(&self) -> bool {
        false
    }

    fn go_on_alone(&self, _identity: &Identity, _next: Uuid, _ending: &dyn Fn() -> bool) -> Verdict {
        Verdict::Granted { superseded: Vec::new() }
    }
}
