//! The ledger application: workers that write, and tell the outside what was acknowledged.
//!
//! A worker does one operation after the other. Before each it prints `S WORKER N KIND PLACE LENGTH DIGEST`,
//! after the system calls returned `A WORKER N NANOSECONDS`. Kinds, and what `PLACE` means:
//! * `slot`: 4 KiB in place at byte PLACE of `slots-WORKER`; `durable` the same and fdatasync;
//! * `append`: LENGTH bytes at the end, which is byte PLACE, of `log-WORKER`;
//! * `publish`: a new file is written, then renamed over `doc-WORKER-PLACE`.
//!
//! A record is `USLEDGR1`, worker u32, zero u32, N u64, length u32, zero u32 (little endian), filling, and
//! the first 16 bytes of the BLAKE3 digest of all that. `check.rs` reads it with code of its own.

use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

const SLOT: usize = 4096;
const SLOTS: u64 = 64;
const DOCUMENTS: u64 = 16;
const HEADER: usize = 32;
const DIGEST: usize = 16;
/// Every so many operations, one waits for the disks.
const DURABLE_EVERY: u64 = 250;

/// When a worker stops.
#[derive(Clone, Copy, Debug)]
pub enum Until {
    Time(Instant),
    #[cfg(test)]
    Operations(u64),
}

impl Until {
    fn reached(self, _done: u64) -> bool {
        match self {
            Until::Time(end) => Instant::now() >= end,
            #[cfg(test)]
            Until::Operations(wanted) => _done >= wanted,
        }
    }
}

/// Runs `workers` workers beneath `dir`; what they say goes to `out`, whole lines in one write.
pub fn run(dir: &Path, workers: u32, until: Until, out: impl Write + Send) -> io::Result<()> {
    fs::create_dir_all(dir)?;
    let out = Mutex::new(out);
    std::thread::scope(|scope| {
        let started: Vec<_> =
            (0..workers).map(|id| (id, &out)).map(|(id, out)| scope.spawn(move || Worker::open(dir, id)?.run(until, out))).collect();
        started.into_iter().try_for_each(|thread| thread.join().unwrap_or_else(|_| Err(io::ErrorKind::Other.into())))
    })
}

struct Worker {
    id: u32,
    store: Store,
    log_end: u64,
}

/// The files of one worker.
pub struct Store {
    id: u32,
    dir: PathBuf,
    slots: File,
    log: File,
}

/// An operation before it is done.
pub struct Operation {
    /// See above.
    pub kind: &'static str,
    /// See above.
    pub place: u64,
    /// What is written.
    pub record: Vec<u8>,
}

impl Worker {
    fn open(dir: &Path, id: u32) -> io::Result<Worker> {
        Ok(Worker { id, store: Store::open(dir, id)?, log_end: 0 })
    }

    fn run(&mut self, until: Until, out: &Mutex<impl Write>) -> io::Result<()> {
        let mut said = String::new();
        let mut n = 0;
        while !until.reached(n) {
            let operation = plan(self.id, n, &mut self.log_end);
            let _ = writeln!(said, "{}", announce(self.id, n, &operation));
            say(out, &mut said)?;
            let start = Instant::now();
            self.store.perform(operation.kind, operation.place, &operation.record)?;
            // Goes out with the next announcement: one write for both.
            let _ = writeln!(said, "A {} {n} {}", self.id, start.elapsed().as_nanos());
            n += 1;
        }
        say(out, &mut said)
    }
}

/// What worker `id` does as its operation `n`. `log_end`: where its log ends, and will end then.
pub fn plan(id: u32, n: u64, log_end: &mut u64) -> Operation {
    let (kind, place, length) = match n % 10 {
        _ if n % DURABLE_EVERY == DURABLE_EVERY - 1 => ("durable", slot_of(n), SLOT),
        0..=5 => ("slot", slot_of(n), SLOT),
        6..=8 => ("append", *log_end, 100 + (n * 37 % 800) as usize),
        _ => ("publish", n / 10 % DOCUMENTS, 1024 + (n * 101 % 12_000) as usize),
    };
    if kind == "append" {
        *log_end += length as u64;
    }
    Operation { kind, place, record: record(id, n, length) }
}

/// The line before an operation.
pub fn announce(id: u32, n: u64, operation: &Operation) -> String {
    let record = &operation.record;
    let digest = &record[record.len() - DIGEST..];
    let mut line = format!("S {id} {n} {} {} {} ", operation.kind, operation.place, record.len());
    digest.iter().for_each(|byte| {
        let _ = write!(line, "{byte:02x}");
    });
    line
}

impl Store {
    /// New files in `dir`.
    pub fn open(dir: &Path, id: u32) -> io::Result<Store> {
        let slots = OpenOptions::new().create_new(true).write(true).open(dir.join(format!("slots-{id}")))?;
        let log = OpenOptions::new().create_new(true).append(true).open(dir.join(format!("log-{id}")))?;
        Ok(Store { id, dir: dir.into(), slots, log })
    }

    /// Does it; when it returns, the operating system has acknowledged it.
    pub fn perform(&mut self, kind: &str, place: u64, record: &[u8]) -> io::Result<()> {
        match kind {
            "append" => self.log.write_all(record),
            "publish" => self.publish(place, record),
            kind => {
                self.slots.write_all_at(record, place)?;
                if kind == "durable" { self.slots.sync_data() } else { Ok(()) }
            }
        }
    }

    fn publish(&self, document: u64, record: &[u8]) -> io::Result<()> {
        let new = self.dir.join(format!("new-{}", self.id));
        let mut file = File::create(&new)?;
        let (head, tail) = record.split_at(record.len() / 2);
        file.write_all(head)?;
        file.write_all(tail)?;
        drop(file);
        fs::rename(&new, self.dir.join(format!("doc-{}-{document}", self.id)))
    }
}

/// Not simply the next slot: 61 has no factor in common with the number of slots.
fn slot_of(n: u64) -> u64 {
    n * 61 % SLOTS * SLOT as u64
}

fn record(worker: u32, n: u64, length: usize) -> Vec<u8> {
    let mut record = Vec::with_capacity(length);
    record.extend_from_slice(b"USLEDGR1");
    record.extend_from_slice(&worker.to_le_bytes());
    record.extend_from_slice(&[0; 4]);
    record.extend_from_slice(&n.to_le_bytes());
    record.extend_from_slice(&(length as u32).to_le_bytes());
    record.extend_from_slice(&[0; 4]);
    debug_assert_eq!(record.len(), HEADER);
    let seed = n.wrapping_mul(31).wrapping_add(worker.into());
    record.extend((0..length - HEADER - DIGEST).map(|i| (seed.wrapping_add(i as u64) % 251) as u8));
    let digest = blake3::hash(&record);
    record.extend_from_slice(&digest.as_bytes()[..DIGEST]);
    record
}

/// One write for whole lines: a pipe takes them all or none, so that a killed worker leaves no half line.
fn say(out: &Mutex<impl Write>, said: &mut String) -> io::Result<()> {
    let mut out = out.lock().unwrap_or_else(PoisonError::into_inner);
    out.write_all(said.as_bytes())?;
    out.flush()?;
    said.clear();
    Ok(())
}
