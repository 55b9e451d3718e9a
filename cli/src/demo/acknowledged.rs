//! The outside of the application: keeps what its client says, measures, and knows nothing of the replica.

use super::failed;
use super::latency::Histogram;
use fsrepl::report::Failure;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Latencies by kind of operation.
pub type Latencies = BTreeMap<String, Histogram>;

/// What is known of the acknowledgements.
#[derive(Default)]
struct Known {
    window: Latencies,
    kinds: BTreeMap<String, String>,
    hosts: BTreeMap<String, String>,
    served: Served,
}

/// Who serves, and how long nobody did.
#[derive(Clone, Debug, Default)]
pub struct Served {
    /// Who acknowledged last.
    pub by: String,
    /// How often somebody else acknowledged than the time before.
    pub turns: u64,
    /// The longest time without an acknowledgement since `Recorder::mark`.
    pub gap: Duration,
    /// Acknowledged since `Recorder::mark`.
    pub since: u64,
    last: Option<Instant>,
}

impl Served {
    fn acknowledged(&mut self, now: Instant, by: &str) {
        if let Some(last) = self.last {
            self.gap = self.gap.max(now.saturating_duration_since(last));
        }
        self.last = Some(now);
        self.since += 1;
        if self.by != by {
            self.turns += 1;
            by.clone_into(&mut self.by);
        }
    }
}

/// Reads a client's output until that ends, and keeps it in a file.
pub struct Recorder {
    known: Arc<Mutex<Known>>,
    reader: Option<JoinHandle<io::Result<()>>>,
    total: Latencies,
}

impl Recorder {
    pub fn start(from: impl Read + Send + 'static, keep: &Path) -> Result<Recorder, Failure> {
        let file = File::create(keep).map_err(failed("cannot record acknowledgements"))?;
        let known = Arc::new(Mutex::new(Known::default()));
        let shared = Arc::clone(&known);
        let reader = std::thread::spawn(move || record(BufReader::new(from), BufWriter::new(file), &shared));
        Ok(Recorder { known, reader: Some(reader), total: Latencies::new() })
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        lock(&self.known)
    }

    /// Latencies since the last call.
    pub fn window(&mut self) -> Latencies {
        let window = std::mem::take(&mut self.known().window);
        for (kind, latencies) in &window {
            self.total.entry(kind.clone()).or_default().merge(latencies);
        }
        window
    }

    /// Acknowledged up to the last `window`.
    pub fn count(&self) -> u64 {
        self.total.values().map(Histogram::total).sum()
    }

    /// Gaps and turns are counted from now on; the gap that has begun counts whole.
    pub fn mark(&self) {
        let served = &mut self.known().served;
        (served.gap, served.turns, served.since) = (Duration::ZERO, 0, 0);
    }

    /// Who serves; a gap that goes on is in it.
    pub fn served(&self) -> Served {
        let mut served = self.known().served.clone();
        if let Some(last) = served.last {
            served.gap = served.gap.max(last.elapsed());
        }
        served
    }

    /// Waits for the client's end; all its latencies.
    pub fn finish(mut self) -> Result<Latencies, Failure> {
        let ended = self.reader.take().map_or(Ok(()), |reader| reader.join().unwrap_or_else(|_| Err(io::ErrorKind::Other.into())));
        ended.map_err(failed("cannot record acknowledgements"))?;
        self.window();
        Ok(self.total)
    }
}

fn lock(known: &Mutex<Known>) -> MutexGuard<'_, Known> {
    known.lock().unwrap_or_else(PoisonError::into_inner)
}

fn record(mut from: impl BufRead, mut keep: impl Write, known: &Mutex<Known>) -> io::Result<()> {
    let mut line = String::new();
    while from.read_line(&mut line)? > 0 {
        // A line that was cut short was not said.
        if line.ends_with('\n') {
            keep.write_all(line.as_bytes())?;
            // Others read the file when a connection is over.
            if line.starts_with('X') {
                keep.flush()?;
            }
            note(&line, Instant::now(), &mut lock(known));
        }
        line.clear();
    }
    keep.flush()
}

fn note(line: &str, now: Instant, known: &mut Known) {
    let words: Vec<&str> = line.split_whitespace().collect();
    match words[..] {
        ["H", worker, host] => drop(known.hosts.insert(worker.into(), host.into())),
        ["S", worker, _, kind, ..] => match known.kinds.get_mut(worker) {
            Some(known) => kind.clone_into(known),
            None => drop(known.kinds.insert(worker.into(), kind.into())),
        },
        ["A", worker, _, nanoseconds] => {
            if let (Some(kind), Ok(nanoseconds)) = (known.kinds.get(worker), nanoseconds.parse()) {
                known.window.entry(kind.clone()).or_default().add(nanoseconds);
            }
            known.served.acknowledged(now, known.hosts.get(worker).map_or("", String::as_str));
        }
        _ => {}
    }
}

/// The lines of connections that are over: what they say does not change any more.
pub fn over(record: &str) -> String {
    let whole = record.rfind('\n').map_or("", |end| &record[..=end]);
    let worker = |line: &'_ str| line.split(' ').nth(1).map(|word| word.trim_end().to_owned());
    let ended: std::collections::BTreeSet<_> = whole.lines().filter(|line| line.starts_with("X ")).filter_map(worker).collect();
    let kept = whole.lines().filter(|line| worker(line).is_some_and(|id| ended.contains(&id)));
    kept.flat_map(|line| [line, "\n"]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_over_is_compared() {
        let record = "H 0 node1\nS 0 0 slot 0 1 x\nH 1 node1\nA 0 0 5\nS 1 0 slot 0 1 y\nS 0 1 slot 0 1 z\nX 0\nA 1 0 7\nX 1";
        assert_eq!(over(record), "H 0 node1\nS 0 0 slot 0 1 x\nA 0 0 5\nS 0 1 slot 0 1 z\nX 0\n");
    }

    #[test]
    fn turns_and_gaps() {
        let (mut known, begin) = (Known::default(), Instant::now());
        let at = |ms| begin + Duration::from_millis(ms);
        for (line, ms) in [
            ("H 0 node1", 0),
            ("S 0 0 slot 0 1 x", 0),
            ("A 0 0 5", 10),
            ("A 0 1 5", 30),
            ("H 1 node2", 900),
            ("S 1 0 append 0 1 x", 900),
            ("A 1 0 5", 930),
            ("A 1 1 5", 940),
        ] {
            note(line, at(ms), &mut known);
        }
        let served = &known.served;
        assert_eq!((served.by.as_str(), served.turns, served.gap, served.since), ("node2", 2, Duration::from_millis(900), 4));
        assert_eq!((known.window["slot"].total(), known.window["append"].total()), (2, 2));
    }
}
