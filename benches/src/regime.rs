//! Puts the processors into the regime that is measured; everything started later inherits it.

use crate::options::Regime;
use anyhow::{Context, Result};
use rustix::thread::CpuSet;
use std::fs::{File, OpenOptions};
use std::io::Write;

const LATENCY: &str = "/dev/cpu_dma_latency";

/// Keeps the regime while it lives.
pub struct Held {
    _latency: Option<File>,
}

/// Enters `regime`; before any thread or process is started that is to have it.
pub fn enter(regime: Regime) -> Result<Held> {
    match regime {
        Regime::AsIs => Ok(Held { _latency: None }),
        Regime::LowLatency => {
            let mut file = OpenOptions::new().write(true).open(LATENCY).with_context(|| format!("cannot open {LATENCY}"))?;
            file.write_all(&0_i32.to_ne_bytes())?;
            Ok(Held { _latency: Some(file) }) // the kernel forgets it when the file is closed
        }
        Regime::OneCpu => {
            let allowed = rustix::thread::sched_getaffinity(None)?;
            let first = (0..CpuSet::MAX_CPU).find(|cpu| allowed.is_set(*cpu)).context("no processor is allowed")?;
            let mut one = CpuSet::new();
            one.set(first);
            rustix::thread::sched_setaffinity(None, &one)?;
            Ok(Held { _latency: None })
        }
    }
}
