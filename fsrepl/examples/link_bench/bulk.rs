//! (b) A stream of full frames.

use std::time::{Duration, Instant};

use fsrepl::limits::FRAME_PAYLOAD;
use rustix::thread::gettid;
use rustix::time::{ClockId, clock_gettime};

use crate::hosts::Hosts;
use crate::peer::{Acks, Peer};
use crate::regime::Regime;
use crate::variant::{End, STREAMS};
use crate::{Outcome, median};

const ROUNDS: usize = 7;
const FRAMES: usize = 4096;
const GIB: f64 = (1u64 << 30) as f64;

fn cpu_time() -> Duration {
    let now = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(now.tv_sec.unsigned_abs(), now.tv_nsec as u32)
}

/// GiB per second, and CPU milliseconds of both ends per GiB.
fn round(hosts: &Hosts, near_end: End, far_end: End, regime: Regime) -> Outcome<(f64, f64)> {
    let (near, far) = hosts.connect()?;
    let link = near_end.link(near)?;
    let peer = Peer::start(far_end.link(far)?, FRAMES * FRAME_PAYLOAD)?;
    let _entered = regime.enter(&[gettid(), peer.thread])?;
    let frame = vec![1; FRAME_PAYLOAD];
    let (start, cpu) = (Instant::now(), cpu_time());
    for _ in 0..FRAMES {
        link.send_all(&frame)?;
    }
    let mut acks = Acks::new();
    while acks.more(|into| link.recv(into))? == 0 {}
    let size = (FRAMES * FRAME_PAYLOAD) as f64 / GIB;
    let cpu = (cpu_time() - cpu).as_secs_f64() * 1e3;
    Ok((size / start.elapsed().as_secs_f64(), cpu / size))
}

pub fn run(hosts: &Hosts) -> Outcome<()> {
    println!("\n(b) 128 KiB frames; ratio of GiB/s to plain calls on both ends\n");
    println!("| sender | receiver | regime | GiB/s | CPU ms per GiB | ratio |\n|---|---|---|---|---|---|");
    for regime in [Regime::AsIs, Regime::Held] {
        let mut rounds = Vec::new();
        for _ in 0..ROUNDS {
            let row: Outcome<Vec<_>> = STREAMS.iter().map(|(near, far)| round(hosts, *near, *far, regime)).collect();
            rounds.push(row?);
        }
        for (index, (near, far)) in STREAMS.iter().enumerate() {
            let rates: Vec<f64> = rounds.iter().map(|row| row[index].0).collect();
            let cpu: Vec<f64> = rounds.iter().map(|row| row[index].1).collect();
            let ratios: Vec<f64> = rounds.iter().map(|row| row[index].0 / row[0].0).collect();
            println!(
                "| {} | {} | {} | {:.2} | {:.0} | {:.2} |",
                near.name(),
                far.name(),
                regime.name(),
                median(&rates),
                median(&cpu),
                median(&ratios)
            );
        }
    }
    Ok(())
}
