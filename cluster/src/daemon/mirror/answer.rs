//! The peer wants to go on without this node.

use super::Mirror;
use crate::failover::Event;
use crate::quorum::{Answer, PeerQuestion, consent};
use fsrepl::node::change::Change;

impl Mirror {
    /// A yes is on this node's disk, and the old session has ended, before it is said.
    pub(super) fn question(&mut self, question: &PeerQuestion) -> Option<Answer> {
        if question.from.node != self.peer {
            return None;
        }
        let mut me = self.machine.view().party();
        me.replica = self.disk.replica();
        let answer = consent(&me, question, self.machine.view().policy.resolves());
        if let Answer::No(refusal) = &answer {
            tracing::info!(module = self.module.name, ?refusal, "the other node may not go on without this one");
            return Some(answer);
        }
        // Also when it was said before: what this node has begun to ask for since is given up.
        if self.disk.is_replica() {
            if let Err(failure) = self.disk.record(&Change::YieldTo(question.next), self.engine.is_some(), self.app.is_running()) {
                tracing::warn!(module = self.module.name, %failure, "consent cannot be recorded, so it is not given");
                return None;
            }
            self.feed(Event::Replica(self.disk.replica()));
        }
        self.feed(Event::Consented);
        tracing::info!(module = self.module.name, next = %question.next, "gave way: the other node may go on without this one");
        Some(answer)
    }
}
