//! One writer of 4 KiB: the latency of a write, which is what replication costs an application most visibly.

use super::files::{BLOCK, Numbers, echo_blocks, lay_out, open, write_blocks};
use super::{Load, Needs};
use crate::columns::{Column, Rig};
use crate::stats::{Aim, Bound, Metric, Readings, Reference, Round};
use anyhow::Result;

const P50: &str = "write p50";
const P99: &str = "write p99";
const SIZE: u64 = 64 << 20;

/// See the module.
#[derive(Default)]
pub struct Write4k {
    round: u64,
}

impl Load for Write4k {
    fn about(&self) -> &'static str {
        "random 4 KiB overwrites of a 64 MiB file, one job; raw: the same over the bare wire"
    }

    fn metrics(&self) -> &'static [Metric] {
        &[Metric { name: P50, unit: "µs" }, Metric { name: P99, unit: "µs" }]
    }

    fn aims(&self) -> &'static [Aim] {
        &const { [Aim::ours(P50, Reference::To(Column::Floor), Bound::AtMost(1.25))] }
    }

    fn columns(&self) -> &'static [Column] {
        &[Column::Plain, Column::Fuse, Column::Raw, Column::Ours]
    }

    fn needs(&self) -> Needs {
        Needs { wire: true, ..Needs::default() }
    }

    fn prepare(&mut self, rig: &mut Rig, column: Column) -> Result<()> {
        let path = if column == Column::Raw { rig.path("raw-b/echoed") } else { rig.dir(column).join("file") };
        lay_out(&path, SIZE, BLOCK).map(drop)
    }

    fn run(&mut self, rig: &mut Rig, column: Column) -> Result<Readings> {
        self.round += 1;
        let count = rig.size(20_000, 2_000);
        let mut numbers = Numbers::new(self.round);
        let latencies = match column {
            Column::Raw => echo_blocks(rig, SIZE, count, &mut numbers)?,
            _ => write_blocks(&open(&rig.dir(column).join("file"))?, SIZE, count, &mut numbers)?,
        };
        Ok(Readings::from([(P50, latencies.percentile_us(50.0)), (P99, latencies.percentile_us(99.0))]))
    }

    fn floor(&self, round: &Round) -> Option<Readings> {
        let (fuse, raw) = (round.get(&Column::Fuse)?, round.get(&Column::Raw)?);
        Some(Readings::from([(P50, fuse[P50] + raw[P50])]))
    }
}
