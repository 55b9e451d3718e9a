//! One peer over all networks.

use super::beat::{Beat, NETWORKS};
use super::damper::Damper;
use super::link::{Link, LinkState, Receipt};
use super::profile::Profile;
use crate::{Moment, NodeId};
use std::time::Duration;
use uuid::Uuid;

/// Whether the peer is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// Not heard since we started, and we have not listened for long.
    Unknown,
    /// Heard on some network.
    Heard,
    /// Silent on every network for `promote`.
    Lost,
}

/// What changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// The peer as a whole.
    Presence(Presence),
    /// One network: reported, changes nothing as long as another one carries.
    Link(u8, LinkState),
    /// The peer's daemon has started anew.
    Restarted,
    /// The peer's host has.
    Rebooted,
    /// What the peer tells of its modules has this version now.
    Facts(u64),
}

/// Our own pause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stall {
    /// How late the tick came.
    pub late: Duration,
    /// So late that the peer may have given us up: what we think we know of it is old.
    pub suspect: bool,
}

/// Accounting of one peer.
#[derive(Clone, Debug)]
pub struct Peer {
    node: NodeId,
    profile: Profile,
    /// Epoch of our own daemon.
    own: u64,
    boot: Uuid,
    links: Vec<Link>,
    states: Vec<LinkState>,
    presence: Presence,
    /// Listened since the start without hearing the peer at all.
    looked: Duration,
    last_tick: Moment,
    peer_boot: Option<Uuid>,
    facts: u64,
    damper: Damper,
}

impl Peer {
    /// A peer of which nothing is known. `own` and `boot` are of this node's daemon and host.
    pub fn new(node: NodeId, networks: u8, profile: Profile, own: u64, boot: Uuid, now: Moment) -> Peer {
        let links: Vec<Link> = (0..networks.min(NETWORKS as u8)).map(Link::new).collect();
        Peer {
            node,
            profile,
            own,
            boot,
            states: vec![LinkState::New; links.len()],
            links,
            presence: Presence::Unknown,
            looked: Duration::ZERO,
            last_tick: now,
            peer_boot: None,
            facts: 0,
            damper: Damper::new(profile.promote * 2),
        }
    }

    /// Whether it is there.
    pub fn presence(&self) -> Presence {
        self.presence
    }

    /// Each network: its number, what is known of it, and the silence that was listened to.
    pub fn links(&self) -> impl Iterator<Item = (u8, LinkState, Duration)> {
        self.links.iter().zip(&self.states).enumerate().map(|(at, (link, &state))| (at as u8, state, link.silence()))
    }

    /// Whether it has been there long enough for what can wait (a return to the preferred node).
    pub fn steady(&mut self, now: Moment) -> bool {
        self.presence == Presence::Heard && self.damper.steady(now)
    }

    /// The next beat on `network`, from `from`, telling of `facts`.
    pub fn beat(&mut self, from: NodeId, network: u8, facts: u64) -> Option<Beat> {
        let heard = self.links.iter().filter_map(Link::heard).collect();
        let seq = self.links.get_mut(usize::from(network))?.number();
        Some(Beat { from, boot: self.boot, epoch: self.own, seq, network, heard, facts })
    }

    /// A beat arrived, authenticated, on the network it names.
    pub fn receive(&mut self, beat: &Beat, now: Moment) -> Vec<Change> {
        let mut changes = Vec::new();
        if beat.from != self.node {
            return changes;
        }
        // A daemon that starts anew says so on every network; the first one counts for all.
        let before = self.links.iter().filter_map(|link| link.heard().map(|heard| heard.epoch)).max();
        if before.is_some_and(|epoch| beat.epoch < epoch) {
            return changes;
        }
        let Some(link) = self.links.get_mut(usize::from(beat.network)) else { return changes };
        if link.receive(beat, self.own, now) == Receipt::Replayed {
            return changes;
        }
        if before.is_some_and(|epoch| beat.epoch > epoch) {
            changes.push(Change::Restarted);
        }
        if self.peer_boot.replace(beat.boot).is_some_and(|boot| boot != beat.boot) {
            changes.push(Change::Rebooted);
        }
        if self.facts != beat.facts {
            self.facts = beat.facts;
            changes.push(Change::Facts(beat.facts));
        }
        if self.presence != Presence::Heard {
            self.presence = Presence::Heard;
            self.damper.back(now);
            changes.push(Change::Presence(Presence::Heard));
        }
        self.look_at_links(&mut changes);
        changes
    }

    /// Judges. Called at every pulse; that it was not called in time is a pause of our own.
    pub fn tick(&mut self, now: Moment) -> (Vec<Change>, Option<Stall>) {
        let passed = now.saturating_sub(self.last_tick);
        self.last_tick = now;
        let pulse = self.profile.pulse;
        let listened = passed.min(pulse * 2);
        let late = passed.saturating_sub(pulse);
        // What was sent to us meanwhile has not been read yet. Who was lost stays lost, who was heard is listened for
        // as long as it takes again: a pause neither forgives nor promotes.
        let stall = (late >= pulse * 3).then_some(Stall { late, suspect: passed >= self.profile.degrade });
        if stall.is_some() && self.presence == Presence::Heard {
            self.links.iter_mut().for_each(Link::forgive);
        } else {
            self.links.iter_mut().for_each(|link| link.tick(now, listened));
        }
        self.looked += listened;
        let mut changes = Vec::new();
        self.look_at_links(&mut changes);
        let silent = self.links.iter().all(|link| link.silence() >= self.profile.promote);
        let lost = match self.presence {
            Presence::Heard => silent,
            Presence::Unknown => self.looked >= self.profile.look,
            Presence::Lost => false,
        };
        if lost {
            self.presence = Presence::Lost;
            self.damper.lost(now);
            changes.push(Change::Presence(Presence::Lost));
        }
        (changes, stall)
    }

    fn look_at_links(&mut self, changes: &mut Vec<Change>) {
        for (at, link) in self.links.iter().enumerate() {
            let state = link.state(&self.profile);
            if self.states[at] != state {
                self.states[at] = state;
                changes.push(Change::Link(at as u8, state));
            }
        }
    }
}
