//! A source tree unpacked, walked and removed.

use super::Load;
use super::files::Numbers;
use crate::columns::{Column, Rig};
use crate::hosts::run;
use crate::stats::{Aim, Bound, Metric, Readings, Reference};
use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

const UNTAR: &str = "untar";
const FIND: &str = "find + stat";
const REMOVE: &str = "rm -rf";
const PER_DIRECTORY: u64 = 50;

/// See the module.
#[derive(Default)]
pub struct Tree {
    round: u64,
    archive: Option<PathBuf>,
}

impl Load for Tree {
    fn about(&self) -> &'static str {
        "a tar of small files (0 to 16 KiB, 50 in a directory) unpacked, walked with a stat of each, removed"
    }

    fn metrics(&self) -> &'static [Metric] {
        &[Metric { name: UNTAR, unit: "files/s" }, Metric { name: FIND, unit: "files/s" }, Metric { name: REMOVE, unit: "files/s" }]
    }

    fn aims(&self) -> &'static [Aim] {
        &const {
            [
                Aim::ours(UNTAR, Reference::To(Column::Fuse), Bound::AtLeast(0.5)),
                Aim::ours(FIND, Reference::To(Column::Fuse), Bound::AtLeast(0.9)),
                Aim::ours(REMOVE, Reference::To(Column::Fuse), Bound::AtLeast(0.45)),
            ]
        }
    }

    fn columns(&self) -> &'static [Column] {
        &[Column::Plain, Column::Fuse, Column::Ours]
    }

    fn prepare(&mut self, rig: &mut Rig, _: Column) -> Result<()> {
        if self.archive.is_none() {
            self.archive = Some(archive(rig)?);
        }
        Ok(())
    }

    fn run(&mut self, rig: &mut Rig, column: Column) -> Result<Readings> {
        self.round += 1;
        let archive = self.archive.as_ref().context("the archive is made in prepare")?;
        let dir = rig.dir(column).join(self.round.to_string());
        fs::create_dir(&dir)?;
        let start = Instant::now();
        run(Command::new("tar").arg("-xf").arg(archive).arg("-C").arg(&dir))?;
        let untar = start.elapsed();
        let start = Instant::now();
        let found = walk(&dir)?;
        let find = start.elapsed();
        let start = Instant::now();
        fs::remove_dir_all(&dir)?;
        let remove = start.elapsed();
        // Freed inodes and blocks are worked off for some seconds and would make the next column's creates dearer.
        std::thread::sleep(rig.size(Duration::from_secs(5), Duration::from_millis(200)));
        let rate = |took: Duration| found as f64 / took.as_secs_f64();
        Ok(Readings::from([(UNTAR, rate(untar)), (FIND, rate(find)), (REMOVE, rate(remove))]))
    }
}

/// Makes the archive, the same in every run.
fn archive(rig: &Rig) -> Result<PathBuf> {
    let (root, archive) = (rig.path("tree"), rig.path("tree.tar"));
    let mut numbers = Numbers::new(11);
    for n in 0..rig.size(10_000, 1_000) {
        let dir = root.join(format!("d{:03}/e{:02}", n / PER_DIRECTORY / 10, n / PER_DIRECTORY % 10));
        if n % PER_DIRECTORY == 0 {
            fs::create_dir_all(&dir)?;
        }
        let len = numbers.below(16 << 10) as usize;
        fs::write(dir.join(format!("file-{n:06}.c")), numbers.bytes(len))?;
    }
    run(Command::new("tar").arg("-cf").arg(&archive).arg("-C").arg(&root).arg("."))?;
    fs::remove_dir_all(&root)?;
    Ok(archive)
}

/// What `find -xdev` with a stat of everything does; gives the number of entries.
pub fn walk(dir: &Path) -> Result<u64> {
    let mut found = 0;
    let mut waiting = vec![dir.to_path_buf()];
    while let Some(dir) = waiting.pop() {
        for entry in fs::read_dir(&dir)? {
            let entry = entry?;
            let metadata = entry.metadata()?; // an lstat
            found += 1;
            if metadata.is_dir() {
                waiting.push(entry.path());
            }
        }
    }
    Ok(found)
}
