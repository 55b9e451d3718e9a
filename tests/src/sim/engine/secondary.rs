//! The secondary's half: takes a session, is torn until it has everything, then acknowledges what it applies.

use super::{Frame, Part, World};
use crate::sim::queue::Body;
use cluster::failover::Event;
use cluster::quorum::agreement::Follower;
use cluster::replica::{Relation, Replica, Right, relation};

#[derive(Clone, Debug)]
pub(in crate::sim) struct Secondary {
    pub in_sync: bool,
    keeps: bool,
    follower: Follower,
}

impl Secondary {
    pub fn new(keeps: bool) -> Secondary {
        Secondary { in_sync: false, keeps, follower: Follower::default() }
    }
}

impl World {
    fn secondary(&mut self, node: usize) -> Option<&mut Secondary> {
        match self.hosts[node].engine.as_mut().map(|engine| &mut engine.part) {
            Some(Part::Secondary(secondary)) => Some(secondary),
            _ => None,
        }
    }

    pub(super) fn hear_connect(&mut self, node: usize, session: u32) {
        let Some(engine) = self.engine(node) else { return };
        if engine.follows() && engine.session == 0 {
            engine.open(session);
            let network = self.best_network();
            self.send(node, 1 - node, network, Body::Accept { session });
        }
    }

    pub(super) fn secondary_hears(&mut self, node: usize, frame: Frame) {
        match frame {
            Frame::Begin(party) => self.admit(node, &party.replica),
            Frame::Copy(has) => {
                let data = &mut self.hosts[node].disk.data;
                data.has = has;
                data.stable &= has;
                self.say(node, Frame::Copied);
            }
            Frame::Op { op, fsync } => self.apply(node, op, fsync),
            Frame::Done(replica) => self.adopt(node, &replica),
            Frame::Word(word) => {
                let Some(secondary) = self.secondary(node) else { return };
                let Some((right, answer)) = secondary.follower.hear(word) else { return };
                let forgets = self.bad.follower_forgets && right == Right::Peer;
                if forgets || self.record(node, |replica| replica.right = right) {
                    self.tell_replica(node);
                    self.say(node, Frame::Word(answer));
                }
            }
            Frame::Leave => {
                self.hosts[node].disk.data.flush();
                if self.record(node, |replica| replica.clean = true) {
                    self.tell_replica(node);
                    self.tell(node, Event::PeerClean);
                    self.say(node, Frame::Left);
                }
            }
            _ => {}
        }
    }

    /// Whether what is here may be overwritten; it is torn from here until it has everything.
    fn admit(&mut self, node: usize, theirs: &Replica) {
        let keeps = self.secondary(node).is_some_and(|secondary| secondary.keeps);
        let fits = match relation(&self.hosts[node].disk.replica, theirs) {
            Relation::Behind | Relation::Same | Relation::Empty => true,
            Relation::Parted { .. } => keeps,
            Relation::Ahead | Relation::Unrelated => false,
        };
        if !fits {
            self.end_session(node, false);
            return self.tell(node, Event::FollowRefused("the primary's data is another history".into()));
        }
        if !self.bad.follows_unrecorded && !self.record(node, Replica::follow) {
            return;
        }
        self.tell_replica(node);
        self.tell(node, Event::Replication(true));
        let theirs = self.hosts[1 - node].disk.data.has;
        let old = self.hosts[node].disk.data.has;
        let broken = self.ledger.overwritten(node, old, theirs, keeps);
        self.broken(node, broken);
        // Half a copy: some of what was here is gone.
        let chance = u128::from(self.rng.number()) << 64 | u128::from(self.rng.number());
        let data = &mut self.hosts[node].disk.data;
        data.has &= chance;
        data.stable &= chance;
        self.say(node, Frame::Torn);
    }

    fn apply(&mut self, node: usize, op: u32, fsync: bool) {
        let data = &mut self.hosts[node].disk.data;
        data.has |= 1 << op;
        if fsync {
            data.stable |= 1 << op;
        }
        self.ledger.applied(node, op);
        self.say(node, Frame::Acked(op));
    }

    fn adopt(&mut self, node: usize, sender: &Replica) {
        self.hosts[node].disk.data.flush();
        if !self.record(node, |replica| replica.adopt(sender)) {
            return;
        }
        self.hosts[node].doubtful = false;
        // One that comes late is of a generation that the primary has left.
        if self.hosts[1 - node].disk.replica.current == sender.current {
            let data = self.data();
            let broken = self.ledger.in_sync(node, data);
            self.broken(node, broken);
        }
        let Some(secondary) = self.secondary(node) else { return };
        secondary.in_sync = true;
        secondary.follower = Follower::default();
        self.tell_replica(node);
        self.tell(node, Event::InSync);
        self.say(node, Frame::InSync);
    }

    /// Stopped by the operator: the primary is to go on at once.
    pub(in crate::sim) fn say_leaving(&mut self, node: usize) {
        if self.secondary(node).is_some() {
            self.say(node, Frame::Leaving);
        }
    }
}
