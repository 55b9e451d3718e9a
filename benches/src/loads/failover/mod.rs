//! What clients see of every failure: two hosts and a witness with real daemons, and a ledger kept by an application that
//! is reached through the virtual address. Each event happens at a random moment under load; the ledger is judged in
//! every round, and a lost write ends the bench.

mod events;
mod stage;

use super::Load;
use crate::columns::{Column, Needs, Rig};
use crate::stats::{Aim, Bound, Metric, Readings, Reference};
use anyhow::{Context, Result};
use events::Event;
use stage::Stage;
pub use stage::{many, said};

/// The default, and in short.
const ROUNDS: [u32; 2] = [50, 3];
const FAST: &str = "host gone, profile fast: first write on the other node";
const AGAIN: &str = "swap: until the pair can fail over again";

/// What happens in a round under the profile `lan`, in this order: each leaves the pair in sync.
const EVENTS: [(&str, Event); 9] = [
    ("application killed: first write after its restart in place", Event::ApplicationRestarts),
    ("application killed too often: first write on the other node", Event::ApplicationMoves),
    ("engine killed: first write on the other node", Event::EngineKilled),
    ("planned swap: writes stop", Event::Swap),
    ("secondary gone: writes stall", Event::SecondaryGone),
    ("secondary stopped: writes stall", Event::SecondaryStopped),
    ("link cut, witness reached: writes stall", Event::LinkCut),
    ("witness away, then secondary gone: writes stall", Event::WitnessAway),
    (HOST, Event::HostGone),
];
const HOST: &str = "host gone: first write on the other node";

/// See the module.
#[derive(Default)]
pub struct Failover {
    lan: Option<Stage>,
    fast: Option<Stage>,
}

const fn seconds(name: &'static str) -> Metric {
    Metric { name, unit: "s" }
}

const fn within(event: usize, most: f64) -> Aim {
    Aim::ours(EVENTS[event].0, Reference::Itself, Bound::AtMost(most))
}

impl Load for Failover {
    fn about(&self) -> &'static str {
        "two hosts, a witness, an application behind the virtual address: what clients see of each failure; no acknowledged write is lost"
    }

    fn metrics(&self) -> &'static [Metric] {
        &const {
            [
                seconds(EVENTS[0].0),
                seconds(EVENTS[1].0),
                seconds(EVENTS[2].0),
                seconds(EVENTS[3].0),
                seconds(AGAIN),
                seconds(EVENTS[4].0),
                seconds(EVENTS[5].0),
                seconds(EVENTS[6].0),
                seconds(EVENTS[7].0),
                seconds(EVENTS[8].0),
                seconds(FAST),
            ]
        }
    }

    fn aims(&self) -> &'static [Aim] {
        &const {
            [
                within(0, 0.7),
                within(1, 0.7),
                within(2, 0.7),
                within(3, 0.5),
                within(4, 1.2),
                within(5, 0.1),
                within(6, 1.5),
                within(7, 2.0),
                within(8, 2.0),
                Aim::tail(HOST, Bound::AtMost(2.5)),
                Aim::ours(FAST, Reference::Itself, Bound::AtMost(0.5)),
            ]
        }
    }

    fn columns(&self) -> &'static [Column] {
        &[Column::Ours]
    }

    fn needs(&self) -> Needs {
        Needs::CLUSTER
    }

    fn rounds(&self, quick: bool) -> u32 {
        ROUNDS[usize::from(quick)]
    }

    fn prepare(&mut self, _: &mut Rig, _: Column) -> Result<()> {
        self.lan = Some(Stage::new("lan")?);
        self.fast = Some(Stage::new("fast")?);
        Ok(())
    }

    fn run(&mut self, _: &mut Rig, _: Column) -> Result<Readings> {
        let mut readings = Readings::new();
        let lan = self.lan.as_mut().context("it was prepared")?;
        lan.round(|stage, clients| {
            for (name, event) in EVENTS {
                readings.insert(name, stage.event(event, clients).as_secs_f64());
                if event == Event::Swap {
                    readings.insert(AGAIN, stage.again.as_secs_f64());
                }
            }
        })?;
        let fast = self.fast.as_mut().context("it was prepared")?;
        fast.round(|stage, clients| {
            readings.insert(FAST, stage.event(Event::HostGone, clients).as_secs_f64());
        })?;
        Ok(readings)
    }

    fn finish(&mut self) {
        self.lan = None;
        self.fast = None;
    }
}
