//! Four writers of 4 KiB, each to its own file: how much the pair does at once.

use super::Load;
use super::files::{BLOCK, Numbers, lay_out, open, rate, write_blocks};
use crate::columns::{Column, Rig};
use crate::stats::{Aim, Bound, Metric, Readings, Reference};
use anyhow::Result;

const RATE: &str = "writes";
const JOBS: u64 = 4;
const SIZE: u64 = 16 << 20;

/// See the module.
pub struct Writers4;

impl Load for Writers4 {
    fn about(&self) -> &'static str {
        "random 4 KiB overwrites, four jobs, a 16 MiB file each"
    }

    fn metrics(&self) -> &'static [Metric] {
        &[Metric { name: RATE, unit: "kop/s" }]
    }

    fn aims(&self) -> &'static [Aim] {
        &const { [Aim::ours(RATE, Reference::To(Column::Fuse), Bound::AtLeast(0.45))] }
    }

    fn columns(&self) -> &'static [Column] {
        &[Column::Plain, Column::Fuse, Column::Ours]
    }

    fn prepare(&mut self, rig: &mut Rig, column: Column) -> Result<()> {
        (0..JOBS).try_for_each(|job| lay_out(&rig.dir(column).join(job.to_string()), SIZE, BLOCK).map(drop))
    }

    fn run(&mut self, rig: &mut Rig, column: Column) -> Result<Readings> {
        let each = rig.size(20_000, 2_000);
        let dir = rig.dir(column);
        let per_second = rate(JOBS, each, |job| {
            let file = open(&dir.join(job.to_string()))?;
            write_blocks(&file, SIZE, each, &mut Numbers::new(job + 1)).map(drop)
        })?;
        Ok(Readings::from([(RATE, per_second / 1e3)]))
    }
}
