//! What two nodes tell each other before the first operation.

use crate::id::ObjectId;
use crate::node::identity::Identity;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Connector to acceptor.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Hello {
    /// The ordered connection: a primary wants to replicate.
    Ordered {
        /// Of this attempt; the bulk connection names it too.
        session: Uuid,
        /// Who the primary is.
        sender: Box<Identity>,
        /// Of this run of the primary: ids that it gave earlier and nobody noted durably may be given again.
        incarnation: Uuid,
        /// Objects with higher ids may differ in everything.
        floor: ObjectId,
        /// Its machine went down while the pair was in sync.
        lost_power: bool,
        /// What stays local.
        exclude: Vec<String>,
        /// Silence after which each side counts the other as lost, in milliseconds.
        timeout_ms: u64,
    },
    /// The bulk connection of that session.
    Bulk {
        /// The session.
        session: Uuid,
    },
}

/// Acceptor to connector, when it agrees.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Welcome {
    /// Why, in the operator's words.
    pub reason: String,
    /// The same, stable.
    pub code: String,
    /// What has to be compared.
    pub compare: Compare,
    /// Number of this session: noted there, to be noted by the primary before anything else.
    pub session: u64,
    /// Ids below are taken on this side.
    pub next: ObjectId,
}

/// What a resync compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Compare {
    /// What either side's change tracking names.
    Changed,
    /// Names and attributes of everything; content where size or modification time differ.
    Attributes,
    /// Everything.
    Content,
}

/// Acceptor to connector, when it does not: travels as the text of the refusal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// In the operator's words.
    pub reason: String,
    /// Stable.
    pub code: String,
    /// What to do next.
    pub cure: String,
}

impl Refusal {
    /// As text.
    pub fn to_text(&self) -> String {
        serde_json::to_string(self).unwrap_or_else(|_| self.reason.clone())
    }

    /// From text, whoever wrote it.
    pub fn from_text(text: &str) -> Refusal {
        serde_json::from_str(text).unwrap_or_else(|_| Refusal { reason: text.to_owned(), code: "refused".into(), cure: String::new() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_survives_as_text() {
        let refusal = Refusal { reason: "a \"quoted\" reason".into(), code: "busy".into(), cure: "wait".into() };
        assert_eq!(Refusal::from_text(&refusal.to_text()), refusal);
        assert_eq!(Refusal::from_text("older words").reason, "older words");
    }
}
