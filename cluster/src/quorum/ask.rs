//! One question: may this node begin the generation it has recorded as its intent? Asked by an engine that lost its
//! secondary (it holds all replies meanwhile) and by the daemon for every start as primary.
//!
//! The peer's consent is best. Where the peer does not answer, whom the right to go on was given to decides.

use super::consent::{Answer, Refusal};
use super::{Kind, witness};
use crate::heartbeat::Profile;
use crate::replica::{Generation, Party, Replica, Right};
use crate::{Moment, NodeId};
use serde::{Deserialize, Serialize};

/// What the peer is asked, over every network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerQuestion {
    /// Who asks, as it is now.
    pub from: Party,
    /// What it wants to begin.
    pub next: Generation,
}

/// What comes back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AskEvent {
    /// The peer's answer about `next`.
    Peer(Generation, Answer),
    /// The witness'.
    Witness(witness::Reply),
    /// The tiebreaker answered a ping that was sent for this question.
    Pong,
    /// Time passes.
    Tick,
}

/// What to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AskSend {
    /// To the peer, on every network.
    Peer(PeerQuestion),
    /// To the witness.
    Witness(witness::Request),
    /// A ping to the tiebreaker.
    Ping,
}

/// By whom it was granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Granter {
    /// The peer has recorded itself as outdated.
    Peer,
    /// The witness has recorded it.
    Witness,
    /// The tiebreaker answers.
    Tiebreaker,
    /// There is no quorum.
    Nobody,
    /// The right was here already.
    Own,
}

/// The end of the question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Begin it.
    Granted {
        /// Who says so.
        by: Granter,
        /// Given up by the peer for it: to be remembered as past ([`crate::replica::Replica::commit`]).
        superseded: Vec<Generation>,
    },
    /// Another history has won: this node's data is outdated.
    Refused {
        /// In the operator's words.
        reason: &'static str,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Heard {
    Nothing,
    Granted,
    Refused(Moment),
}

/// What one who went on by the peer's consent or by its own right tells the witness until that grants it: then a peer whose
/// disk is put back in time finds out.
pub fn notice(by: NodeId, replica: &Replica) -> Option<witness::Request> {
    let next = replica.current?;
    Some(witness::Request::Claim { by, lineage: replica.lineage(), next })
}

/// The question, until it is answered.
#[derive(Clone, Debug)]
pub struct Ask {
    kind: Kind,
    profile: Profile,
    question: PeerQuestion,
    since: Moment,
    sent: Option<Moment>,
    asked_quorum: Option<Moment>,
    /// A no of the peer that may pass, and when it came.
    not_now: Option<Moment>,
    peer: Option<Verdict>,
    quorum: Heard,
}

impl Ask {
    /// `question.from.replica.intent` is on disk and is `question.next`.
    pub fn new(kind: Kind, profile: Profile, question: PeerQuestion, now: Moment) -> Ask {
        let quorum = Heard::Nothing;
        Ask { kind, profile, question, since: now, sent: None, asked_quorum: None, not_now: None, peer: None, quorum }
    }

    /// What is asked for.
    pub fn next(&self) -> Generation {
        self.question.next
    }

    /// Since when.
    pub fn since(&self) -> Moment {
        self.since
    }

    /// The peer lives and says no for now.
    pub fn peer_says_no(&self, now: Moment) -> bool {
        self.not_now.is_some_and(|at| now.saturating_sub(at) < self.profile.promote)
    }

    /// Takes in what happened; tells what to send, and the end if there is one.
    pub fn step(&mut self, now: Moment, event: AskEvent) -> (Vec<AskSend>, Option<Verdict>) {
        match event {
            AskEvent::Peer(next, answer) if next == self.question.next => self.heard_peer(now, answer),
            AskEvent::Witness(reply) => self.heard_witness(now, &reply),
            AskEvent::Pong if self.kind == Kind::Tiebreaker => self.quorum = Heard::Granted,
            AskEvent::Peer(..) | AskEvent::Pong | AskEvent::Tick => {}
        }
        let verdict = self.verdict(now);
        let send = if verdict.is_some() { Vec::new() } else { self.send(now) };
        (send, verdict)
    }

    fn heard_peer(&mut self, now: Moment, answer: Answer) {
        match answer {
            Answer::Yes { abandoned } => self.peer = Some(Verdict::Granted { by: Granter::Peer, superseded: abandoned }),
            Answer::No(Refusal::Newer) => self.peer = Some(Verdict::Refused { reason: "the other node has gone on with newer data" }),
            Answer::No(Refusal::Serving | Refusal::Leads | Refusal::Parted) => self.not_now = Some(now),
        }
    }

    fn heard_witness(&mut self, now: Moment, reply: &witness::Reply) {
        match reply {
            witness::Reply::Granted { generation } if *generation == self.question.next => self.quorum = Heard::Granted,
            witness::Reply::Refused { .. } if self.quorum == Heard::Nothing => self.quorum = Heard::Refused(now),
            // A blank one cannot tell; a query's answer tells nothing.
            _ => {}
        }
    }

    fn right(&self) -> Right {
        self.question.from.replica.right
    }

    /// Without a memory of its own, a disk that was put back in time would start with what it was then.
    fn own_right_counts(&self) -> bool {
        self.right() == Right::Here && !(self.question.from.replica.rebooted && self.kind.remembers())
    }

    fn verdict(&self, now: Moment) -> Option<Verdict> {
        if self.peer.is_some() {
            return self.peer.clone();
        }
        let granted = |by| Some(Verdict::Granted { by, superseded: Vec::new() });
        if self.own_right_counts() {
            return granted(Granter::Own);
        }
        // One who serves goes by the quorum even if the peer objects; one who does not waits for a peer that lives.
        if self.right() == Right::Peer || self.peer_says_no(now) && !self.question.from.serving {
            return None;
        }
        let patient = now.saturating_sub(self.since) >= self.profile.patience;
        match (self.kind, self.quorum) {
            (Kind::Witness, Heard::Granted) => granted(Granter::Witness),
            // The claim that won may be one that the peer gives up: its answer would say so.
            (Kind::Witness, Heard::Refused(at)) if now.saturating_sub(at) >= self.profile.patience => {
                Some(Verdict::Refused { reason: "the witness has granted another generation" })
            }
            (Kind::Tiebreaker, Heard::Granted) if patient => granted(Granter::Tiebreaker),
            (Kind::None, _) if patient && !self.peer_says_no(now) => granted(Granter::Nobody),
            _ => None,
        }
    }

    fn send(&mut self, now: Moment) -> Vec<AskSend> {
        let due = |at: Option<Moment>| at.is_none_or(|at| now.saturating_sub(at) >= self.profile.resend);
        let (ask_peer, ask_quorum) = (due(self.sent), due(self.asked_quorum) && self.may_ask_quorum(now));
        let mut send = Vec::new();
        if ask_peer {
            self.sent = Some(now);
            send.push(AskSend::Peer(self.question.clone()));
        }
        if ask_quorum {
            self.asked_quorum = Some(now);
            match self.kind {
                Kind::None => {}
                Kind::Tiebreaker => send.push(AskSend::Ping),
                Kind::Witness => {
                    let Party { node, replica, .. } = &self.question.from;
                    let lineage = replica.lineage().into_iter().chain(replica.tried.iter().copied()).collect();
                    send.push(AskSend::Witness(witness::Request::Claim { by: *node, lineage, next: self.question.next }));
                }
            }
        }
        send
    }

    /// A claim cannot be taken back, so one who does not serve asks the peer first; one who holds replies asks both.
    fn may_ask_quorum(&self, now: Moment) -> bool {
        let patient = now.saturating_sub(self.since) >= self.profile.patience;
        self.right() != Right::Peer && (self.question.from.serving || patient && !self.peer_says_no(now))
    }
}
