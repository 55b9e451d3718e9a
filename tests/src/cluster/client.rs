//! Clients of the till: each thread gives orders to one address, says each again until it is answered, and notes when it
//! was issued and when it was acknowledged. What they note is judged by the checks of the ledger.

use super::till::Order;
use crate::ledger::{NAMES, Notes, Op, Register, SLOTS};
use crate::rng::Rng;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// For an answer; then the order is given again, over another connection.
pub const ANSWER: Duration = Duration::from_millis(400);
/// Before an order is given again.
const PAUSE: Duration = Duration::from_millis(10);
/// One order in so many is flushed.
const SYNC: u64 = 16;

/// What was acknowledged, by whom, when.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Orders acknowledged.
    pub acknowledged: u64,
    /// By node.
    pub by: BTreeMap<String, u64>,
    /// When each node acknowledged last.
    pub last: BTreeMap<String, Instant>,
    /// When each node acknowledged first since the last [`Clients::mark`].
    pub first: BTreeMap<String, Instant>,
    /// The longest time without an acknowledgement since the last [`Clients::mark`], and when it began.
    pub gap: Duration,
    latest: Option<Instant>,
}

struct Shared {
    namespace: String,
    address: SocketAddr,
    patience: Duration,
    moment: AtomicU64,
    stop: AtomicBool,
    notes: Mutex<Notes>,
    tally: (Mutex<Tally>, Condvar),
}

/// Running clients.
pub struct Clients {
    /// Their number.
    pub threads: usize,
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
}

impl Clients {
    /// Starts `threads` threads in the network of the host with this first process.
    pub fn start(first_process: i32, address: SocketAddr, threads: usize, seed: u64) -> Clients {
        Clients::numbered(first_process, address, 0, threads, seed)
    }

    /// The same with threads that are numbered from `from` on: of two runs, each has its own registers.
    pub fn numbered(first_process: i32, address: SocketAddr, from: usize, threads: usize, seed: u64) -> Clients {
        Clients::patient(first_process, address, ANSWER, from, threads, seed)
    }

    /// The same, who wait so long for a connection, and for an answer, before they try again.
    pub fn patient(first_process: i32, address: SocketAddr, patience: Duration, from: usize, threads: usize, seed: u64) -> Clients {
        let shared = Arc::new(Shared {
            namespace: format!("/proc/{first_process}/ns/net"),
            address,
            patience,
            moment: AtomicU64::new(1),
            stop: AtomicBool::new(false),
            notes: Mutex::default(),
            tally: Default::default(),
        });
        let spawn = |t: usize| {
            let worker = Worker { t, shared: shared.clone(), rng: Rng::new(seed ^ (t as u64) << 32), connection: None, number: 0 };
            std::thread::spawn(move || worker.work())
        };
        Clients { threads: from + threads, workers: (from..from + threads).map(spawn).collect(), shared }
    }

    /// What was acknowledged so far.
    pub fn tally(&self) -> Tally {
        self.shared.tally.0.lock().expect("no panic under this lock").clone()
    }

    /// Begins to measure the longest time without an acknowledgement, and who acknowledges first, anew.
    pub fn mark(&self) {
        let mut tally = self.shared.tally.0.lock().expect("no panic under this lock");
        tally.gap = Duration::ZERO;
        tally.first.clear();
        tally.latest = None;
    }

    /// Waits for `n` more acknowledgements than there were when this was called.
    pub fn wait_more(&self, n: u64, limit: Duration) {
        let wanted = self.tally().acknowledged + n;
        self.wait(limit, &format!("{n} more acknowledgements"), |tally| tally.acknowledged >= wanted);
    }

    /// Waits for `n` more acknowledgements by `node`.
    pub fn wait_by(&self, node: &str, n: u64, limit: Duration) {
        let of = |tally: &Tally| tally.by.get(node).copied().unwrap_or_default();
        let wanted = of(&self.tally()) + n;
        self.wait(limit, &format!("{n} more acknowledgements by {node}"), |tally| of(tally) >= wanted);
    }

    fn wait(&self, limit: Duration, what: &str, enough: impl Fn(&Tally) -> bool) {
        let (lock, changed) = &self.shared.tally;
        let end = Instant::now() + limit;
        let mut tally = lock.lock().expect("no panic under this lock");
        while !enough(&tally) {
            let left = end.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "no {what} within {limit:?}: {tally:?}");
            tally = changed.wait_timeout(tally, left).expect("no panic under this lock").0;
        }
    }

    /// Ends all threads; gives what they noted. An order without an answer stays unacknowledged.
    pub fn stop(self) -> Notes {
        self.shared.stop.store(true, Ordering::SeqCst);
        for worker in self.workers {
            worker.join().expect("a client does not panic");
        }
        std::mem::take(&mut *self.shared.notes.lock().expect("no panic under this lock"))
    }
}

struct Worker {
    t: usize,
    shared: Arc<Shared>,
    rng: Rng,
    connection: Option<BufReader<TcpStream>>,
    number: u64,
}

impl Worker {
    fn work(mut self) {
        enter(&self.shared.namespace).expect("enter the clients' network");
        while !self.shared.stop.load(Ordering::SeqCst) {
            let order = self.choose();
            while let Err(_why) = self.give(&order) {
                self.connection = None;
                if self.shared.stop.load(Ordering::SeqCst) {
                    return;
                }
                std::thread::sleep(PAUSE);
            }
        }
    }

    fn choose(&mut self) -> Order {
        let (register, removes) = match self.rng.below(8) {
            0..=3 => (Register::Slot(self.t, self.rng.below(SLOTS as u64) as usize), false),
            4 | 5 => (Register::Log(self.t), false),
            _ => (Register::Name(self.t, self.rng.below(NAMES as u64) as usize), self.rng.one_in(4)),
        };
        let sync = self.rng.one_in(SYNC);
        self.number += 1;
        let mut notes = self.shared.notes.lock().expect("no panic under this lock");
        let ops = notes.entry(register).or_default();
        let issued = self.shared.moment.fetch_add(1, Ordering::SeqCst);
        ops.push(Op { issued, acknowledged: u64::MAX, removes });
        Order { number: self.number, register, version: ops.len() as u64, removes, sync }
    }

    /// Gives it once; notes the acknowledgement.
    fn give(&mut self, order: &Order) -> io::Result<()> {
        if self.connection.is_none() {
            self.connection = Some(connect(self.shared.address, self.shared.patience)?);
        }
        let connection = self.connection.as_mut().expect("made above");
        let node = ask(connection, order)?;
        let acknowledged = self.shared.moment.fetch_add(1, Ordering::SeqCst);
        let mut notes = self.shared.notes.lock().expect("no panic under this lock");
        notes.get_mut(&order.register).expect("noted when it was chosen")[order.version as usize - 1].acknowledged = acknowledged;
        drop(notes);
        let (lock, changed) = &self.shared.tally;
        let (mut tally, now) = (lock.lock().expect("no panic under this lock"), Instant::now());
        tally.acknowledged += 1;
        *tally.by.entry(node.clone()).or_default() += 1;
        tally.first.entry(node.clone()).or_insert(now);
        tally.last.insert(node, now);
        let since = tally.latest.replace(now).map_or(Duration::ZERO, |latest| now - latest);
        tally.gap = tally.gap.max(since);
        changed.notify_all();
        Ok(())
    }
}

/// This thread is in that network from now on.
pub fn enter(namespace: &str) -> io::Result<()> {
    let file = File::open(namespace)?;
    Ok(move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))?)
}

fn connect(address: SocketAddr, patience: Duration) -> io::Result<BufReader<TcpStream>> {
    let stream = TcpStream::connect_timeout(&address, patience)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(patience))?;
    Ok(BufReader::new(stream))
}

/// The node that acknowledged.
fn ask(connection: &mut BufReader<TcpStream>, order: &Order) -> io::Result<String> {
    connection.get_mut().write_all(order.line().as_bytes())?;
    let mut answer = String::new();
    connection.read_line(&mut answer)?;
    match answer.trim_end().split_once(' ') {
        Some(("ok", node)) if answer.ends_with('\n') => Ok(node.to_owned()),
        _ => Err(io::Error::other(answer)),
    }
}

/// One order, given once from the network of the host with this first process: the node that acknowledged it.
pub fn once(first_process: i32, address: SocketAddr, order: Order) -> io::Result<String> {
    let namespace = format!("/proc/{first_process}/ns/net");
    let asking = std::thread::spawn(move || {
        enter(&namespace)?;
        ask(&mut connect(address, ANSWER)?, &order)
    });
    asking.join().expect("asking does not panic")
}
