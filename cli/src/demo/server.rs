//! The ledger application as a service: does on its files what clients ask for, and answers when it is done.
//!
//! It greets with `HOST RUN`, one line. A request is a line `WORKER KIND PLACE LENGTH` and the record; the answer is a line:
//! the nanoseconds that the system calls took, or `E REASON`. Each connection is one worker, with files of its own.

use super::failed;
use super::ledger::Store;
use fsrepl::node::options::Outcome;
use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Longest record of the ledger; a request for more is nonsense.
const RECORD: usize = 64 * 1024;
/// An address that was just added may not be usable at once.
const BIND: Duration = Duration::from_secs(5);

/// Serves until it is killed.
pub fn run(dir: &Path, listen: SocketAddr) -> Outcome {
    let cannot = failed("the ledger application cannot serve");
    fs::create_dir_all(dir).map_err(cannot)?;
    let host = fs::read_to_string("/proc/sys/kernel/hostname").map_err(cannot)?;
    let greeting: Arc<str> = format!("{} {}-{:?}\n", host.trim(), std::process::id(), Instant::now()).replace(": ", ":").into();
    let listener = bind(listen).map_err(cannot)?;
    loop {
        let Ok((client, _)) = listener.accept() else { continue };
        let (dir, greeting) = (dir.to_owned(), greeting.clone());
        std::thread::spawn(move || {
            // A client that is gone needs no answer.
            let _ = serve(client, dir, &greeting);
        });
    }
}

fn bind(listen: SocketAddr) -> io::Result<TcpListener> {
    let until = Instant::now() + BIND;
    loop {
        match TcpListener::bind(listen) {
            Err(_) if Instant::now() < until => std::thread::sleep(Duration::from_millis(10)),
            bound => return bound,
        }
    }
}

fn serve(client: TcpStream, dir: PathBuf, greeting: &str) -> io::Result<()> {
    client.set_nodelay(true)?;
    let mut answers = client.try_clone()?;
    answers.write_all(greeting.as_bytes())?;
    let mut requests = BufReader::new(client);
    let (mut store, mut line, mut record) = (None, String::new(), Vec::new());
    while requests.read_line(&mut line)? > 0 {
        let (worker, kind, place, length) = request(&line).ok_or(io::ErrorKind::InvalidData)?;
        record.resize(length, 0);
        requests.read_exact(&mut record)?;
        match perform(&mut store, &dir, worker, &kind, place, &record) {
            Ok(time) => answers.write_all(format!("{}\n", time.as_nanos()).as_bytes())?,
            Err(why) => {
                answers.write_all(format!("E {why}\n").as_bytes())?;
                return Err(why);
            }
        }
        line.clear();
    }
    Ok(())
}

fn perform(store: &mut Option<Store>, dir: &Path, worker: u32, kind: &str, place: u64, record: &[u8]) -> io::Result<Duration> {
    let start = Instant::now();
    let store = match store {
        Some(store) => store,
        None => store.insert(Store::open(dir, worker)?),
    };
    store.perform(kind, place, record)?;
    Ok(start.elapsed())
}

fn request(line: &str) -> Option<(u32, String, u64, usize)> {
    let mut words = line.split_whitespace();
    let request = (words.next()?.parse().ok()?, words.next()?.to_owned(), words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    (request.3 <= RECORD).then_some(request)
}
