//! 4 KiB written and flushed: what a database's commit waits for.
//!
//! Two hosts must flush twice. Both replicas lie on one disk here, so the reference is two flushes of two files on
//! this disk at once, not one.

use super::files::{BLOCK, Latencies, Numbers, echo_blocks, lay_out, open, rate, write_blocks};
use super::{Load, Needs};
use crate::columns::{Column, Rig};
use crate::stats::{Aim, Bound, Metric, Readings, Reference, Round};
use anyhow::{Context, Result};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::mpsc::sync_channel;

const WRITE: &str = "write p50";
const ONE: &str = "1 job p50";
const FOUR: &str = "4 jobs";
const JOBS: u64 = 4;
const SIZE: u64 = 16 << 20;

/// See the module.
#[derive(Default)]
pub struct Fdatasync {
    round: u64,
}

impl Load for Fdatasync {
    fn about(&self) -> &'static str {
        "4 KiB overwrite + fdatasync; raw: the same on two files in parallel (its `write` is the bare wire)"
    }

    fn metrics(&self) -> &'static [Metric] {
        &[Metric { name: ONE, unit: "µs" }, Metric { name: FOUR, unit: "kop/s" }, Metric { name: WRITE, unit: "µs" }]
    }

    fn aims(&self) -> &'static [Aim] {
        &const {
            [
                Aim::ours(ONE, Reference::To(Column::Raw), Bound::AtMost(1.4)),
                Aim::ours(FOUR, Reference::To(Column::Raw), Bound::AtLeast(0.5)),
            ]
        }
    }

    fn columns(&self) -> &'static [Column] {
        &[Column::Plain, Column::Fuse, Column::Raw, Column::Ours]
    }

    fn needs(&self) -> Needs {
        Needs { wire: true, ..Needs::default() }
    }

    fn prepare(&mut self, rig: &mut Rig, column: Column) -> Result<()> {
        for path in (0..JOBS).flat_map(|job| paths(rig, column, job)) {
            lay_out(&path, SIZE, BLOCK)?;
        }
        Ok(())
    }

    fn run(&mut self, rig: &mut Rig, column: Column) -> Result<Readings> {
        self.round += 1;
        let count = rig.size(2_000, 200);
        let mut numbers = Numbers::new(self.round);
        let write = match column {
            Column::Raw => echo_blocks(rig, SIZE, count, &mut numbers)?,
            _ => write_blocks(&open(&paths(rig, column, 0)[0])?, SIZE, count, &mut numbers)?,
        };
        rig.settle()?;
        let one = flush_blocks(&paths(rig, column, 0), count, self.round)?;
        let files: Vec<_> = (0..JOBS).map(|job| paths(rig, column, job)).collect();
        let four = rate(JOBS, count, |job| flush_blocks(&files[job as usize], count, job + 1).map(drop))?;
        Ok(Readings::from([(WRITE, write.percentile_us(50.0)), (ONE, one.percentile_us(50.0)), (FOUR, four / 1e3)]))
    }

    fn floor(&self, round: &Round) -> Option<Readings> {
        let (fuse, raw) = (round.get(&Column::Fuse)?, round.get(&Column::Raw)?);
        let write = fuse[WRITE] + raw[WRITE];
        Some(Readings::from([(WRITE, write), (ONE, write + raw[ONE])]))
    }
}

/// The file of a job; two in the raw column.
fn paths(rig: &Rig, column: Column, job: u64) -> Vec<PathBuf> {
    let name = job.to_string();
    match column {
        Column::Raw => vec![rig.path("raw-a").join(&name), rig.path("raw-b").join(&name)],
        _ => vec![rig.dir(column).join(name)],
    }
}

fn flush_blocks(paths: &[PathBuf], count: u64, seed: u64) -> Result<Latencies> {
    let files = paths.iter().map(|path| open(path)).collect::<Result<Vec<_>>>()?;
    let (first, second) = (files.first().context("no file to write")?, files.get(1));
    match second {
        None => flush_each(count, seed, |data, offset| write_and_flush(first, data, offset)),
        Some(second) => flush_pairs(first, second, count, seed),
    }
}

fn flush_each(count: u64, seed: u64, mut flush: impl FnMut(&[u8], u64) -> Result<()>) -> Result<Latencies> {
    let mut numbers = Numbers::new(seed);
    let data = numbers.bytes(BLOCK);
    let mut latencies = Latencies::new()?;
    for _ in 0..count {
        let offset = numbers.below(SIZE / BLOCK as u64) * BLOCK as u64;
        latencies.time(|| flush(&data, offset))?;
    }
    Ok(latencies)
}

/// Both files at once, the second by a helper.
fn flush_pairs(first: &File, second: &File, count: u64, seed: u64) -> Result<Latencies> {
    let (ask, asked) = sync_channel::<u64>(1);
    let (tell, told) = sync_channel::<Result<()>>(1);
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let data = Numbers::new(seed).bytes(BLOCK);
            for offset in asked {
                if tell.send(write_and_flush(second, &data, offset)).is_err() {
                    break;
                }
            }
        });
        let latencies = flush_each(count, seed, |data, offset| {
            ask.send(offset)?;
            write_and_flush(first, data, offset)?;
            told.recv()?
        });
        drop(ask);
        latencies
    })
}

fn write_and_flush(file: &File, data: &[u8], offset: u64) -> Result<()> {
    file.write_all_at(data, offset)?;
    Ok(file.sync_data()?)
}
