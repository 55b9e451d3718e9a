//! Whether this node lets the peer go on without it. A yes is for good: it is on this node's disk before it is said.

use super::ask::PeerQuestion;
use crate::replica::{Data, Generation, Leader, Party, Relation, elect, relation};
use serde::{Deserialize, Serialize};

/// What the peer is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// This node is outdated from here on. It had asked for these generations itself; whoever grants them later grants
    /// nothing.
    Yes {
        /// Given up.
        abandoned: Vec<Generation>,
    },
    /// No.
    No(Refusal),
}

/// Why not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Refusal {
    /// This node has newer data: the peer's is outdated, for good.
    Newer,
    /// This node serves.
    Serving,
    /// This node leads as soon as it can.
    Leads,
    /// Histories that parted, or never met.
    Parted,
}

/// Decides. With every yes, also a repeated one, the caller calls [`crate::replica::Replica::yield_to`], stores it, stops acknowledging what the peer's
/// session sends, and only then answers.
pub fn consent(me: &Party, question: &PeerQuestion, resolves: bool) -> Answer {
    let yes = || Answer::Yes { abandoned: me.replica.attempts() };
    let peer = &question.from;
    // Said before. That a generation is known proves nothing: it may be known as given up, or have been left since.
    if me.replica.yielded_to == Some(question.next) {
        return yes();
    }
    match relation(&me.replica, &peer.replica) {
        Relation::Ahead => Answer::No(Refusal::Newer),
        _ if me.serving => Answer::No(Refusal::Serving),
        Relation::Same if peer.serving => yes(),
        Relation::Behind | Relation::Empty => yes(),
        Relation::Unrelated => Answer::No(Refusal::Parted),
        // Half a copy stands in nobody's way.
        Relation::Same | Relation::Parted { .. } if me.replica.data == Data::Inconsistent => yes(),
        Relation::Parted { .. } if resolves && peer.serving => yes(),
        Relation::Same | Relation::Parted { .. } => match elect(me, peer, resolves) {
            Leader::Peer => yes(),
            Leader::Me => Answer::No(Refusal::Leads),
            Leader::Nobody(_) => Answer::No(Refusal::Parted),
        },
    }
}
