//! The application of a cluster's module: changes registers of the ledger as its clients ask over TCP, and answers when
//! that is done. It decides nothing and remembers nothing but the files.
//!
//! One line asks (`ORDER KIND THREAD NUMBER VERSION SYNC`), one line answers (`ok NODE`, or `no WHY`). A client says an
//! order again until it is answered, so everything may be done twice; what is older than what was done is refused.

use crate::ledger::state::{BODY, RECORD, encode, path, read_one, registers};
use crate::ledger::{Register, SLOT, Seen};
use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// The latest order of one thread of clients; held while an order is carried out.
type Latest = Arc<Mutex<u64>>;

#[derive(Default)]
struct Till {
    roots: Vec<PathBuf>,
    node: String,
    latest: Mutex<BTreeMap<usize, Latest>>,
}

/// Which of the module's directories a register is in: of several, slots in the first and all else in the last, so that most
/// orders depend on one in the other directory.
pub fn root_of(roots: &[PathBuf], register: Register) -> &Path {
    let place = if matches!(register, Register::Slot(..)) { 0 } else { roots.len() - 1 };
    &roots[place]
}

/// What every register shows, as [`crate::ledger::read_all`] does of one directory.
pub fn read_all(roots: &[PathBuf], threads: usize) -> Vec<(Register, Seen)> {
    registers(threads).into_iter().map(|register| (register, read_one(root_of(roots, register), register))).collect()
}

/// Serves until the process is ended.
pub fn serve(roots: &[&str], address: &str) {
    let node = std::env::var("UNDERSTUDY_NODE").unwrap_or_default();
    let till = Arc::new(Till { roots: roots.iter().map(PathBuf::from).collect(), node, latest: Mutex::default() });
    let listener = TcpListener::bind(address).expect("listen for clients");
    for client in listener.incoming().flatten() {
        let till = till.clone();
        std::thread::spawn(move || {
            // A client that went away is just let go.
            let _ = till.one(&client);
        });
    }
}

/// One change of a register.
#[derive(Clone, Copy, Debug)]
pub struct Order {
    /// Its place among the orders of its thread.
    pub number: u64,
    /// What is changed.
    pub register: Register,
    /// To which version.
    pub version: u64,
    /// Removed instead.
    pub removes: bool,
    /// Flushed before it is answered.
    pub sync: bool,
}

impl Order {
    /// As it travels.
    pub fn line(&self) -> String {
        let (kind, thread, number) = match self.register {
            Register::Slot(t, n) => ("slot", t, n),
            Register::Log(t) => ("log", t, 0),
            Register::Name(t, n) if self.removes => ("unlink", t, n),
            Register::Name(t, n) => ("name", t, n),
        };
        format!("{} {kind} {thread} {number} {} {}\n", self.number, self.version, u8::from(self.sync))
    }

    fn parse(line: &str) -> Option<Order> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [order, kind, thread, number, version, sync] = words[..] else { return None };
        let (t, n) = (thread.parse().ok()?, number.parse().ok()?);
        let register = match kind {
            "slot" => Register::Slot(t, n),
            "log" => Register::Log(t),
            "name" | "unlink" => Register::Name(t, n),
            _ => return None,
        };
        let removes = kind == "unlink";
        Some(Order { number: order.parse().ok()?, register, version: version.parse().ok()?, removes, sync: sync == "1" })
    }

    fn thread(&self) -> usize {
        match self.register {
            Register::Slot(t, _) | Register::Log(t) | Register::Name(t, _) => t,
        }
    }
}

impl Till {
    fn one(&self, client: &TcpStream) -> io::Result<()> {
        client.set_nodelay(true)?;
        let mut answers = client;
        for line in BufReader::new(client).lines() {
            let line = line?;
            let answer = match Order::parse(&line) {
                Some(order) => self.carry_out(&order).map_or_else(|why| format!("no {why}\n"), |()| format!("ok {}\n", self.node)),
                None => format!("no sense in {line}\n"),
            };
            answers.write_all(answer.as_bytes())?;
        }
        Ok(())
    }

    fn carry_out(&self, order: &Order) -> io::Result<()> {
        let latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner).entry(order.thread()).or_default().clone();
        let mut latest = latest.lock().unwrap_or_else(PoisonError::into_inner);
        if order.number < *latest {
            return Err(io::Error::other("older than what was done"));
        }
        *latest = order.number;
        perform(root_of(&self.roots, order.register), order)
    }
}

fn perform(root: &Path, order: &Order) -> io::Result<()> {
    let (register, version) = (order.register, order.version);
    let name = path(root, register);
    if order.removes {
        return match fs::remove_file(&name) {
            Err(why) if why.kind() != io::ErrorKind::NotFound => Err(why),
            _ => Ok(()),
        };
    }
    let (size, at) = match register {
        Register::Slot(_, slot) => (SLOT, slot * SLOT),
        Register::Log(_) => (RECORD, (version as usize - 1) * RECORD),
        Register::Name(..) => {
            let temporary = name.with_extension("tmp");
            fs::write(&temporary, encode(register, version, BODY))?;
            return fs::rename(&temporary, &name);
        }
    };
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(&name)?;
    file.write_all_at(&encode(register, version, size), at as u64)?;
    if order.sync { file.sync_data() } else { Ok(()) }
}
