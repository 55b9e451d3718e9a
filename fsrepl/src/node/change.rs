//! Changes of a replica's identity that the cluster asks for: on disk before the answer.

use super::identity::{Identity, Right};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// One change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// The right to begin the next generation moves, in this session of this generation and in no other.
    Right {
        /// Where to.
        right: Right,
        /// Of the pair.
        generation: Uuid,
        /// Its session.
        session: u64,
    },
    /// The peer goes on as this generation; this node is outdated. Ends the session.
    YieldTo(Uuid),
    /// Another history has won. Ends the session.
    Superseded,
    /// This generation is asked for; one that is asked for already stays.
    Intend(Uuid),
    /// What was asked for is given up.
    GiveUp,
    /// These generations of the peer are past, at an operator's word: this history goes on.
    Outlive(Vec<Uuid>),
}

impl Change {
    /// Whether it was meant for the data as it is.
    pub fn fits(&self, identity: &Identity) -> bool {
        match self {
            Change::Right { generation, session, .. } => identity.current == *generation && identity.session == *session,
            _ => true,
        }
    }

    /// Nothing of the present session may be applied afterwards.
    pub fn ends_session(&self) -> bool {
        matches!(self, Change::YieldTo(_) | Change::Superseded)
    }

    /// What it does.
    pub fn apply(&self, identity: &mut Identity) {
        match self {
            Change::Right { right, .. } => identity.right = *right,
            Change::YieldTo(next) => identity.yield_to(*next),
            Change::Superseded => identity.superseded(),
            Change::Intend(next) => {
                identity.intend(*next);
            }
            Change::GiveUp => identity.give_up(),
            Change::Outlive(generations) => identity.outlive(generations),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Data;

    #[test]
    fn a_right_of_another_session_does_not_fit() {
        let mut identity = Identity::create("n");
        identity.session = 7;
        let right = |generation, session| Change::Right { right: Right::Quorum, generation, session };
        assert!(right(identity.current, 7).fits(&identity));
        assert!(!right(identity.current, 6).fits(&identity));
        assert!(!right(Uuid::new_v4(), 7).fits(&identity));
    }

    #[test]
    fn an_intent_that_may_have_been_granted_stays_until_it_is_given_up() {
        let (mut identity, first, second) = (Identity::create("n"), Uuid::new_v4(), Uuid::new_v4());
        Change::Intend(first).apply(&mut identity);
        Change::Intend(second).apply(&mut identity);
        assert_eq!(identity.intent, Some(first));
        Change::YieldTo(second).apply(&mut identity);
        assert_eq!((identity.intent, identity.tried.clone(), identity.yielded_to), (None, vec![first], Some(second)));
        assert_eq!((identity.data, identity.right), (Data::Outdated, Right::Peer));
    }
}
