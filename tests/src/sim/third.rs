//! The third machine: the witness with its disk, or an address that answers pings.

use super::queue::{Body, Happening, Ms, THIRD};
use super::world::World;
use cluster::quorum::witness::{Request, Witness};
use std::rc::Rc;
use uuid::Uuid;

/// The set's id at the witness.
pub(super) const MODULE: Uuid = Uuid::from_u128(77);

#[derive(Clone, Debug)]
pub(super) struct Third {
    pub up: bool,
    pub paused: Ms,
    pub witness: Witness,
}

impl World {
    pub(super) fn third_hears(&mut self, from: usize, body: Body) {
        if !self.third.up {
            return;
        }
        if self.now < self.third.paused {
            // Only what comes over a connection waits for the process; the address answers from its kernel.
            if matches!(body, Body::AskWitness { .. }) {
                let packet = Box::new(super::queue::Packet { from, to: THIRD, network: 0, body });
                self.queue.push(self.third.paused, Happening::Packet(packet));
                return;
            }
        }
        match body {
            Body::AskWitness { asker, run, request } => {
                let claim = matches!(*request, Request::Claim { .. });
                let before = (claim && self.bad.witness_forgets).then(|| self.third.witness.clone());
                let (reply, changed) = self.third.witness.handle(MODULE, &request);
                if changed {
                    self.log.detail(self.now, "witness", || format!("records: {request:?}"));
                }
                if let Some(before) = before.filter(|_| changed) {
                    self.third.witness = before;
                }
                self.send(THIRD, from, 0, Body::Witness { asker, run, reply: Rc::new(reply) });
            }
            Body::Ping { asker, run } => self.send(THIRD, from, 0, Body::Pong { asker, run }),
            _ => {}
        }
    }

    /// Its disk is lost: a new memory begins.
    pub(super) fn blank_witness(&mut self) {
        self.third.witness = Witness::blank(self.fresh());
    }
}
