//! What the CPUs do while they have nothing to do.

use std::fs::{File, OpenOptions};
use std::io::Write;

use rustix::thread::{CpuSet, Pid, sched_getaffinity, sched_setaffinity};

use crate::Outcome;

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Regime {
    AsIs,
    Held,
    OneCpu,
}

pub const ALL: [Regime; 3] = [Regime::AsIs, Regime::Held, Regime::OneCpu];

/// Ends the regime when dropped.
pub struct Entered {
    _held: Option<File>,
    pinned: Vec<Pid>,
    before: CpuSet,
}

impl Regime {
    pub fn name(self) -> &'static str {
        match self {
            Self::AsIs => "as is",
            Self::Held => "held",
            Self::OneCpu => "one CPU",
        }
    }

    /// Puts `threads` into the regime.
    pub fn enter(self, threads: &[Pid]) -> Outcome<Entered> {
        let before = sched_getaffinity(None)?;
        let mut entered = Entered { _held: None, pinned: Vec::new(), before };
        match self {
            Self::AsIs => {}
            Self::Held => {
                let mut file = OpenOptions::new().write(true).open("/dev/cpu_dma_latency")?;
                file.write_all(&0i32.to_ne_bytes())?;
                entered._held = Some(file);
            }
            Self::OneCpu => {
                let mut one = CpuSet::new();
                let first = (0..CpuSet::MAX_CPU).find(|cpu| before.is_set(*cpu));
                one.set(first.ok_or("no CPU")?);
                for thread in threads {
                    sched_setaffinity(Some(*thread), &one)?;
                    entered.pinned.push(*thread);
                }
            }
        }
        Ok(entered)
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        for thread in &self.pinned {
            let _ = sched_setaffinity(Some(*thread), &self.before);
        }
    }
}
