//! How two histories stand to each other.

use super::{Generation, Replica};

/// This node's data against the peer's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relation {
    /// Neither has any.
    Empty,
    /// Only the peer has any, or the peer's continues this one.
    Behind,
    /// Only this node has any, or it continues the peer's.
    Ahead,
    /// The same generation.
    Same,
    /// Both went on from the same one.
    Parted {
        /// This node was its primary.
        led: bool,
    },
    /// No common past.
    Unrelated,
}

/// Compares by generations alone, never by times.
pub fn relation(mine: &Replica, theirs: &Replica) -> Relation {
    let (own, other) = match (mine.current, theirs.current) {
        (None, None) => return Relation::Empty,
        (None, Some(_)) => return Relation::Behind,
        (Some(_), None) => return Relation::Ahead,
        (Some(own), Some(other)) => (own, other),
    };
    if own == other {
        return Relation::Same;
    }
    match (past(theirs, own), past(mine, other)) {
        (true, false) => Relation::Behind,
        (false, true) => Relation::Ahead,
        // Each in the other's past contradicts itself: as unsafe as two own histories.
        _ => match mine.history.iter().find(|step| past(theirs, step.generation)) {
            Some(step) => Relation::Parted { led: step.led },
            None => Relation::Unrelated,
        },
    }
}

fn past(replica: &Replica, generation: Generation) -> bool {
    replica.history.iter().any(|step| step.generation == generation)
}
