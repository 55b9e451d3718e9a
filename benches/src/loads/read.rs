//! Cached reads: they never leave the primary, so replication must not be felt.

use super::Load;
use super::files::{BLOCK, LARGE, Numbers, lay_out, open};
use crate::columns::{Column, Rig};
use crate::stats::{Aim, Bound, Metric, Readings, Reference};
use anyhow::Result;
use std::os::unix::fs::FileExt;
use std::time::Instant;

const SMALL_RATE: &str = "4 KiB reads";
const LARGE_RATE: &str = "1 MiB reads";
const SIZE: u64 = 128 << 20;

/// See the module.
pub struct Read;

impl Load for Read {
    fn about(&self) -> &'static str {
        "reads of a 128 MiB file that is in the page cache, 4 KiB at random and 1 MiB in order"
    }

    fn metrics(&self) -> &'static [Metric] {
        &[Metric { name: SMALL_RATE, unit: "kop/s" }, Metric { name: LARGE_RATE, unit: "MB/s" }]
    }

    fn aims(&self) -> &'static [Aim] {
        &const {
            [
                Aim::ours(SMALL_RATE, Reference::To(Column::Fuse), Bound::AtLeast(0.95)),
                Aim::ours(LARGE_RATE, Reference::To(Column::Fuse), Bound::AtLeast(0.95)),
            ]
        }
    }

    fn columns(&self) -> &'static [Column] {
        &[Column::Plain, Column::Fuse, Column::Ours]
    }

    fn prepare(&mut self, rig: &mut Rig, column: Column) -> Result<()> {
        lay_out(&rig.dir(column).join("file"), SIZE, LARGE).map(drop)
    }

    fn run(&mut self, rig: &mut Rig, column: Column) -> Result<Readings> {
        let file = open(&rig.dir(column).join("file"))?;
        let mut buffer = vec![0; LARGE];
        let mut in_order = |passes: u64| -> Result<f64> {
            let start = Instant::now();
            for offset in (0..passes).flat_map(|_| (0..SIZE).step_by(LARGE)) {
                file.read_exact_at(&mut buffer, offset)?;
            }
            Ok((passes * SIZE) as f64 / start.elapsed().as_secs_f64() / 1e6)
        };
        in_order(1)?; // fills the cache
        let large = in_order(rig.size(8, 2))?;
        let count = rig.size(400_000, 40_000);
        let mut numbers = Numbers::new(3);
        let mut block = vec![0; BLOCK];
        let start = Instant::now();
        for _ in 0..count {
            file.read_exact_at(&mut block, numbers.below(SIZE / BLOCK as u64) * BLOCK as u64)?;
        }
        let small = f64::from(count) / start.elapsed().as_secs_f64() / 1e3;
        Ok(Readings::from([(SMALL_RATE, small), (LARGE_RATE, large)]))
    }
}
