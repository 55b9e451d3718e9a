//! The outside of the ledger application: keeps what it says, measures, and knows nothing of the mount.

use super::failed;
use super::latency::Histogram;
use fsrepl::report::Failure;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

/// Latencies by kind of operation.
pub type Latencies = BTreeMap<String, Histogram>;

/// Reads a ledger application's output until that ends, and keeps it in a file.
pub struct Recorder {
    window: Arc<Mutex<Latencies>>,
    reader: Option<JoinHandle<io::Result<()>>>,
    total: Latencies,
}

impl Recorder {
    pub fn start(from: impl Read + Send + 'static, keep: &Path) -> Result<Recorder, Failure> {
        let file = File::create(keep).map_err(failed("cannot record acknowledgements"))?;
        let window = Arc::new(Mutex::new(Latencies::new()));
        let shared = Arc::clone(&window);
        let reader = std::thread::spawn(move || record(BufReader::new(from), BufWriter::new(file), &shared));
        Ok(Recorder { window, reader: Some(reader), total: Latencies::new() })
    }

    /// What was acknowledged since the last call.
    pub fn window(&mut self) -> Latencies {
        let window = std::mem::take(&mut *self.window.lock().unwrap_or_else(PoisonError::into_inner));
        for (kind, latencies) in &window {
            self.total.entry(kind.clone()).or_default().merge(latencies);
        }
        window
    }

    /// Acknowledged up to the last `window`.
    pub fn count(&self) -> u64 {
        self.total.values().map(Histogram::total).sum()
    }

    /// Waits for the application's end; all its latencies.
    pub fn finish(mut self) -> Result<Latencies, Failure> {
        let ended = self.reader.take().map_or(Ok(()), |reader| reader.join().unwrap_or_else(|_| Err(io::ErrorKind::Other.into())));
        ended.map_err(failed("cannot record acknowledgements"))?;
        self.window();
        Ok(self.total)
    }
}

fn record(mut from: impl BufRead, mut keep: impl Write, window: &Mutex<Latencies>) -> io::Result<()> {
    let mut kinds: BTreeMap<String, String> = BTreeMap::new();
    let mut line = String::new();
    while from.read_line(&mut line)? > 0 {
        // A line that was cut short was not said.
        if line.ends_with('\n') {
            keep.write_all(line.as_bytes())?;
            measure(&line, &mut kinds, window);
        }
        line.clear();
    }
    keep.flush()
}

fn measure(line: &str, kinds: &mut BTreeMap<String, String>, window: &Mutex<Latencies>) {
    let words: Vec<&str> = line.split_whitespace().collect();
    match words[..] {
        ["S", worker, _, kind, ..] => match kinds.get_mut(worker) {
            Some(known) => kind.clone_into(known),
            None => drop(kinds.insert(worker.into(), kind.into())),
        },
        ["A", worker, _, nanoseconds] => {
            if let (Some(kind), Ok(nanoseconds)) = (kinds.get(worker), nanoseconds.parse()) {
                let mut window = window.lock().unwrap_or_else(PoisonError::into_inner);
                match window.get_mut(kind) {
                    Some(latencies) => latencies.add(nanoseconds),
                    None => window.entry(kind.clone()).or_default().add(nanoseconds),
                }
            }
        }
        _ => {}
    }
}
