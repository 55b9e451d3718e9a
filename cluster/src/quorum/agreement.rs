//! Who survives while the witness is away. A pair that gets in sync begins with the right at the primary: the secondary
//! may not be promoted. When the quorum answers, the pair registers there and the right moves to it, so that either may
//! claim; when it is away for long, the right moves back. Each move gives up before it takes, on disk:
//!
//! ```text
//! to the quorum:    secondary confirms → witness registers → primary gives up → secondary may claim
//! to the primary:   secondary gives up → primary may go on by itself
//! ```
//! Driven by the primary's engine, over the session of the pair. Numbers tell late messages from present ones.

use super::{Kind, witness};
use crate::heartbeat::Profile;
use crate::replica::{Generation, Right};
use crate::{Moment, NodeId};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Between the two engines, in their session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Word {
    /// To the secondary: record that you may not be promoted, and say so.
    Give(u64),
    /// From the secondary: recorded.
    Given(u64),
    /// To the secondary: you may claim.
    Take(u64),
    /// From the secondary: recorded.
    Taken(u64),
}

/// What happens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The witness answered.
    Witness(witness::Reply),
    /// The tiebreaker answered.
    Pong,
    /// The secondary said.
    Word(Word),
    /// Time passes.
    Tick,
}

/// What to do, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Do {
    /// Send to the witness.
    Witness(witness::Request),
    /// Ping the tiebreaker.
    Ping,
    /// Send to the secondary.
    Say(Word),
    /// Record this right, on disk, before what follows.
    Record(Right),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Stage {
    /// The right is here; the quorum is looked for.
    Survivor,
    /// The secondary confirms that it claims nothing, after the witness showed this.
    Confirming { incarnation: Uuid, version: u64 },
    /// The witness is told.
    Registering { incarnation: Uuid, version: u64 },
    /// The right is at the quorum; the secondary is told until it says so.
    Arming,
    /// The right is at the quorum, and both know.
    Armed,
    /// The witness is away: the secondary gives up first.
    Disarming,
}

/// The primary's half. One for each session in sync.
#[derive(Clone, Debug)]
pub struct Agreement {
    kind: Kind,
    profile: Profile,
    me: NodeId,
    peer: NodeId,
    generation: Generation,
    stage: Stage,
    number: u64,
    heard: Moment,
    asked: Option<Moment>,
    said: Option<Moment>,
}

impl Agreement {
    /// The pair has just got in sync: the right is here ([`crate::replica::Replica::close_in`]).
    pub fn new(kind: Kind, profile: Profile, me: NodeId, peer: NodeId, generation: Generation, now: Moment) -> Agreement {
        Agreement { kind, profile, me, peer, generation, stage: Stage::Survivor, number: 0, heard: now, asked: None, said: None }
    }

    /// The quorum has the right and both know: either node can fail.
    pub fn armed(&self) -> bool {
        self.stage == Stage::Armed
    }

    /// Takes in what happened.
    pub fn step(&mut self, now: Moment, event: &Event) -> Vec<Do> {
        let mut todo = Vec::new();
        match event {
            Event::Witness(reply) => self.heard_witness(now, reply, &mut todo),
            Event::Pong if self.kind == Kind::Tiebreaker => {
                self.heard = now;
                self.quorum_answers(now, Uuid::nil(), 0, &mut todo);
            }
            Event::Word(word) => self.heard_word(now, *word, &mut todo),
            Event::Pong | Event::Tick => {}
        }
        self.tick(now, &mut todo);
        todo
    }

    fn heard_witness(&mut self, now: Moment, reply: &witness::Reply, todo: &mut Vec<Do>) {
        self.heard = now;
        match reply {
            witness::Reply::Known { incarnation, record } => {
                let stands = |record: &witness::Record| record.generation == self.generation && record.in_sync.len() == 2;
                match self.stage {
                    // It lost its memory, or somebody wrote in it.
                    Stage::Armed if !record.as_ref().is_some_and(stands) => self.disarm(now, todo),
                    Stage::Armed => {}
                    _ => self.quorum_answers(now, *incarnation, record.as_ref().map_or(0, |record| record.version), todo),
                }
            }
            witness::Reply::Granted { generation } if *generation == self.generation => {
                if matches!(self.stage, Stage::Registering { .. }) {
                    self.give_to_quorum(now, todo);
                }
            }
            _ => {
                if matches!(self.stage, Stage::Registering { .. }) {
                    self.stage = Stage::Survivor;
                }
            }
        }
    }

    fn quorum_answers(&mut self, now: Moment, incarnation: Uuid, version: u64, todo: &mut Vec<Do>) {
        if self.stage == Stage::Survivor {
            self.number += 1;
            self.stage = Stage::Confirming { incarnation, version };
            self.say(now, Word::Give(self.number), todo);
        }
    }

    fn heard_word(&mut self, now: Moment, word: Word, todo: &mut Vec<Do>) {
        match (word, self.stage.clone()) {
            (Word::Given(number), Stage::Confirming { incarnation, version }) if number == self.number => {
                if self.kind == Kind::Witness {
                    self.stage = Stage::Registering { incarnation, version };
                    self.asked = None;
                } else {
                    self.give_to_quorum(now, todo);
                }
            }
            (Word::Given(number), Stage::Disarming) if number == self.number => {
                todo.push(Do::Record(Right::Here));
                self.stage = Stage::Survivor;
            }
            (Word::Taken(number), Stage::Arming) if number == self.number => self.stage = Stage::Armed,
            _ => {}
        }
    }

    fn give_to_quorum(&mut self, now: Moment, todo: &mut Vec<Do>) {
        todo.push(Do::Record(Right::Quorum));
        self.stage = Stage::Arming;
        self.say(now, Word::Take(self.number), todo);
    }

    fn disarm(&mut self, now: Moment, todo: &mut Vec<Do>) {
        self.number += 1;
        self.stage = Stage::Disarming;
        self.say(now, Word::Give(self.number), todo);
    }

    fn say(&mut self, now: Moment, word: Word, todo: &mut Vec<Do>) {
        self.said = Some(now);
        todo.push(Do::Say(word));
    }

    fn tick(&mut self, now: Moment, todo: &mut Vec<Do>) {
        let away = now.saturating_sub(self.heard) >= self.profile.witness_away;
        match self.stage {
            Stage::Survivor if self.kind == Kind::None => self.quorum_answers(now, Uuid::nil(), 0, todo),
            Stage::Armed | Stage::Arming if away && self.kind != Kind::None => self.disarm(now, todo),
            Stage::Registering { .. } if away => self.stage = Stage::Survivor,
            _ => {}
        }
        if self.said.is_some_and(|at| now.saturating_sub(at) >= self.profile.resend) {
            match self.stage {
                Stage::Confirming { .. } | Stage::Disarming => self.say(now, Word::Give(self.number), todo),
                Stage::Arming => self.say(now, Word::Take(self.number), todo),
                _ => {}
            }
        }
        self.ask_quorum(now, todo);
    }

    fn ask_quorum(&mut self, now: Moment, todo: &mut Vec<Do>) {
        let register = matches!(self.stage, Stage::Registering { .. });
        let pause = if register { self.profile.resend } else { self.profile.witness_pulse };
        if self.asked.is_some_and(|at| now.saturating_sub(at) < pause) {
            return;
        }
        let request = match (self.kind, &self.stage) {
            (Kind::None, _) => return,
            (Kind::Tiebreaker, _) => Do::Ping,
            (Kind::Witness, &Stage::Registering { incarnation, version }) => {
                let in_sync = vec![self.me.min(self.peer), self.me.max(self.peer)];
                let (generation, primary) = (self.generation, self.me);
                Do::Witness(witness::Request::Register { incarnation, version, generation, primary, in_sync })
            }
            (Kind::Witness, _) => Do::Witness(witness::Request::Query),
        };
        self.asked = Some(now);
        todo.push(request);
    }
}

/// The secondary's half: what it records and answers. One for each session in sync, from 0.
#[derive(Clone, Copy, Debug, Default)]
pub struct Follower {
    given: u64,
}

impl Follower {
    /// The right to record, if it changes with this word, and the answer. The record is on disk before the answer leaves.
    pub fn hear(&mut self, word: Word) -> Option<(Right, Word)> {
        match word {
            Word::Give(number) if number >= self.given => {
                self.given = number;
                Some((Right::Peer, Word::Given(number)))
            }
            // Only of the latest giving: one that comes late would arm what has been disarmed since.
            Word::Take(number) if number == self.given => Some((Right::Quorum, Word::Taken(number))),
            _ => None,
        }
    }
}
