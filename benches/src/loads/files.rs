//! What the loads on files share.

use crate::columns::Rig;
use anyhow::Result;
use hdrhistogram::Histogram;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

/// The unit of small writes.
pub const BLOCK: usize = 4096;
/// The unit of large ones.
pub const LARGE: usize = 1 << 20;
/// Longest latency that is told apart: a minute.
const LONGEST: u64 = 60_000_000_000;

/// Numbers that are the same in every run and column.
#[derive(Clone, Debug)]
pub struct Numbers(u64);

impl Numbers {
    /// A sequence of its own for each seed.
    pub fn new(seed: u64) -> Numbers {
        Numbers(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// The next number below `limit`.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit.max(1)
    }

    /// Bytes that do not compress.
    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len.div_ceil(8)).flat_map(|_| self.below(u64::MAX).to_le_bytes()).take(len).collect()
    }
}

/// Latencies of one kind of operation.
pub struct Latencies(Histogram<u64>);

impl Latencies {
    /// None yet.
    pub fn new() -> Result<Latencies> {
        Ok(Latencies(Histogram::new_with_bounds(1, LONGEST, 3)?))
    }

    /// Does `work` and counts its time.
    pub fn time<T>(&mut self, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let start = Instant::now();
        let done = work()?;
        self.add(start.elapsed());
        Ok(done)
    }

    /// Counts one operation.
    pub fn add(&mut self, took: Duration) {
        self.0.saturating_record(u64::try_from(took.as_nanos()).unwrap_or(LONGEST));
    }

    /// A percentile in microseconds.
    pub fn percentile_us(&self, percentile: f64) -> f64 {
        self.0.value_at_percentile(percentile) as f64 / 1e3
    }
}

/// Makes a file of `size` bytes by writes of `unit`, on the disk afterwards.
///
/// The unit matters: a file written in large pieces lies in large folios, which make later small writes dearer.
pub fn lay_out(path: &Path, size: u64, unit: usize) -> Result<File> {
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(path)?;
    let data = Numbers::new(1).bytes(unit);
    for offset in (0..size).step_by(unit) {
        file.write_all_at(&data, offset)?;
    }
    file.sync_all()?;
    Ok(file)
}

/// Opens a file that was laid out.
pub fn open(path: &Path) -> Result<File> {
    Ok(OpenOptions::new().read(true).write(true).open(path)?)
}

/// Writes `count` blocks at random places of the first `size` bytes, each timed.
pub fn write_blocks(file: &File, size: u64, count: u64, numbers: &mut Numbers) -> Result<Latencies> {
    let data = numbers.bytes(BLOCK);
    let mut latencies = Latencies::new()?;
    for _ in 0..count {
        let offset = numbers.below(size / BLOCK as u64) * BLOCK as u64;
        latencies.time(|| Ok(file.write_all_at(&data, offset)?))?;
    }
    Ok(latencies)
}

/// The same over the raw wire.
pub fn echo_blocks(rig: &Rig, size: u64, count: u64, numbers: &mut Numbers) -> Result<Latencies> {
    let data = numbers.bytes(BLOCK);
    let mut wire = rig.wire()?;
    let mut latencies = Latencies::new()?;
    for _ in 0..count {
        let offset = numbers.below(size / BLOCK as u64) * BLOCK as u64;
        latencies.time(|| wire.write(&data, offset))?;
    }
    Ok(latencies)
}

/// Runs `work` in `jobs` threads at once and gives operations per second over all of them.
pub fn rate(jobs: u64, each: u64, work: impl Fn(u64) -> Result<()> + Sync) -> Result<f64> {
    let start = Instant::now();
    std::thread::scope(|scope| {
        let work = &work;
        let threads: Vec<_> = (0..jobs).map(|job| scope.spawn(move || work(job))).collect();
        threads.into_iter().try_for_each(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    })?;
    Ok((jobs * each) as f64 / start.elapsed().as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_repeat_for_a_seed_and_stay_below_their_limit() {
        let take = |seed| {
            let mut numbers = Numbers::new(seed);
            (0..100).map(|_| numbers.below(10)).collect::<Vec<_>>()
        };
        assert_eq!(take(1), take(1));
        assert_ne!(take(1), take(2));
        assert!(take(3).iter().all(|n| *n < 10));
        assert_eq!(Numbers::new(1).bytes(13).len(), 13);
    }
}
