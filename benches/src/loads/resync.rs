//! What a secondary costs that comes back, when little was changed in a tree of few or of very many files.

use super::Load;
use super::files::{BLOCK, Numbers};
use crate::columns::{Column, Rig};
use crate::engines::Pair;
use crate::proc;
use crate::stats::{Aim, Bound, Metric, Readings, Reference};
use anyhow::{Context, Result};
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Files in the trees, with the names of their figures; the quick ones have a hundredth.
const TREES: [(u64, &str, &str); 3] = [
    (10_000, "10,000 files: until in sync", "10,000 files: on the wire"),
    (100_000, "100,000 files: until in sync", "100,000 files: on the wire"),
    (1_000_000, "1,000,000 files: until in sync", "1,000,000 files: on the wire"),
];
const CHANGED: u64 = 1_000;
const FLAT: &str = "time of the largest tree to the smallest";
const PEAK: &str = "primary, memory at most";
const PEAK_B: &str = "secondary, memory at most";
const PER_DIRECTORY: u64 = 1_000;
/// Returns of the secondary per tree; the middle one counts.
const TIMES: usize = 3;

/// See the module.
pub struct Resync;

impl Load for Resync {
    fn about(&self) -> &'static str {
        "1,000 of many files of 4 KiB are written over while the secondary is away; it returns. Largest tree without --quick only"
    }

    fn metrics(&self) -> &'static [Metric] {
        &const {
            [
                Metric { name: TREES[0].1, unit: "s" },
                Metric { name: TREES[0].2, unit: "B" },
                Metric { name: TREES[1].1, unit: "s" },
                Metric { name: TREES[1].2, unit: "B" },
                Metric { name: TREES[2].1, unit: "s" },
                Metric { name: TREES[2].2, unit: "B" },
                Metric { name: FLAT, unit: "" },
                Metric { name: PEAK, unit: "MB" },
                Metric { name: PEAK_B, unit: "MB" },
            ]
        }
    }

    fn aims(&self) -> &'static [Aim] {
        &const {
            [
                Aim::ours(TREES[2].1, Reference::Itself, Bound::AtMost(4.0)),
                Aim::ours(TREES[2].2, Reference::Itself, Bound::AtMost((CHANGED * (BLOCK as u64 + 256)) as f64)),
                Aim::ours(FLAT, Reference::Itself, Bound::AtMost(1.2)),
                Aim::ours(PEAK, Reference::Itself, Bound::AtMost(250.0)),
                Aim::ours(PEAK_B, Reference::Itself, Bound::AtMost(250.0)),
            ]
        }
    }

    fn columns(&self) -> &'static [Column] {
        &[Column::Ours]
    }

    fn most_rounds(&self) -> u32 {
        1
    }

    fn prepare(&mut self, _: &mut Rig, _: Column) -> Result<()> {
        Ok(())
    }

    fn run(&mut self, rig: &mut Rig, column: Column) -> Result<Readings> {
        let mut readings = Readings::new();
        let mut times = Vec::new();
        let (trees, changed) = (rig.size(&TREES[..], &TREES[..2]), rig.size(CHANGED, CHANGED / 10));
        let mut peaks = [0.0_f64; 2];
        for (files, time, wire) in trees {
            let files = rig.size(*files, files / 100);
            start_with(rig, |root| lay_tree(root, files).map(drop))?;
            let root = rig.dir(column).join("tree");
            let mut results = Vec::new();
            for turn in 0..TIMES {
                let change = |root: &Path| change_some(root, files, changed, turn as u64 + 1);
                results.push(away(rig, &root, change)?);
                rig.check(column)?;
            }
            results.sort_by(|a, b| a.seconds.total_cmp(&b.seconds));
            let middle = &results[TIMES / 2];
            readings.extend([(*time, middle.seconds), (*wire, middle.wire)]);
            times.push(middle.seconds);
            let pair = rig.pair.as_ref().context("no pair")?;
            for (peak, pid) in peaks.iter_mut().zip([pair.primary.pid(), pair.secondary_pid()?]) {
                *peak = peak.max(proc::memory(pid)?.peak);
            }
        }
        if let (Some(first), Some(last)) = (times.first(), times.last()) {
            readings.insert(FLAT, last / first);
        }
        readings.extend([(PEAK, peaks[0]), (PEAK_B, peaks[1])]);
        Ok(readings)
    }
}

/// What one return of the secondary cost.
pub struct Cost {
    /// From the connection until in sync.
    pub seconds: f64,
    /// Bytes sent and received, since the secondary was started.
    pub wire: f64,
}

/// Begins again with a tree that `lay` makes in a directory of its own before anything is mounted.
pub fn start_with(rig: &mut Rig, lay: impl Fn(&Path) -> Result<()>) -> Result<()> {
    rig.pair = None;
    Pair::forget_replica(rig)?;
    let root = rig.dir(Column::Ours).join("tree");
    if root.exists() {
        fs::remove_dir_all(&root)?;
    }
    fs::create_dir(&root)?;
    lay(&root)?;
    rig.settle()?;
    rig.pair = Some(Pair::start(rig)?);
    Ok(())
}

/// The secondary is lost, `change` happens, it returns.
pub fn away(rig: &mut Rig, root: &Path, change: impl Fn(&Path) -> Result<()>) -> Result<Cost> {
    let mut pair = rig.pair.take().context("no pair")?;
    pair.lose_secondary()?;
    change(root)?;
    rig.settle()?;
    if !rig.quick() {
        // Nothing is read from memory that a rebooted machine would have to read from its disk.
        fs::write("/proc/sys/vm/drop_caches", "3").context("cannot drop the caches")?;
    }
    let before = proc::wire_bytes(&rig.hosts().a)?;
    let took = pair.secondary_returns(rig)?;
    let wire = proc::wire_bytes(&rig.hosts().a)? - before;
    rig.pair = Some(pair);
    Ok(Cost { seconds: took.as_secs_f64(), wire })
}

fn path(root: &Path, n: u64) -> PathBuf {
    root.join(format!("{:05}/{n:07}", n / PER_DIRECTORY))
}

/// `count` files of one block each, 1,000 in a directory; gives the bytes in them.
pub fn lay_tree(root: &Path, count: u64) -> Result<u64> {
    let mut numbers = Numbers::new(3);
    let block = numbers.bytes(BLOCK);
    for n in 0..count {
        let path = path(root, n);
        if n % PER_DIRECTORY == 0 {
            fs::create_dir_all(path.parent().context("a file has a directory")?)?;
        }
        let file = File::create_new(&path)?;
        file.write_all_at(&block, 0)?;
        file.write_all_at(&n.to_le_bytes(), 0)?;
    }
    Ok(count * BLOCK as u64)
}

/// Writes over `changed` of them, chosen by chance.
fn change_some(root: &Path, count: u64, changed: u64, seed: u64) -> Result<()> {
    let mut numbers = Numbers::new(seed);
    for _ in 0..changed {
        let file = OpenOptions::new().write(true).open(path(root, numbers.below(count)))?;
        let block = numbers.bytes(BLOCK);
        file.write_all_at(&block, 0)?;
    }
    Ok(())
}
