//! What the kernel counts for a process and for a host's network.

use crate::hosts::Host;
use anyhow::{Context, Result};
use std::fs;

/// Ticks of `utime` and `stime` in /proc: fixed at 100 for user space on Linux.
const TICKS_PER_SECOND: f64 = 100.0;
const KIB_IN_MB: f64 = 1.024e-3;

/// Memory of a process in MB.
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    /// Resident now.
    pub now: f64,
    /// Resident at most so far.
    pub peak: f64,
}

/// Reads the memory of `pid`.
pub fn memory(pid: u32) -> Result<Memory> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    Ok(Memory { now: number(&status, "VmRSS:")? * KIB_IN_MB, peak: number(&status, "VmHWM:")? * KIB_IN_MB })
}

/// Seconds of processor time that `pid` has used, its own and the kernel's for it.
pub fn cpu_seconds(pid: u32) -> Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name may hold blanks and parentheses: fields are counted after its end.
    let (_, fields) = stat.rsplit_once(')').context("/proc/PID/stat has no name")?;
    let ticks: f64 = fields.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<f64>().ok()).sum();
    Ok(ticks / TICKS_PER_SECOND)
}

/// Memory of `pid` in MB, what is shared counted in part.
pub fn proportional(pid: u32) -> Result<f64> {
    Ok(number(&fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?, "Pss:")? * KIB_IN_MB)
}

/// Context switches of all threads of `pid`.
pub fn switches(pid: u32) -> Result<f64> {
    let mut sum = 0.0;
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        // A thread may end between the listing and the look.
        let Ok(status) = fs::read_to_string(task?.path().join("status")) else { continue };
        sum += number(&status, "voluntary_ctxt_switches:")? + number(&status, "nonvoluntary_ctxt_switches:")?;
    }
    Ok(sum)
}

/// Bytes that `pid` has caused to be written to disks.
pub fn disk_bytes(pid: u32) -> Result<f64> {
    number(&fs::read_to_string(format!("/proc/{pid}/io"))?, "write_bytes:")
}

/// Bytes that `host` has sent and received.
pub fn wire_bytes(host: &Host) -> Result<f64> {
    // /proc/net follows the thread; /sys follows its mount.
    let text = host.inside(|| Ok(fs::read_to_string("/proc/thread-self/net/dev")?))?;
    let line = text.lines().find_map(|line| line.trim().strip_prefix("eth0:")).context("host without eth0")?;
    let fields: Vec<f64> = line.split_whitespace().filter_map(|field| field.parse().ok()).collect();
    Ok(fields.first().context("no receive count")? + fields.get(8).context("no send count")?)
}

fn number(text: &str, field: &str) -> Result<f64> {
    text.lines()
        .find_map(|line| line.strip_prefix(field))
        .and_then(|rest| rest.split_whitespace().next())
        .and_then(|word| word.parse().ok())
        .with_context(|| format!("no {field} in /proc"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_memory_and_time() {
        let pid = std::process::id();
        let memory = memory(pid).expect("own memory");
        assert!(memory.now > 0.5 && memory.peak >= memory.now);
        assert!(cpu_seconds(pid).is_ok() && switches(pid).expect("own switches") > 0.0);
    }
}
