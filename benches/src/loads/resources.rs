//! What one replicated 4 KiB write costs besides time: processor, hand-overs, bytes on the wire and on the disks.

use super::Load;
use super::files::{BLOCK, Numbers, lay_out, open, write_blocks};
use super::memory::pids;
use crate::columns::{Column, Rig};
use crate::proc;
use crate::stats::{Aim, Metric, Readings};
use anyhow::Result;

const CPU: &str = "processor, primary";
const CPU_B: &str = "processor, secondary";
const SWITCHES: &str = "context switches, primary";
const SWITCHES_B: &str = "context switches, secondary";
const WIRE: &str = "bytes on the wire";
const DISK: &str = "bytes to disk, primary";
const DISK_B: &str = "bytes to disk, secondary";
const SIZE: u64 = 64 << 20;

/// See the module.
pub struct Resources;

impl Load for Resources {
    fn about(&self) -> &'static str {
        "per random 4 KiB overwrite of one job: what the engines use"
    }

    fn metrics(&self) -> &'static [Metric] {
        &[
            Metric { name: CPU, unit: "µs" },
            Metric { name: CPU_B, unit: "µs" },
            Metric { name: SWITCHES, unit: "" },
            Metric { name: SWITCHES_B, unit: "" },
            Metric { name: WIRE, unit: "B" },
            Metric { name: DISK, unit: "B" },
            Metric { name: DISK_B, unit: "B" },
        ]
    }

    fn aims(&self) -> &'static [Aim] {
        &[]
    }

    fn columns(&self) -> &'static [Column] {
        &[Column::Fuse, Column::Ours]
    }

    fn prepare(&mut self, rig: &mut Rig, column: Column) -> Result<()> {
        lay_out(&rig.dir(column).join("file"), SIZE, BLOCK).map(drop)
    }

    fn run(&mut self, rig: &mut Rig, column: Column) -> Result<Readings> {
        let (primary, secondary) = pids(rig, column)?;
        let count: u64 = rig.size(50_000, 5_000);
        let file = open(&rig.dir(column).join("file"))?;
        let before = used(rig, primary, secondary)?;
        write_blocks(&file, SIZE, count, &mut Numbers::new(5))?;
        file.sync_all()?; // dirty pages of the file count to whoever wrote them
        let after = used(rig, primary, secondary)?;
        Ok(after.into_iter().map(|(metric, end)| (metric, (end - before[metric]) / count as f64)).collect())
    }
}

fn used(rig: &Rig, primary: u32, secondary: Option<u32>) -> Result<Readings> {
    let mut used = Readings::from([
        (CPU, proc::cpu_seconds(primary)? * 1e6),
        (SWITCHES, proc::switches(primary)?),
        (DISK, proc::disk_bytes(primary)?),
        (WIRE, proc::wire_bytes(&rig.hosts().a)?),
    ]);
    if let Some(pid) = secondary {
        used.extend([(CPU_B, proc::cpu_seconds(pid)? * 1e6), (SWITCHES_B, proc::switches(pid)?), (DISK_B, proc::disk_bytes(pid)?)]);
    }
    Ok(used)
}
