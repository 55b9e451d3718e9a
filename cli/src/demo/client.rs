//! A client of the ledger application: it knows the virtual address and nothing else.
//!
//! It says what `ledger.rs` says, and `H WORKER HOST` when a connection serves, `X WORKER` when it is over. A worker is
//! one connection: after a loss the next one writes files of its own, so that what was acknowledged before can be
//! compared while work goes on. Ends when its input does.

use super::failed;
use super::ledger::{announce, plan};
use fsrepl::node::options::Outcome;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::time::Duration;

/// Longest that one attempt to connect takes.
const CONNECT: Duration = Duration::from_millis(100);
/// Silence after which a client looks whether somebody else serves.
const SILENCE: Duration = Duration::from_millis(100);
/// Between two attempts.
const PAUSE: Duration = Duration::from_millis(5);

/// Set when the demo has closed this process' input.
pub fn until_told() -> Arc<AtomicBool> {
    let told = Arc::new(AtomicBool::new(false));
    let flag = told.clone();
    std::thread::spawn(move || {
        let _ = io::stdin().read_to_end(&mut Vec::new());
        flag.store(true, Relaxed);
    });
    told
}

/// Whole lines in one write.
pub fn say(line: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(line.as_bytes())?;
    out.flush()
}

/// Works until it is told to end.
pub fn run(to: SocketAddr, workers: u32) -> Outcome {
    let (told, next) = (until_told(), AtomicU32::new(0));
    let work = || -> io::Result<()> {
        let mut server = None;
        while !told.load(Relaxed) {
            match server.take().or_else(|| Server::find(to)) {
                Some(found) => server = session(found, to, next.fetch_add(1, Relaxed), &told)?,
                None => std::thread::sleep(PAUSE),
            }
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let running: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        running.into_iter().try_for_each(|thread| thread.join().unwrap_or_else(|_| Err(io::ErrorKind::Other.into())))
    })
    .map_err(failed("the ledger's client ended"))
}

/// A connection to whoever serves.
struct Server {
    host: String,
    run: String,
    answers: BufReader<TcpStream>,
}

impl Server {
    fn find(to: SocketAddr) -> Option<Server> {
        let stream = TcpStream::connect_timeout(&to, CONNECT).ok()?;
        stream.set_nodelay(true).ok()?;
        stream.set_read_timeout(Some(SILENCE)).ok()?;
        let (mut answers, mut greeting) = (BufReader::new(stream), String::new());
        answers.read_line(&mut greeting).ok()?;
        let (host, run) = greeting.trim_end().split_once(' ')?;
        Some(Server { host: host.to_owned(), run: run.to_owned(), answers })
    }

    /// The answer; none when the connection is over. When somebody else serves meanwhile, it is `successor`.
    fn answer(&mut self, to: SocketAddr, successor: &mut Option<Server>) -> Option<u64> {
        let mut answer = Vec::new();
        loop {
            match self.answers.read_until(b'\n', &mut answer) {
                Ok(_) if answer.ends_with(b"\n") => return std::str::from_utf8(&answer).ok()?.trim().parse().ok(),
                Ok(_) => return None,
                Err(why) if matches!(why.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                    *successor = Server::find(to).filter(|other| other.run != self.run);
                    if successor.is_some() {
                        return None;
                    }
                }
                Err(_) => return None,
            }
        }
    }
}

/// One connection to its end; who serves next, if that is known.
fn session(mut server: Server, to: SocketAddr, id: u32, told: &AtomicBool) -> io::Result<Option<Server>> {
    say(&format!("H {id} {}\n", server.host))?;
    let (mut n, mut log_end, mut successor) = (0, 0, None);
    while !told.load(Relaxed) {
        let operation = plan(id, n, &mut log_end);
        say(&format!("{}\n", announce(id, n, &operation)))?;
        let mut request = format!("{id} {} {} {}\n", operation.kind, operation.place, operation.record.len()).into_bytes();
        request.extend_from_slice(&operation.record);
        let answer = match server.answers.get_mut().write_all(&request) {
            Ok(()) => server.answer(to, &mut successor),
            Err(_) => None,
        };
        let Some(nanoseconds) = answer else { break };
        say(&format!("A {id} {n} {nanoseconds}\n"))?;
        n += 1;
    }
    if n == 0 {
        // It answers, and cannot work.
        std::thread::sleep(SILENCE);
    }
    say(&format!("X {id}\n"))?;
    Ok(successor)
}
