//! What a node knows when it decides.

use super::event::Accept;
use super::ladder::Ladder;
use super::phase::{Phase, State};
use super::policy::Policy;
use crate::heartbeat::Presence;
use crate::quorum::Kind;
use crate::replica::{Data, Leader, Nobody, Party, Relation, Replica, Right, Role, elect, relation};
use crate::{Moment, NodeId};
use serde::{Deserialize, Serialize};

/// What a node tells the other about a module.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// It as a candidate.
    pub party: Party,
    /// Its state.
    pub state: State,
    /// It has given up serving and waits for the other to take over.
    pub offers: bool,
    /// It stops together with this node.
    pub stops_all: bool,
}

/// All that guards look at.
#[derive(Clone, Debug)]
pub struct View {
    /// The configuration.
    pub policy: Policy,
    /// This node.
    pub node: NodeId,
    /// The moment of the event.
    pub now: Moment,
    /// Where the machine is.
    pub phase: Phase,
    /// This node's data.
    pub replica: Replica,
    /// Whether the peer is heard.
    pub presence: Presence,
    /// Long enough for what can wait.
    pub steady: bool,
    /// What it said last.
    pub peer: Option<Facts>,
    /// The engines have a session.
    pub replication: bool,
    /// Both have everything.
    pub in_sync: bool,
    /// This node followed in sync, and nothing but the loss of the primary came after.
    pub live: bool,
    /// Failures of the application.
    pub ladder: Ladder,
    /// A check that wants nothing served.
    pub check: Option<String>,
    /// What the operator accepts, while a promotion is looked at.
    pub accept: Option<Accept>,
    /// Why the last thing happened.
    pub why: String,
    /// When this is over, stay stopped.
    pub then_stop: bool,
    /// Both stop.
    pub stops_all: bool,
    /// Nothing is tried before.
    pub rest_until: Moment,
}

impl View {
    /// Nothing known but the configuration.
    pub fn new(node: NodeId, policy: Policy, now: Moment) -> View {
        View {
            policy,
            node,
            now,
            phase: Phase::Stopped,
            replica: Replica::default(),
            presence: Presence::Unknown,
            steady: false,
            peer: None,
            replication: false,
            in_sync: false,
            live: false,
            ladder: Ladder::default(),
            check: None,
            accept: None,
            why: String::new(),
            then_stop: false,
            stops_all: false,
            rest_until: Moment::ZERO,
        }
    }

    /// This node as a candidate.
    pub fn party(&self) -> Party {
        Party {
            node: self.node,
            replica: self.replica.clone(),
            willing: !self.phase.departing() && !self.exhausted() && self.check.is_none(),
            serving: self.phase.leads(),
        }
    }

    /// What the peer is told.
    pub fn facts(&self) -> Facts {
        Facts {
            party: self.party(),
            state: self.phase.state(self.in_sync),
            offers: self.phase == Phase::HandOffer,
            stops_all: self.stops_all && self.phase.departing(),
        }
    }

    /// What the peer said, while it is heard.
    pub fn heard(&self) -> Option<&Facts> {
        self.peer.as_ref().filter(|_| self.presence == Presence::Heard)
    }

    /// The peer, while it serves.
    pub fn serving(&self) -> Option<&Facts> {
        self.heard().filter(|facts| facts.party.serving)
    }

    /// This node's data against the peer's.
    pub fn relation(&self) -> Option<Relation> {
        self.heard().map(|facts| relation(&self.replica, &facts.party.replica))
    }

    /// Who of the two leads.
    pub fn leader(&self) -> Option<Leader> {
        self.heard().map(|facts| elect(&self.party(), &facts.party, self.policy.resolves()))
    }

    /// Nobody leads, for this reason.
    pub fn nobody(&self, why: Nobody) -> bool {
        self.leader() == Some(Leader::Nobody(why))
    }

    /// The application has failed too often here.
    pub fn exhausted(&self) -> bool {
        self.ladder.within(self.now, self.policy.restart_window) > self.policy.max_restarts
    }

    /// The secondary has everything, is heard and would lead.
    pub fn peer_ready(&self) -> bool {
        let ready = |facts: &Facts| facts.state == State::Second && facts.party.willing;
        // What it says of itself may be from before it knew that it has everything.
        self.heard().is_some_and(ready)
    }

    /// Histories parted, both serve, and by rule the peer's wins: its primary led the last common generation.
    pub fn peer_wins_split(&self) -> bool {
        let rule = self.policy.resolves() && self.serving().is_some();
        rule && matches!(self.relation(), Some(Relation::Parted { .. })) && self.leader() == Some(Leader::Peer)
    }

    /// This node may ask to lead while the peer is lost.
    pub fn may_lead_alone(&self) -> bool {
        self.hindrance().is_none()
    }

    /// What keeps this node from leading while the peer is lost.
    pub fn hindrance(&self) -> Option<Hindrance> {
        let replica = &self.replica;
        let secondary = replica.role != Role::Primary;
        match replica.data {
            _ if replica.current.is_none() => Some(Hindrance::NoData),
            Data::Inconsistent => Some(Hindrance::Inconsistent),
            Data::Outdated => Some(Hindrance::Outdated),
            Data::Uptodate if replica.right == Right::Peer => Some(Hindrance::RightAtPeer),
            Data::Uptodate if !replica.whole && (secondary || !self.policy.start_after_power_cut) => Some(Hindrance::PowerCut),
            Data::Uptodate if secondary && !self.policy.failover => Some(Hindrance::FailoverOff),
            // Nobody could tell it whether the primary went on without it meanwhile.
            Data::Uptodate if secondary && !self.policy.kind.remembers() && !self.live => Some(Hindrance::SecondaryWaits),
            Data::Uptodate => None,
        }
    }

    /// The word that a promotion wants from the operator now.
    pub fn needed(&self) -> Option<Accept> {
        match (self.heard(), self.relation()) {
            _ if self.replica.current.is_none() => Some(Accept::First),
            _ if self.replica.data == Data::Inconsistent => Some(Accept::Inconsistent),
            (Some(_), Some(Relation::Parted { .. } | Relation::Unrelated)) => Some(Accept::Split),
            (Some(_), _) if self.leader() == Some(Leader::Me) => None,
            (Some(_), _) => Some(Accept::Outdated),
            (None, _) => match self.hindrance() {
                None | Some(Hindrance::FailoverOff) => None,
                Some(_) => Some(Accept::Outdated),
            },
        }
    }

    /// For sentences.
    pub fn quorum(&self) -> &'static str {
        match self.policy.kind {
            Kind::None => "node",
            kind => kind.words(),
        }
    }
}

/// What keeps a node from leading while the peer is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hindrance {
    /// Nothing to lead with.
    NoData,
    /// Half a copy.
    Inconsistent,
    /// The peer went on.
    Outdated,
    /// The witness was away: the primary survives.
    RightAtPeer,
    /// What was acknowledged from memory may be missing here.
    PowerCut,
    /// The operator does not want it.
    FailoverOff,
    /// Former secondary, started anew, and nobody remembers.
    SecondaryWaits,
}
