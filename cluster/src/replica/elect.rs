//! Who of two leads when neither serves. Both nodes compute it from the same facts and come to the same answer.

use super::{Data, Relation, Replica, Role, relation};
use crate::NodeId;
use serde::{Deserialize, Serialize};

/// A node as a candidate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Party {
    /// Which node.
    pub node: NodeId,
    /// Its data.
    pub replica: Replica,
    /// It would serve: started, not leaving, its application not given up.
    pub willing: bool,
    /// It serves, or is about to with everything granted.
    pub serving: bool,
}

/// The answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leader {
    /// This node.
    Me,
    /// The peer.
    Peer,
    /// Not without an operator, or not now.
    Nobody(Nobody),
}

/// Why nobody leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nobody {
    /// No data on either node: the good side has to be named.
    First,
    /// Both went on alone, and a quorum was to prevent that: an operator names the side.
    Split,
    /// Two sets of data that never were one.
    Unrelated,
    /// The node with everything does not serve by the operator's will.
    Unwilling,
    /// The newest data is incomplete or outdated.
    Unusable,
}

/// Whether this node's data counts as up to date against the peer's: it consented to nothing that the peer has begun.
fn usable(mine: &Replica, theirs: &Replica) -> bool {
    match mine.data {
        Data::Uptodate => true,
        Data::Inconsistent => false,
        // What it gave way to never began: the peer still is where it was and remembers what it asked for. Refused by the
        // quorum, it does not know for what; the peer that is where it was never began that either.
        Data::Outdated => {
            mine.current == theirs.current && mine.yielded_to.is_none_or(|next| theirs.intent == Some(next) || theirs.tried.contains(&next))
        }
    }
}

/// Chooses. `resolves`: with no quorum that prevents it, histories that parted are resolved by rule: the primary of the
/// last common generation leads.
pub fn elect(me: &Party, peer: &Party, resolves: bool) -> Leader {
    let (mine, theirs) = (&me.replica, &peer.replica);
    match relation(mine, theirs) {
        Relation::Empty => Leader::Nobody(Nobody::First),
        Relation::Unrelated => Leader::Nobody(Nobody::Unrelated),
        Relation::Ahead if mine.data != Data::Uptodate => Leader::Nobody(Nobody::Unusable),
        Relation::Behind if theirs.data != Data::Uptodate => Leader::Nobody(Nobody::Unusable),
        Relation::Ahead if me.willing => Leader::Me,
        Relation::Behind if peer.willing => Leader::Peer,
        Relation::Ahead | Relation::Behind => Leader::Nobody(Nobody::Unwilling),
        Relation::Parted { .. } if !resolves => Leader::Nobody(Nobody::Split),
        Relation::Parted { led } => match (mine.data == Data::Uptodate, theirs.data == Data::Uptodate) {
            (true, false) => Leader::Me,
            (false, true) => Leader::Peer,
            (false, false) => Leader::Nobody(Nobody::Unusable),
            (true, true) => by_role(led, leads_from(theirs, mine), me, peer),
        },
        Relation::Same => same(me, peer),
    }
}

fn leads_from(mine: &Replica, theirs: &Replica) -> bool {
    matches!(relation(mine, theirs), Relation::Parted { led: true })
}

fn same(me: &Party, peer: &Party) -> Leader {
    let (mine, theirs) = (&me.replica, &peer.replica);
    match (usable(mine, theirs), usable(theirs, mine)) {
        (true, false) if me.willing => Leader::Me,
        (false, true) if peer.willing => Leader::Peer,
        (true, false) | (false, true) => Leader::Nobody(Nobody::Unwilling),
        (false, false) => Leader::Nobody(Nobody::Unusable),
        (true, true) => match (mine.whole, theirs.whole) {
            (true, false) if me.willing => Leader::Me,
            (false, true) if peer.willing => Leader::Peer,
            // The other one lacks what was acknowledged from memory.
            (true, false) | (false, true) => Leader::Nobody(Nobody::Unwilling),
            _ => match (me.willing, peer.willing) {
                (true, false) => Leader::Me,
                (false, true) => Leader::Peer,
                (false, false) => Leader::Nobody(Nobody::Unwilling),
                // Who was given way to begins: the other one waits for it.
                (true, true) if gave_way(mine, theirs) => Leader::Peer,
                (true, true) if gave_way(theirs, mine) => Leader::Me,
                // Whose host was started anew may have a disk that was put back in time.
                (true, true) if mine.rebooted != theirs.rebooted => {
                    if mine.rebooted {
                        Leader::Peer
                    } else {
                        Leader::Me
                    }
                }
                (true, true) => by_role(mine.role == Role::Primary, theirs.role == Role::Primary, me, peer),
            },
        },
    }
}

/// `mine` has consented to what `theirs` is still about to begin.
fn gave_way(mine: &Replica, theirs: &Replica) -> bool {
    mine.data == Data::Outdated && theirs.data == Data::Uptodate && mine.yielded_to.is_some() && mine.yielded_to == theirs.intent
}

fn by_role(mine: bool, theirs: bool, me: &Party, peer: &Party) -> Leader {
    match (mine, theirs) {
        (true, false) => Leader::Me,
        (false, true) => Leader::Peer,
        _ if me.node < peer.node => Leader::Me,
        _ => Leader::Peer,
    }
}
