//! Compares a replica with what was acknowledged, reading bytes by itself: nothing here is used by the
//! application that wrote them. The formats are described in `ledger.rs`.
//!
//! An operation that was in flight when its host died may be there, whole or torn, or not; a later
//! acknowledged operation may have overwritten an earlier one at the same place. Anything else is a loss.

use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader};
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Problems that are shown in words; all are counted.
const SHOWN: usize = 5;

/// What the comparison found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Findings {
    pub acknowledged: u64,
    /// There byte for byte, or overwritten by a later acknowledged operation that is.
    pub found: u64,
    /// How many of `found` are there byte for byte.
    pub present: u64,
    pub lost: u64,
    /// What became of the operations that nobody was told the end of.
    pub in_flight: Vec<String>,
    pub files: u64,
    pub files_equal: u64,
    pub files_unknown: u64,
    /// The first few problems in words.
    pub problems: Vec<String>,
}

impl Findings {
    pub fn good(&self) -> bool {
        self.lost == 0 && self.found == self.acknowledged && self.problems.is_empty() && self.tree_equal()
    }

    pub fn tree_equal(&self) -> bool {
        self.files_equal == self.files && self.files_unknown == 0
    }

    pub(super) fn problem(&mut self, words: impl FnOnce() -> String) {
        if self.problems.len() < SHOWN {
            self.problems.push(words());
        }
    }
}

#[derive(Clone, Debug)]
struct Operation {
    n: u64,
    kind: String,
    place: u64,
    length: usize,
    digest: [u8; 16],
}

/// What one worker said.
#[derive(Default)]
struct Worker {
    /// Acknowledged operations by file and place, in order.
    places: BTreeMap<(String, u64), Vec<Operation>>,
    pending: Option<Operation>,
}

/// Compares the ledger files beneath `dir`.
pub fn ledger(dir: &Path, acknowledged: &Path, findings: &mut Findings) -> io::Result<()> {
    for (id, worker) in &said(BufReader::new(File::open(acknowledged)?))? {
        for ((file, place), operations) in &worker.places {
            compare(&dir.join(file), *place, operations, worker.pending.as_ref(), findings);
        }
        if let Some(pending) = &worker.pending {
            let fate = fate(&dir.join(file_of(*id, pending)), pending);
            findings.in_flight.push(format!("worker {id}, operation {} ({}): {fate}", pending.n, pending.kind));
        }
    }
    Ok(())
}

/// Compares the rows of a database's table, `(worker, n)`, with what its clients recorded.
pub fn rows(record: &str, there: &BTreeSet<(u32, u64)>, findings: &mut Findings) -> io::Result<()> {
    for (id, worker) in &said(record.as_bytes())? {
        for done in worker.places.values().flatten() {
            findings.acknowledged += 1;
            if there.contains(&(*id, done.n)) {
                findings.found += 1;
                findings.present += 1;
            } else {
                findings.lost += 1;
                findings.problem(|| format!("transaction {} of worker {id} was acknowledged and is not in the table", done.n));
            }
        }
        if let Some(pending) = &worker.pending {
            let fate = if there.contains(&(*id, pending.n)) { "is there" } else { "is not there" };
            findings.in_flight.push(format!("worker {id}, transaction {}: {fate}", pending.n));
        }
    }
    Ok(())
}

/// What each worker said, in order; anything that makes no sense is an error of the record itself.
fn said(lines: impl BufRead) -> io::Result<BTreeMap<u32, Worker>> {
    let mut workers: BTreeMap<u32, Worker> = BTreeMap::new();
    for line in lines.lines() {
        let line = line?;
        let wrong = || io::Error::new(io::ErrorKind::InvalidData, format!("the record of acknowledgements holds `{line}`"));
        let words: Vec<&str> = line.split(' ').collect();
        let id: u32 = words.get(1).and_then(|word| word.parse().ok()).ok_or_else(wrong)?;
        let worker = workers.entry(id).or_default();
        match words[..] {
            ["S", _, n, kind, place, length, digest] if worker.pending.is_none() => {
                worker.pending = Some(parse(n, kind, place, length, digest).ok_or_else(wrong)?);
            }
            ["A", _, n, _] => {
                let done = worker.pending.take().filter(|done| n.parse() == Ok(done.n)).ok_or_else(wrong)?;
                worker.places.entry((file_of(id, &done), done.place)).or_default().push(done);
            }
            // Who serves it, and that its connection is over: of no meaning here.
            ["H", ..] | ["X", _] => {}
            _ => return Err(wrong()),
        }
    }
    Ok(workers)
}

fn parse(n: &str, kind: &str, place: &str, length: &str, digest: &str) -> Option<Operation> {
    let mut bytes = [0; 16];
    if digest.len() != 32 || !digest.is_ascii() {
        return None;
    }
    for (i, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&digest[2 * i..2 * i + 2], 16).ok()?;
    }
    let (n, place, length) = (n.parse().ok()?, place.parse().ok()?, length.parse().ok()?);
    Some(Operation { n, kind: kind.into(), place, length, digest: bytes })
}

/// Publications are files of their own: their place is in the name.
fn file_of(worker: u32, operation: &Operation) -> String {
    match operation.kind.as_str() {
        "publish" => format!("doc-{worker}-{}", operation.place),
        "append" => format!("log-{worker}"),
        _ => format!("slots-{worker}"),
    }
}

/// `operations`: all acknowledged ones of one place, the last of which must be there.
fn compare(path: &Path, place: u64, operations: &[Operation], pending: Option<&Operation>, findings: &mut Findings) {
    let Some(last) = operations.last() else { return };
    findings.acknowledged += operations.len() as u64;
    if holds(path, last) {
        findings.found += operations.len() as u64;
        findings.present += 1;
        return;
    }
    let over = pending.filter(|p| p.place == place && same_file(p, last));
    if over.is_some_and(|p| p.kind != "publish" || holds(path, p)) {
        // Overwritten by what was in flight: whole or torn in place, whole by rename.
        findings.found += operations.len() as u64;
        return;
    }
    // An older one in its place: that one and those before it are accounted for.
    let older = operations.iter().rposition(|operation| holds(path, operation)).map_or(0, |at| at + 1);
    findings.found += older as u64;
    findings.lost += (operations.len() - older) as u64;
    findings.problem(|| format!("operation {} ({}) was acknowledged and is not in {} at {place}", last.n, last.kind, path.display()));
}

fn same_file(a: &Operation, b: &Operation) -> bool {
    let in_place = |operation: &Operation| matches!(operation.kind.as_str(), "slot" | "durable");
    a.kind == b.kind || (in_place(a) && in_place(b))
}

/// Whether exactly this operation's record is there.
fn holds(path: &Path, operation: &Operation) -> bool {
    let Some(bytes) = read(path, operation) else { return false };
    let Some((content, digest)) = bytes.split_last_chunk::<16>() else { return false };
    let number = content.get(16..24).and_then(|bytes| bytes.try_into().ok()).map(u64::from_le_bytes);
    let length = content.get(24..28).and_then(|bytes| bytes.try_into().ok()).map(u32::from_le_bytes);
    content.starts_with(b"USLEDGR1")
        && number == Some(operation.n)
        && length == u32::try_from(operation.length).ok()
        && *digest == operation.digest
        && blake3::hash(content).as_bytes()[..16] == *digest
}

fn read(path: &Path, operation: &Operation) -> Option<Vec<u8>> {
    if operation.kind == "publish" {
        return fs::read(path).ok().filter(|bytes| bytes.len() == operation.length);
    }
    let mut bytes = vec![0; operation.length];
    File::open(path).ok()?.read_exact_at(&mut bytes, operation.place).ok()?;
    Some(bytes)
}

fn fate(path: &Path, pending: &Operation) -> &'static str {
    match pending.kind.as_str() {
        _ if holds(path, pending) => "is there, whole",
        "append" if fs::metadata(path).is_ok_and(|file| file.len() > pending.place) => "is there in part",
        _ => "is not there, or only in part",
    }
}
