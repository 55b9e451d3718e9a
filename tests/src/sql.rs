//! Clients of a database that note which of their transactions were acknowledged.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// The table the clients fill.
pub const TABLE: &str = "CREATE TABLE ledger (client INT, n INT, filler VARCHAR(200), PRIMARY KEY (client, n));";
/// Prints, for every client, how many rows it has and the highest number.
pub const COUNT: &str = "SELECT client, COUNT(*), MAX(n) FROM ledger GROUP BY client ORDER BY client;";

/// Clients at work.
pub struct Clients {
    threads: Vec<JoinHandle<u32>>,
    acknowledged: Arc<(Mutex<u32>, Condvar)>,
    stop: Arc<AtomicBool>,
}

impl Clients {
    /// Starts `count` clients; `shell` makes an SQL shell that reads statements from standard
    /// input and ends at the first error, and `echo` the statement that prints its argument.
    pub fn start(count: u32, shell: impl Fn() -> Command, echo: fn(u32) -> String) -> Clients {
        let acknowledged: Arc<(Mutex<u32>, Condvar)> = Arc::default();
        let stop = Arc::new(AtomicBool::new(false));
        let start = |client| {
            let (command, acknowledged, stop) = (shell(), acknowledged.clone(), stop.clone());
            std::thread::spawn(move || work(client, command, echo, &acknowledged, &stop))
        };
        Clients { threads: (0..count).map(start).collect(), acknowledged, stop }
    }

    /// Waits until `n` transactions are acknowledged in all.
    pub fn wait_acknowledged(&self, n: u32, limit: Duration) {
        let (lock, changed) = &*self.acknowledged;
        let end = Instant::now() + limit;
        let mut count = lock.lock().expect("no panic under this lock");
        while *count < n {
            let left = end.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "only {count} of {n} transactions were acknowledged within {limit:?}");
            count = changed.wait_timeout(count, left).expect("no panic under this lock").0;
        }
    }

    /// The acknowledged transactions of each client, once the database is gone.
    pub fn after_crash(self) -> Vec<u32> {
        self.stop.store(true, Ordering::Relaxed);
        self.after_loss()
    }

    /// The same; they work on until the database has gone.
    pub fn after_loss(self) -> Vec<u32> {
        self.threads.into_iter().map(|thread| thread.join().expect("a client does not panic")).collect()
    }
}

/// Inserts rows 1, 2, 3 ... and gives the last that was acknowledged.
fn work(client: u32, mut shell: Command, echo: fn(u32) -> String, count: &(Mutex<u32>, Condvar), stop: &AtomicBool) -> u32 {
    let mut child = shell.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("run a client");
    let mut statements = child.stdin.take().expect("stdin is piped");
    let mut answers = BufReader::new(child.stdout.take().expect("stdout is piped"));
    let mut last = 0;
    while !stop.load(Ordering::Relaxed) {
        let n = last + 1;
        let filler = "x".repeat(n as usize % 200);
        let asked = writeln!(statements, "INSERT INTO ledger VALUES ({client}, {n}, '{filler}');\n{}", echo(n));
        let mut answer = String::new();
        let answered = asked.and_then(|()| statements.flush()).and_then(|()| answers.read_line(&mut answer));
        if answered.is_err() || answer.trim() != n.to_string() {
            break;
        }
        last = n;
        *count.0.lock().expect("no panic under this lock") += 1;
        count.1.notify_all();
    }
    drop(statements);
    let _ = child.wait();
    last
}

/// Every acknowledged row is there, and none is missing before the last one.
pub fn must_hold(table: &str, acknowledged: &[u32]) {
    let rows: Vec<Vec<u32>> =
        table.lines().map(|line| line.split(['|', '\t']).map(|word| word.trim().parse().expect("a number")).collect()).collect();
    for (client, &wanted) in acknowledged.iter().enumerate() {
        let row = rows.iter().find(|row| row[0] as usize == client);
        let (count, highest) = row.map_or((0, 0), |row| (row[1], row[2]));
        assert_eq!(count, highest, "client {client}: rows are missing in between");
        assert!(highest >= wanted, "client {client}: {wanted} acknowledged, {highest} found");
    }
    eprintln!("acknowledged {acknowledged:?}, lost 0");
}
