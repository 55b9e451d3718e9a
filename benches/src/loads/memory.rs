//! How much memory the engines hold, after work and after having seen very many files.

use super::Load;
use super::files::{BLOCK, LARGE, Numbers, lay_out, rate, write_blocks};
use super::tree::walk;
use crate::columns::{Column, Rig};
use crate::proc;
use crate::stats::{Aim, Bound, Metric, Readings, Reference};
use anyhow::{Context, Result, ensure};
use std::fs::{self, File};
use std::path::Path;

const WRITES: &str = "primary after writes";
const WRITES_B: &str = "secondary after writes";
const FIND: &str = "primary after find";
const FIND_B: &str = "secondary after find";
const PEAK: &str = "primary peak";
const PEAK_B: &str = "secondary peak";
const LIMIT: Bound = Bound::AtMost(200.0);
const JOBS: u64 = 4;
const PER_DIRECTORY: u64 = 1_000;

/// See the module.
pub struct Memory;

impl Load for Memory {
    fn about(&self) -> &'static str {
        "resident memory of each engine after 4 KiB and 1 MiB writes, after making and finding 500,000 files, and at most"
    }

    fn metrics(&self) -> &'static [Metric] {
        &const { [mb(WRITES), mb(WRITES_B), mb(FIND), mb(FIND_B), mb(PEAK), mb(PEAK_B)] }
    }

    fn aims(&self) -> &'static [Aim] {
        &const { [limit(WRITES), limit(WRITES_B), limit(FIND), limit(FIND_B), limit(PEAK), limit(PEAK_B)] }
    }

    fn columns(&self) -> &'static [Column] {
        &[Column::Fuse, Column::Ours]
    }

    fn most_rounds(&self) -> u32 {
        1
    }

    fn prepare(&mut self, _: &mut Rig, _: Column) -> Result<()> {
        Ok(())
    }

    fn run(&mut self, rig: &mut Rig, column: Column) -> Result<Readings> {
        let dir = rig.dir(column);
        let (primary, secondary) = pids(rig, column)?;
        write_some(rig, &dir)?;
        let mut readings = Readings::from([(WRITES, proc::memory(primary)?.now)]);
        if let Some(pid) = secondary {
            readings.insert(WRITES_B, proc::memory(pid)?.now);
        }
        let count = rig.size(500_000, 5_000);
        make_files(&dir.join("many"), count)?;
        let found = walk(&dir.join("many"))?;
        ensure!(found == count + count.div_ceil(PER_DIRECTORY), "found {found} entries instead of {count} files");
        for (pid, now, peak) in [(Some(primary), FIND, PEAK), (secondary, FIND_B, PEAK_B)] {
            if let Some(pid) = pid {
                let memory = proc::memory(pid)?;
                readings.extend([(now, memory.now), (peak, memory.peak)]);
            }
        }
        Ok(readings)
    }
}

/// The engines behind a column.
pub fn pids(rig: &Rig, column: Column) -> Result<(u32, Option<u32>)> {
    Ok(match column {
        Column::Fuse => (rig.fuse.as_ref().context("no FUSE mount")?.pid(), None),
        _ => {
            let pair = rig.pair.as_ref().context("no pair")?;
            (pair.primary.pid(), Some(pair.secondary_pid()?))
        }
    })
}

fn write_some(rig: &Rig, dir: &Path) -> Result<()> {
    let count = rig.size(50_000, 1_000);
    let size = rig.size(1 << 30, 64 << 20);
    lay_out(&dir.join("large"), size, LARGE)?;
    rate(JOBS, count, |job| {
        let file = lay_out(&dir.join(job.to_string()), 16 << 20, BLOCK)?;
        write_blocks(&file, 16 << 20, count, &mut Numbers::new(job + 1)).map(drop)
    })
    .map(drop)
}

fn make_files(root: &Path, count: u64) -> Result<()> {
    for n in 0..count {
        let dir = root.join(format!("{:05}", n / PER_DIRECTORY));
        if n % PER_DIRECTORY == 0 {
            fs::create_dir_all(&dir)?;
        }
        File::create_new(dir.join(n.to_string()))?;
    }
    Ok(())
}

const fn mb(name: &'static str) -> Metric {
    Metric { name, unit: "MB" }
}

const fn limit(metric: &'static str) -> Aim {
    Aim::ours(metric, Reference::Itself, LIMIT)
}
