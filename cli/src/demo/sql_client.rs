//! Clients of a database: the product's command line, kept open, one transaction after the other.
//!
//! They say what `client.rs` says, with the kind `transaction`.

use super::client::{say, until_told};
use super::failed;
use super::sql::Product;
use fsrepl::node::options::Outcome;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, ChildStdin, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// Longest that one attempt to reach the port takes.
const CONNECT: Duration = Duration::from_millis(100);
/// A server that says nothing for so long is given up, and looked for again.
const SILENCE: Duration = Duration::from_secs(1);
/// For the first answer: a server may have just started.
const GREETING: Duration = Duration::from_secs(2);
/// Between two attempts.
const PAUSE: Duration = Duration::from_millis(20);

/// Works until it is told to end.
pub fn run(product: Product, to: SocketAddr, workers: u32) -> Outcome {
    let (told, next) = (until_told(), AtomicU32::new(0));
    let work = || -> io::Result<()> {
        while !told.load(Relaxed) {
            if TcpStream::connect_timeout(&to, CONNECT).is_err() {
                std::thread::sleep(PAUSE);
                continue;
            }
            if let Some(session) = Session::open(product)? {
                session.work(product, next.fetch_add(1, Relaxed), &told)?;
            }
            std::thread::sleep(PAUSE);
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let running: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        running.into_iter().try_for_each(|thread| thread.join().unwrap_or_else(|_| Err(io::ErrorKind::Other.into())))
    })
    .map_err(failed("the database's client ended"))
}

/// One command line that is connected.
struct Session {
    child: Child,
    statements: ChildStdin,
    answers: Receiver<String>,
    host: String,
}

impl Session {
    fn open(product: Product) -> io::Result<Option<Session>> {
        let mut child = product.client(None).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let (Some(statements), Some(out)) = (child.stdin.take(), child.stdout.take()) else { return Ok(None) };
        let (sender, answers) = channel();
        std::thread::spawn(move || BufReader::new(out).lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        let mut session = Session { child, statements, answers, host: String::new() };
        let greeting = session.ask(product.who(), "host ", GREETING);
        Ok(greeting.map(|host| {
            session.host = host;
            session
        }))
    }

    /// The rest of the answer's line that begins with `begin`.
    fn ask(&mut self, statement: &str, begin: &str, patience: Duration) -> Option<String> {
        self.statements.write_all(statement.as_bytes()).ok()?;
        let until = Instant::now() + patience;
        loop {
            let line = self.answers.recv_timeout(until.saturating_duration_since(Instant::now())).ok()?;
            if let Some(rest) = line.strip_prefix(begin) {
                return Some(rest.trim().to_owned());
            }
        }
    }

    fn work(mut self, product: Product, id: u32, told: &AtomicBool) -> io::Result<()> {
        say(&format!("H {id} {}\n", self.host))?;
        let mut n = 0;
        while !told.load(Relaxed) {
            say(&format!("S {id} {n} transaction 0 0 {:032}\n", 0))?;
            let start = Instant::now();
            if self.ask(&product.transaction(id, n), &format!("done {n}"), SILENCE).is_none() {
                break;
            }
            say(&format!("A {id} {n} {}\n", start.elapsed().as_nanos()))?;
            n += 1;
        }
        say(&format!("X {id}\n"))
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
