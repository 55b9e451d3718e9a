//! Who may go on without the other: the questions, the answers, and the witness that remembers.
//!
//! Exactly one holds the right to begin the generation after the current one ([`crate::replica::Right`]): the primary, or
//! whom the quorum grants it. It is passed on by giving up before taking ([`agreement`]), asked for by [`Ask`], given away
//! for good by [`consent`].

pub mod agreement;
mod ask;
mod consent;
#[cfg(test)]
mod tests;
pub mod witness;

pub use ask::{Ask, AskEvent, AskSend, Granter, PeerQuestion, Verdict, notice};
pub use consent::{Answer, Refusal, consent};

use serde::{Deserialize, Serialize};

/// What decides between two nodes that have lost each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Nothing: isolated nodes both go on, and it is resolved by rule when they meet.
    None,
    /// Our own small process, which remembers who was granted what.
    Witness,
    /// An address that answers pings. Weaker: it remembers nothing, so where both reach it and not each other, both
    /// go on.
    Tiebreaker,
}

impl Kind {
    /// It remembers what it granted, so that it grants once.
    pub fn remembers(self) -> bool {
        self == Kind::Witness
    }

    /// For sentences.
    pub fn words(self) -> &'static str {
        match self {
            Kind::None => "nobody",
            Kind::Witness => "the witness",
            Kind::Tiebreaker => "the tiebreaker address",
        }
    }
}
