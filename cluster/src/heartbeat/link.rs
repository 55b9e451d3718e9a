//! One network to one peer.

use super::beat::{Beat, Heard};
use super::profile::Profile;
use crate::Moment;
use std::time::Duration;

/// What is known of a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkState {
    /// Nothing was heard yet.
    New,
    /// Both hear each other.
    Up,
    /// We hear the peer, it does not hear us.
    Deaf,
    /// The peer is silent here.
    Down,
}

/// What a beat was worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Receipt {
    /// New.
    Fresh,
    /// Of a daemon that has started anew.
    Restarted,
    /// Heard before, or of an earlier start: of no worth.
    Replayed,
}

/// Accounting of one network.
#[derive(Clone, Debug)]
pub struct Link {
    network: u8,
    /// Next own beat.
    sent: u64,
    /// The peer's last one.
    heard: Option<Heard>,
    /// When that was.
    at: Moment,
    /// Time that we listened and heard nothing.
    silence: Duration,
    /// Time in which the peer's beats did not tell of newer ones of ours.
    unheard: Duration,
    /// Our last beat that the peer told of.
    echoed: u64,
}

impl Link {
    /// A network on which nothing was said yet.
    pub fn new(network: u8) -> Link {
        Link { network, sent: 0, heard: None, at: Duration::ZERO, silence: Duration::ZERO, unheard: Duration::ZERO, echoed: 0 }
    }

    /// The number of the next beat sent here.
    pub fn number(&mut self) -> u64 {
        self.sent += 1;
        self.sent
    }

    /// What we tell the peer of this network.
    pub fn heard(&self) -> Option<Heard> {
        self.heard
    }

    /// Silence that was listened to.
    pub fn silence(&self) -> Duration {
        self.silence
    }

    /// A beat arrived here at `now`. `own`: epoch of our daemon.
    pub fn receive(&mut self, beat: &Beat, own: u64, now: Moment) -> Receipt {
        let receipt = match self.heard {
            Some(last) if beat.epoch < last.epoch || beat.epoch == last.epoch && beat.seq <= last.seq => return Receipt::Replayed,
            Some(last) if beat.epoch > last.epoch => Receipt::Restarted,
            _ => Receipt::Fresh,
        };
        self.heard = Some(Heard { network: self.network, epoch: beat.epoch, seq: beat.seq });
        self.at = now;
        self.silence = Duration::ZERO;
        let told = beat.heard.iter().find(|heard| heard.network == self.network && heard.epoch == own);
        if let Some(told) = told
            && told.seq > self.echoed
            && told.seq <= self.sent
        {
            self.echoed = told.seq;
            self.unheard = Duration::ZERO;
        }
        receipt
    }

    /// We listened for `listened` until `now`.
    pub fn tick(&mut self, now: Moment, listened: Duration) {
        self.silence += listened.min(now.saturating_sub(self.at));
        self.unheard += listened;
    }

    /// Silence starts anew: we were not there to listen.
    pub fn forgive(&mut self) {
        self.silence = Duration::ZERO;
        self.unheard = Duration::ZERO;
    }

    /// What is known now.
    pub fn state(&self, profile: &Profile) -> LinkState {
        match self.heard {
            None => LinkState::New,
            _ if self.silence >= profile.degrade => LinkState::Down,
            // Only who is heard can be said not to hear.
            _ if self.echoed == 0 || self.unheard >= profile.degrade && self.silence < profile.degrade / 2 => LinkState::Deaf,
            _ => LinkState::Up,
        }
    }
}
