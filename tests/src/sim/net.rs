//! Networks that lose, double, delay, reorder and are cut in one direction or both.

use super::queue::{Body, Happening, Ms, Packet, THIRD};
use super::world::World;

/// Most networks between the nodes in a history.
pub(super) const NETWORKS: usize = 2;

/// What one direction of a link does.
pub(super) const TO_SECOND: u8 = 1;
pub(super) const TO_FIRST: u8 = 2;
pub(super) const BOTH: u8 = TO_SECOND | TO_FIRST;

/// The state of all links.
#[derive(Clone, Debug)]
pub(super) struct Net {
    pub networks: usize,
    /// Directions that are cut, per network.
    pub cut: [u8; NETWORKS],
    /// Directions to (1) and from (2) the third machine that are cut, per node.
    pub third_cut: [u8; 2],
    /// Of 1000 packets.
    pub loss: u64,
    pub double: u64,
    /// Some packets take so much longer.
    pub slow: Ms,
    /// Counts faults, so that the end of an old one does not end a new one.
    pub change: u32,
    pub calm_change: u32,
}

impl Net {
    pub fn new(networks: usize) -> Net {
        Net { networks, cut: [0; NETWORKS], third_cut: [0; 2], loss: 0, double: 0, slow: 0, change: 0, calm_change: 0 }
    }

    pub fn heal(&mut self) {
        self.change += 1;
        self.calm_change += 1;
        (self.cut, self.third_cut) = ([0; NETWORKS], [0; 2]);
        (self.loss, self.double, self.slow) = (0, 0, 0);
    }

    pub fn carries(&self, from: usize, to: usize, network: usize) -> bool {
        match (from, to) {
            (THIRD, node) => self.third_cut[node] & TO_FIRST == 0,
            (node, THIRD) => self.third_cut[node] & TO_SECOND == 0,
            (0, _) => self.cut[network] & TO_SECOND == 0,
            _ => self.cut[network] & TO_FIRST == 0,
        }
    }

    /// Some network carries in both directions.
    pub fn whole(&self) -> bool {
        self.cut[..self.networks].contains(&0)
    }
}

impl World {
    /// Sends; what the network does to it is decided here and when it arrives.
    pub(super) fn send(&mut self, from: usize, to: usize, network: usize, body: Body) {
        if from < 2 && !self.hosts[from].up || !self.net.carries(from, to, network) && !matches!(body, Body::Stream { .. }) {
            return;
        }
        let reliable = matches!(body, Body::Stream { .. });
        let mut copies = 1;
        if !reliable && self.net.loss > 0 && self.rng.below(1000) < self.net.loss {
            return;
        }
        if !reliable && self.net.double > 0 && self.rng.below(1000) < self.net.double {
            copies = 2;
        }
        for _ in 0..copies {
            let mut delay = 1 + (self.rng.number() & 1);
            if self.net.slow > 0 && self.rng.one_in(4) {
                delay += self.rng.below(self.net.slow);
            }
            let packet = Box::new(Packet { from, to, network, body: body.clone() });
            self.queue.push(self.now + delay, Happening::Packet(packet));
        }
    }

    /// On every network: what must get through if anything does.
    pub(super) fn send_on_all(&mut self, from: usize, body: &Body) {
        for network in 0..self.net.networks {
            self.send(from, 1 - from, network, body.clone());
        }
    }

    /// A stream goes over the first network that carries both ways, as a new connection would.
    pub(super) fn best_network(&self) -> usize {
        (0..self.net.networks).find(|&network| self.net.cut[network] == 0).unwrap_or(0)
    }

    pub(super) fn arrive(&mut self, packet: Box<Packet>) {
        let Packet { from, to, network, .. } = *packet;
        if !self.net.carries(from, to, network) {
            if let Body::Stream { session, .. } = packet.body
                && self.has_session(from, session)
            {
                // Sent again until the connection is given up; the order is the receiver's to restore.
                self.queue.push(self.now + 40, Happening::Packet(packet));
            }
            return;
        }
        if to == THIRD {
            return self.third_hears(from, packet.body);
        }
        if !self.hosts[to].up {
            return;
        }
        let process = match &packet.body {
            Body::Beat(_) | Body::Facts { .. } | Body::FactsHeard { .. } | Body::Question { .. } => 0,
            Body::Answer { asker, .. } | Body::Witness { asker, .. } | Body::Pong { asker, .. } => *asker as usize,
            _ => 1,
        };
        let until = self.hosts[to].paused[process];
        if self.now < until {
            return self.queue.push(until, Happening::Packet(packet));
        }
        match process {
            0 => self.daemon_hears(to, *packet),
            _ => self.engine_hears(to, *packet),
        }
    }
}
