//! What renaming costs while the secondary is away: a directory of very many files, and a very large file.

use super::Load;
use super::files::{LARGE, lay_out};
use super::resync::{away, lay_tree, start_with};
use crate::columns::{Column, Rig};
use crate::stats::{Aim, Bound, Metric, Readings, Reference};
use anyhow::Result;
use std::fs;

const DIRECTORY: &str = "directory: until in sync";
const DIRECTORY_WIRE: &str = "directory: on the wire";
const FILE: &str = "file: until in sync";
const FILE_WIRE: &str = "file: on the wire";
const FILES: u64 = 100_000;

/// See the module.
pub struct Rename;

impl Load for Rename {
    fn about(&self) -> &'static str {
        "a directory of 100,000 files, and a file of 10 GiB, are renamed while the secondary is away; it returns"
    }

    fn metrics(&self) -> &'static [Metric] {
        &[
            Metric { name: DIRECTORY, unit: "s" },
            Metric { name: DIRECTORY_WIRE, unit: "B" },
            Metric { name: FILE, unit: "s" },
            Metric { name: FILE_WIRE, unit: "B" },
        ]
    }

    fn aims(&self) -> &'static [Aim] {
        &const {
            [
                Aim::ours(DIRECTORY, Reference::Itself, Bound::AtMost(1.0)),
                Aim::ours(DIRECTORY_WIRE, Reference::Itself, Bound::AtMost((1 << 20) as f64)),
                Aim::ours(FILE, Reference::Itself, Bound::AtMost(1.0)),
                Aim::ours(FILE_WIRE, Reference::Itself, Bound::AtMost((1 << 20) as f64)),
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
        let (files, size) = (rig.size(FILES, FILES / 100), rig.size(10 << 30, 64 << 20));
        start_with(rig, |root| {
            fs::create_dir_all(root.join("here/many"))?;
            fs::create_dir(root.join("there"))?;
            lay_tree(&root.join("here/many"), files)?;
            lay_out(&root.join("here/large"), size, LARGE).map(drop)
        })?;
        let root = rig.dir(column).join("tree");
        let directory = away(rig, &root, |root| Ok(fs::rename(root.join("here/many"), root.join("there/many"))?))?;
        let file = away(rig, &root, |root| Ok(fs::rename(root.join("here/large"), root.join("there/renamed"))?))?;
        Ok(Readings::from([(DIRECTORY, directory.seconds), (DIRECTORY_WIRE, directory.wire), (FILE, file.seconds), (FILE_WIRE, file.wire)]))
    }
}
