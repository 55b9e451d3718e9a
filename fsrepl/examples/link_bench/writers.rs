//! (c) Four writers share one connection, each waiting for its own acknowledgement. Whoever finds
//! nobody reading reads for all, as the mount's threads do.

use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Instant;

use fsrepl::uring::Link;
use parking_lot::{Condvar, Mutex};
use rustix::thread::gettid;

use crate::hosts::Hosts;
use crate::peer::{Acks, Peer};
use crate::regime::Regime;
use crate::variant::{End, STREAMS};
use crate::{Outcome, median};

const ROUNDS: usize = 7;
const WRITERS: usize = 4;
const EACH: usize = 5000;
const REQUEST: usize = 4096;

#[derive(Default)]
struct Queue {
    frames: Vec<u8>,
    issued: u64,
}

#[derive(Default)]
struct Progress {
    acknowledged: u64,
    reading: bool,
}

struct Shared {
    link: Arc<dyn Link>,
    /// One send for everything that is queued, instead of one for each writer.
    together: bool,
    queue: Mutex<Queue>,
    sending: Mutex<Vec<u8>>,
    progress: Mutex<Progress>,
    changed: Condvar,
    acks: Mutex<Acks>,
}

impl Shared {
    fn new(link: Arc<dyn Link>, together: bool) -> Self {
        Self {
            link,
            together,
            queue: Mutex::default(),
            sending: Mutex::default(),
            progress: Mutex::default(),
            changed: Condvar::new(),
            acks: Mutex::new(Acks::new()),
        }
    }

    fn write(&self, request: &[u8]) -> Outcome<()> {
        let number = if self.together {
            self.send_together(request)?
        } else {
            let mut queue = self.queue.lock();
            queue.issued += 1;
            self.link.send_all(request)?;
            queue.issued
        };
        self.wait_for(number)
    }

    fn send_together(&self, request: &[u8]) -> Outcome<u64> {
        let number = {
            let mut queue = self.queue.lock();
            queue.frames.extend_from_slice(request);
            queue.issued += 1;
            queue.issued
        };
        let mut batch = self.sending.lock();
        std::mem::swap(&mut *batch, &mut self.queue.lock().frames);
        self.link.send_all(&batch)?;
        batch.clear();
        Ok(number)
    }

    fn wait_for(&self, number: u64) -> Outcome<()> {
        let mut progress = self.progress.lock();
        while progress.acknowledged < number {
            if progress.reading {
                self.changed.wait(&mut progress);
                continue;
            }
            progress.reading = true;
            drop(progress);
            let acknowledged = self.acks.lock().more(|into| self.link.recv(into));
            progress = self.progress.lock();
            progress.reading = false;
            self.changed.notify_all();
            progress.acknowledged = acknowledged?;
        }
        Ok(())
    }
}

/// Thousands of requests per second.
fn round(hosts: &Hosts, ends: (End, End), together: bool, regime: Regime) -> Outcome<f64> {
    let (near, far) = hosts.connect()?;
    let peer = Peer::start(ends.1.link(far)?, REQUEST)?;
    let shared = Shared::new(ends.0.link(near)?, together);
    let _entered = regime.enter(&[gettid(), peer.thread])?;
    let ready = Barrier::new(WRITERS + 1);
    thread::scope(|scope| {
        let writers: Vec<_> = (0..WRITERS)
            .map(|_| {
                scope.spawn(|| -> Outcome<()> {
                    let request = vec![1; REQUEST];
                    ready.wait();
                    for _ in 0..EACH {
                        shared.write(&request)?;
                    }
                    Ok(())
                })
            })
            .collect();
        ready.wait();
        let start = Instant::now();
        for writer in writers {
            writer.join().map_err(|_| "a writer panicked")??;
        }
        Ok((WRITERS * EACH) as f64 / start.elapsed().as_secs_f64() / 1e3)
    })
}

pub fn run(hosts: &Hosts) -> Outcome<()> {
    println!("\n(c) 4 writers of 4 KiB on one connection; ratio to plain calls, each sending its own\n");
    println!("| primary's end | secondary's end | sends | regime | kop/s | ratio |\n|---|---|---|---|---|---|");
    let variants: Vec<_> = [false, true].into_iter().flat_map(|together| STREAMS.map(|ends| (ends, together))).collect();
    for regime in [Regime::AsIs, Regime::Held] {
        let mut rounds = Vec::new();
        for _ in 0..ROUNDS {
            let row: Outcome<Vec<f64>> = variants.iter().map(|(ends, together)| round(hosts, *ends, *together, regime)).collect();
            rounds.push(row?);
        }
        for (index, (ends, together)) in variants.iter().enumerate() {
            let rates: Vec<f64> = rounds.iter().map(|row| row[index]).collect();
            let ratios: Vec<f64> = rounds.iter().map(|row| row[index] / row[0]).collect();
            println!(
                "| {} | {} | {} | {} | {:.1} | {:.2} |",
                ends.0.name(),
                ends.1.name(),
                if *together { "queued together" } else { "each its own" },
                regime.name(),
                median(&rates),
                median(&ratios)
            );
        }
    }
    Ok(())
}
