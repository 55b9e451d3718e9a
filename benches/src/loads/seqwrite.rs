//! Large writes one after the other: bandwidth.

use super::Load;
use super::files::{LARGE, Numbers, lay_out, open};
use crate::columns::{Column, Rig};
use crate::stats::{Aim, Bound, Metric, Readings, Reference};
use anyhow::Result;
use std::os::unix::fs::FileExt;
use std::time::Instant;

const RATE: &str = "1 MiB writes";
const SIZE: u64 = 256 << 20;

/// See the module.
pub struct SeqWrite;

impl Load for SeqWrite {
    fn about(&self) -> &'static str {
        "a 256 MiB file overwritten from its start by writes of 1 MiB, without a flush"
    }

    fn metrics(&self) -> &'static [Metric] {
        &[Metric { name: RATE, unit: "MB/s" }]
    }

    fn aims(&self) -> &'static [Aim] {
        &const { [Aim::ours(RATE, Reference::To(Column::Fuse), Bound::AtLeast(0.5))] }
    }

    fn columns(&self) -> &'static [Column] {
        &[Column::Plain, Column::Fuse, Column::Ours]
    }

    fn prepare(&mut self, rig: &mut Rig, column: Column) -> Result<()> {
        lay_out(&rig.dir(column).join("file"), SIZE, LARGE).map(drop)
    }

    fn run(&mut self, rig: &mut Rig, column: Column) -> Result<Readings> {
        let file = open(&rig.dir(column).join("file"))?;
        let data = Numbers::new(7).bytes(LARGE);
        let passes = rig.size(2, 1);
        let start = Instant::now();
        for _ in 0..passes {
            for offset in (0..SIZE).step_by(LARGE) {
                file.write_all_at(&data, offset)?;
            }
        }
        let rate = (passes * SIZE) as f64 / start.elapsed().as_secs_f64();
        Ok(Readings::from([(RATE, rate / 1e6)]))
    }
}
