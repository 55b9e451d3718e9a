//! Who may go on without the other: asked by the engine itself before it acknowledges anything alone.

use uuid::Uuid;

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Go on; the other node cannot be promoted with what it has.
    Granted,
    /// The other node has the right: stop serving.
    Refused {
        /// In the operator's words.
        reason: String,
    },
}

/// Decides between two nodes that have lost each other. Blocking; the caller holds acknowledgements meanwhile.
pub trait Arbiter: Send + Sync {
    /// This node, primary of `set`, wants to go on as `generation` without its secondary.
    fn go_on_alone(&self, set: Uuid, generation: Uuid) -> Verdict;
}

/// A pair without a cluster: nobody promotes the secondary but an operator, so the primary may go on.
#[derive(Debug, Default)]
pub struct AlwaysConsents;

impl Arbiter for AlwaysConsents {
    fn go_on_alone(&self, _set: Uuid, _generation: Uuid) -> Verdict {
        Verdict::Granted
    }
}
