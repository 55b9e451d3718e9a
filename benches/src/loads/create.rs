//! Small files made and removed: names are replicated too, and each step waits for the other host.

use super::files::{BLOCK, Latencies, Numbers, echo_blocks};
use super::{Load, Needs};
use crate::columns::{Column, Rig};
use crate::stats::{Aim, Bound, Metric, Readings, Reference, Round};
use anyhow::Result;
use std::fs::{self, File};
use std::io::Write;
use std::time::Duration;

const CREATE: &str = "create + 4 KiB + close p50";
const UNLINK: &str = "unlink p50";

/// See the module.
#[derive(Default)]
pub struct Create {
    round: u64,
}

impl Load for Create {
    fn about(&self) -> &'static str {
        "files of 4 KiB made in a fresh directory, then removed; raw: round trips of the wire (2 and 1)"
    }

    fn metrics(&self) -> &'static [Metric] {
        &[Metric { name: CREATE, unit: "µs" }, Metric { name: UNLINK, unit: "µs" }]
    }

    fn aims(&self) -> &'static [Aim] {
        &const {
            [
                Aim::ours(CREATE, Reference::To(Column::Fuse), Bound::AtMost(2.0)),
                Aim::ours(UNLINK, Reference::To(Column::Fuse), Bound::AtMost(2.2)),
            ]
        }
    }

    fn columns(&self) -> &'static [Column] {
        &[Column::Plain, Column::Fuse, Column::Raw, Column::Ours]
    }

    fn needs(&self) -> Needs {
        Needs { wire: true, ..Needs::default() }
    }

    fn prepare(&mut self, _: &mut Rig, _: Column) -> Result<()> {
        Ok(())
    }

    fn run(&mut self, rig: &mut Rig, column: Column) -> Result<Readings> {
        self.round += 1;
        let count = rig.size(2_000, 200);
        if column == Column::Raw {
            let trip = echo_blocks(rig, 1 << 20, count, &mut Numbers::new(self.round))?.percentile_us(50.0);
            return Ok(Readings::from([(CREATE, 2.0 * trip), (UNLINK, trip)]));
        }
        let dir = rig.dir(column).join(self.round.to_string());
        fs::create_dir(&dir)?;
        let data = Numbers::new(self.round).bytes(BLOCK);
        let (mut created, mut unlinked) = (Latencies::new()?, Latencies::new()?);
        let paths: Vec<_> = (0..count).map(|n| dir.join(format!("file-{n:06}"))).collect();
        for path in &paths {
            created.time(|| Ok(File::create_new(path)?.write_all(&data)?))?;
        }
        // No flush between: blocks that are not allocated yet make unlink cheap beneath, and hide least of ours.
        for path in &paths {
            unlinked.time(|| Ok(fs::remove_file(path)?))?;
        }
        fs::remove_dir(&dir)?;
        // Freed inodes and blocks are worked off for some seconds and would make the next column's creates dearer.
        std::thread::sleep(rig.size(Duration::from_secs(5), Duration::from_millis(200)));
        Ok(Readings::from([(CREATE, created.percentile_us(50.0)), (UNLINK, unlinked.percentile_us(50.0))]))
    }

    fn floor(&self, round: &Round) -> Option<Readings> {
        let (fuse, raw) = (round.get(&Column::Fuse)?, round.get(&Column::Raw)?);
        Some([CREATE, UNLINK].into_iter().map(|metric| (metric, fuse[metric] + raw[metric])).collect())
    }
}
