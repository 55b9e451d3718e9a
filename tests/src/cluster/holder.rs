//! Judges who has the virtual address: looks at the kernels of both hosts again and again. It shares no code with the
//! product, and asks nobody but the kernel.

use std::fs;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Between looks.
const LOOK: Duration = Duration::from_millis(2);

struct Shared {
    address: Ipv4Addr,
    /// First processes of the hosts that count; none: off, or excused.
    hosts: Mutex<[Option<i32>; 2]>,
    stop: AtomicBool,
    found: Mutex<Found>,
}

/// What was seen.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// Looks that were taken.
    pub looks: u64,
    /// Both had it at one moment: when, since the start.
    pub both: Vec<Duration>,
}

/// The running judge.
pub struct Watch {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

/// The host with this first process has the address.
pub fn has(first_process: i32, address: Ipv4Addr) -> bool {
    let Ok(table) = fs::read_to_string(format!("/proc/{first_process}/net/fib_trie")) else { return false };
    let name = format!("|-- {address}");
    let mut lines = table.lines();
    while let Some(line) = lines.next() {
        if line.trim_end().ends_with(&name) && lines.next().is_some_and(|next| next.contains("host LOCAL")) {
            return true;
        }
    }
    false
}

impl Watch {
    /// Begins to look.
    pub fn start(address: Ipv4Addr, hosts: [i32; 2]) -> Watch {
        let shared =
            Arc::new(Shared { address, hosts: Mutex::new(hosts.map(Some)), stop: AtomicBool::new(false), found: Mutex::default() });
        let looking = shared.clone();
        let thread = std::thread::spawn(move || look(&looking));
        Watch { shared, thread: Some(thread) }
    }

    /// Host `which` is off, or cannot do anything about its address: it does not count until it is `back`.
    pub fn excuse(&self, which: usize) {
        self.shared.hosts.lock().expect("no panic under this lock")[which] = None;
    }

    /// Host `which` counts, with this first process.
    pub fn back(&self, which: usize, first_process: i32) {
        self.shared.hosts.lock().expect("no panic under this lock")[which] = Some(first_process);
    }

    /// Looks so far.
    pub fn looks(&self) -> u64 {
        self.shared.found.lock().expect("no panic under this lock").looks
    }

    /// Both had it at some moment.
    pub fn has_found(&self) -> bool {
        !self.shared.found.lock().expect("no panic under this lock").both.is_empty()
    }

    /// Ends looking.
    pub fn stop(mut self) -> Found {
        self.end();
        self.shared.found.lock().expect("no panic under this lock").clone()
    }

    fn end(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.end();
    }
}

impl Found {
    /// Fails the test if the address was on both hosts at one moment.
    pub fn must_be_one(&self) {
        assert!(
            self.both.is_empty(),
            "the virtual address was on both hosts {} times in {} looks, first {:?}",
            self.both.len(),
            self.looks,
            self.both[0]
        );
        assert!(self.looks > 0, "nobody looked");
    }
}

fn look(shared: &Shared) {
    let start = Instant::now();
    while !shared.stop.load(Ordering::SeqCst) {
        let hosts = shared.hosts.lock().expect("no panic under this lock");
        if let [Some(a), Some(b)] = *hosts {
            // Before and after the other had it: so it had it at that moment too.
            let both = has(a, shared.address) && has(b, shared.address) && has(a, shared.address);
            let mut found = shared.found.lock().expect("no panic under this lock");
            found.looks += 1;
            if both {
                found.both.push(start.elapsed());
            }
        }
        drop(hosts);
        std::thread::sleep(LOOK);
    }
}
