//! 4 KiB writes between hosts that are further apart: nothing but the round trip may be added.

use super::files::{BLOCK, Numbers, echo_blocks, lay_out, open, write_blocks};
use super::{Load, Needs};
use crate::columns::{Column, Rig};
use crate::stats::{Aim, Bound, Metric, Readings, Reference};
use anyhow::Result;
use std::time::Duration;

const AT: [(u64, &str); 4] = [(0, "write p50 at 0 ms"), (1, "write p50 at 1 ms"), (2, "write p50 at 2 ms"), (5, "write p50 at 5 ms")];
const SIZE: u64 = 16 << 20;

/// See the module.
#[derive(Default)]
pub struct Rtt {
    round: u64,
}

impl Load for Rtt {
    fn about(&self) -> &'static str {
        "random 4 KiB overwrites, one job, hosts 0, 1, 2, 5 ms apart; raw: the bare wire through the same relay"
    }

    fn metrics(&self) -> &'static [Metric] {
        &const { [at(0), at(1), at(2), at(3)] }
    }

    fn aims(&self) -> &'static [Aim] {
        &const { [apart(1), apart(2), apart(3)] }
    }

    fn columns(&self) -> &'static [Column] {
        &[Column::Raw, Column::Ours]
    }

    fn needs(&self) -> Needs {
        Needs { relay: true, wire: true, ..Needs::default() }
    }

    fn prepare(&mut self, rig: &mut Rig, column: Column) -> Result<()> {
        let path = if column == Column::Raw { rig.path("raw-b/echoed") } else { rig.dir(column).join("file") };
        lay_out(&path, SIZE, BLOCK).map(drop)
    }

    fn run(&mut self, rig: &mut Rig, column: Column) -> Result<Readings> {
        self.round += 1;
        let count = rig.size(500, 50);
        let mut readings = Readings::new();
        for (round_trip, metric) in AT {
            rig.set_round_trip(Duration::from_millis(round_trip));
            let mut numbers = Numbers::new(self.round);
            let latencies = match column {
                Column::Raw => echo_blocks(rig, SIZE, count, &mut numbers)?,
                _ => write_blocks(&open(&rig.dir(column).join("file"))?, SIZE, count, &mut numbers)?,
            };
            readings.insert(metric, latencies.percentile_us(50.0));
        }
        rig.set_round_trip(Duration::ZERO);
        Ok(readings)
    }
}

const fn at(index: usize) -> Metric {
    Metric { name: AT[index].1, unit: "µs" }
}

const fn apart(index: usize) -> Aim {
    Aim::ours(AT[index].1, Reference::To(Column::Raw), Bound::AtMost(1.1))
}
