//! Where the right to go on is while the pair is in sync: the primary's half drives it, the secondary's records and answers.

use super::Mirror;
use super::data::Session;
use crate::failover::Phase;
use crate::net::Message;
use crate::quorum::agreement::{Agreement, Do, Event, Follower, Word};
use crate::quorum::{Kind, notice};
use crate::replica::{Generation, Right};
use crate::{Moment, quorum};

/// Both halves.
pub struct Agreeing {
    leads: Option<(Session, Agreement)>,
    follows: Option<(Session, Follower)>,
    /// The witness has to hear that this node went on without its peer; since when it was last told.
    notice: Option<Option<Moment>>,
}

impl Agreeing {
    pub fn new() -> Agreeing {
        Agreeing { leads: None, follows: None, notice: None }
    }

    /// The pair is not in sync any more.
    pub fn stop(&mut self) {
        self.leads = None;
    }

    /// Either node can fail.
    pub fn armed(&self) -> Option<bool> {
        self.leads.as_ref().map(|(_, agreement)| agreement.armed())
    }

    /// Nothing waits for time but the witness' pulse.
    pub fn rests(&self) -> bool {
        self.armed() != Some(false) && self.notice.is_none()
    }
}

impl Mirror {
    pub(super) fn begin_agreeing(&mut self) {
        let Some(session) = self.disk.session() else { return };
        let (node, now) = (&self.node, self.node.now());
        let agreement = Agreement::new(node.quorum().kind(), node.cluster.profile, node.me, self.peer, session.0, now);
        self.agreeing.leads = Some((session, agreement));
        self.agreeing.notice = None;
    }

    pub(super) fn agree_tick(&mut self) {
        self.agree(&Event::Tick);
        self.tell_witness();
    }

    pub(super) fn agree(&mut self, event: &Event) {
        let now = self.node.now();
        let Some((session, agreement)) = self.agreeing.leads.as_mut() else { return };
        let session = *session;
        for todo in agreement.step(now, event) {
            match todo {
                Do::Witness(request) => self.ask_witness(request),
                Do::Ping => self.ping(),
                Do::Say(word) => self.say(session, word),
                // What follows must not happen without it: the session ends, and a new one begins where the right is here.
                Do::Record(right) if !self.record_right(session, right) => return self.agreeing.stop(),
                Do::Record(_) => {}
            }
        }
    }

    fn record_right(&mut self, session: Session, right: Right) -> bool {
        match self.disk.record_right(right, session, self.engine.is_some(), self.app.is_running()) {
            Ok(()) => {
                self.queue.push_back(crate::failover::Event::Replica(self.disk.replica()));
                true
            }
            Err(failure) => {
                tracing::debug!(module = self.module.name, %failure, "a right was not recorded");
                false
            }
        }
    }

    /// A word of the peer, in the session that it was meant for.
    pub(super) fn word(&mut self, generation: Generation, session: u64, word: Word) {
        let session = (generation, session);
        if matches!(word, Word::Given(_) | Word::Taken(_)) {
            if self.agreeing.leads.as_ref().is_some_and(|(own, _)| *own == session) {
                self.agree(&Event::Word(word));
            }
            return;
        }
        if self.agreeing.follows.as_ref().is_none_or(|(known, _)| *known != session) {
            self.agreeing.follows = Some((session, Follower::default()));
        }
        let Some((_, follower)) = &mut self.agreeing.follows else { return };
        if let Some((right, answer)) = follower.hear(word)
            && self.record_right(session, right)
        {
            self.say(session, answer);
        }
    }

    fn say(&self, (generation, session): Session, word: Word) {
        let message = Message::Word { module: self.module.name.clone(), generation, session, word };
        self.node.couriers.send(self.peer, message);
    }

    fn ask_witness(&self, request: quorum::witness::Request) {
        let (Some(witness), Some(set)) = (self.node.witness(), self.disk.set()) else { return };
        let (inputs, patience) = (self.inputs.clone(), self.node.cluster.profile.witness_away);
        self.node.couriers.work(move || {
            if let Ok(reply) = witness.ask(set, &request, patience) {
                let _ = inputs.send(super::Input::Witness(reply));
            }
        });
    }

    fn ping(&self) {
        let crate::engine::QuorumSpec::Tiebreaker { address } = self.node.quorum() else { return };
        let (inputs, patience) = (self.inputs.clone(), self.node.cluster.profile.witness_pulse);
        self.node.couriers.work(move || {
            if matches!(crate::ping::ping(address, patience), Ok(true)) {
                let _ = inputs.send(super::Input::Pong);
            }
        });
    }

    /// Who went on by the peer's consent or by its own right tells the witness, so that a peer whose disk is put back in
    /// time finds out.
    fn tell_witness(&mut self) {
        let alone = self.machine.phase() == Phase::Alone && self.disk.replica().alone;
        if !alone || self.node.quorum().kind() != Kind::Witness {
            self.agreeing.notice = None;
            return;
        }
        let now = self.node.now();
        let told = self.agreeing.notice.flatten();
        if told.is_some_and(|at| now.saturating_sub(at) < self.node.cluster.profile.witness_away * 4) {
            return;
        }
        self.agreeing.notice = Some(Some(now));
        if let Some(request) = notice(self.node.me, &self.disk.replica()) {
            self.ask_witness(request);
        }
    }
}
