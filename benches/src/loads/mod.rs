//! The loads: one bench a file.

mod create;
mod failover;
mod farm;
mod fdatasync;
mod files;
mod idle;
mod memory;
mod pgbench;
mod read;
mod resources;
mod resync;
mod resync_first;
mod resync_rename;
mod rtt;
mod seqwrite;
mod together;
mod tree;
mod write4k;
mod writers4;

use crate::columns::{Column, Needs, Rig};
use crate::stats::{Aim, Metric, Readings, Round};
use anyhow::Result;

/// One bench: the same work in every column.
pub trait Load {
    /// What it measures, in a line.
    fn about(&self) -> &'static str;
    /// The figures it gives, in the table's order.
    fn metrics(&self) -> &'static [Metric];
    /// What the issue asks for.
    fn aims(&self) -> &'static [Aim];
    /// Columns that it can measure.
    fn columns(&self) -> &'static [Column];
    /// What it needs besides directories.
    fn needs(&self) -> Needs {
        Needs::default()
    }
    /// Rounds where the command line names no number.
    fn rounds(&self, _quick: bool) -> u32 {
        5
    }
    /// Rounds it makes at most: some are too long, and have no ratio, to be repeated.
    fn most_rounds(&self) -> u32 {
        u32::MAX
    }
    /// Lays out what the work starts from; once for each column, alike in all.
    fn prepare(&mut self, rig: &mut Rig, column: Column) -> Result<()>;
    /// Does the work once.
    fn run(&mut self, rig: &mut Rig, column: Column) -> Result<Readings>;
    /// What could not be undercut, from one round's readings of the others.
    fn floor(&self, _round: &Round) -> Option<Readings> {
        None
    }
    /// Ends what it started, while the rig's engines still run.
    fn finish(&mut self) {}
}

/// Every bench by name, in the order of `all`.
pub fn all() -> Vec<(&'static str, Box<dyn Load>)> {
    vec![
        ("write4k", Box::new(write4k::Write4k::default())),
        ("writers4", Box::new(writers4::Writers4)),
        ("fdatasync", Box::new(fdatasync::Fdatasync::default())),
        ("create", Box::new(create::Create::default())),
        ("seqwrite", Box::new(seqwrite::SeqWrite)),
        ("read", Box::new(read::Read)),
        ("tree", Box::new(tree::Tree::default())),
        ("pgbench", Box::new(pgbench::Pgbench::default())),
        ("rtt", Box::new(rtt::Rtt::default())),
        ("rtt-pgbench", Box::new(pgbench::Pgbench::over_distance())),
        ("memory", Box::new(memory::Memory)),
        ("resources", Box::new(resources::Resources)),
        ("resync", Box::new(resync::Resync)),
        ("resync-rename", Box::new(resync_rename::Rename)),
        ("resync-first", Box::new(resync_first::First)),
        ("farm", Box::new(farm::FarmLoad::default())),
        ("failover", Box::new(failover::Failover::default())),
        ("idle", Box::new(idle::Idle::default())),
        ("together", Box::new(together::Together::default())),
    ]
}
