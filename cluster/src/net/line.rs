//! The calling end: connections to one other end over several networks, kept open and shared by many threads.
//!
//! A call has a connection for itself, so a slow answer holds nobody else up and a late one meets nobody: after a time out the
//! connection is closed. A request is sent once. Whether a connection that has been silent for a while still carries is asked
//! before a request is entrusted to it, not found out with it.

use super::client::CallError;
use super::preface::Preface;
use super::race;
use super::secure::{Kind, Secure, SecureError};
use super::{Identity, Keys, limits};
use crate::NodeId;
use fsrepl::wire::{Channel, HandshakeError};
use parking_lot::Mutex;
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// What is spoken, and with whom.
#[derive(Clone, Debug)]
pub enum Purpose {
    /// Requests to a daemon.
    Control {
        /// Who asks.
        me: Identity,
        /// Who is expected to answer; none: any node of the cluster.
        peer: Option<NodeId>,
    },
    /// Votes.
    Witness,
}

/// One other end.
pub struct Line {
    purpose: Purpose,
    keys: Keys,
    addresses: Vec<SocketAddr>,
    /// The address that answered last: tried first.
    best: AtomicUsize,
    idle: Mutex<Vec<Idle>>,
    number: AtomicU64,
}

struct Idle {
    secure: Secure,
    heard: Instant,
}

impl Line {
    /// Nothing is connected before the first call.
    pub fn new(purpose: Purpose, addresses: Vec<SocketAddr>, keys: Keys) -> Line {
        Line { purpose, keys, addresses, best: AtomicUsize::new(0), idle: Mutex::default(), number: AtomicU64::new(1) }
    }

    /// Where the other end is looked for, in order of networks.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Asks, and waits for the answer.
    pub fn call(&self, request: &[u8], timeout: Duration) -> Result<Vec<u8>, CallError> {
        if request.len() > limits::MESSAGE {
            return Err(CallError::TooLong(request.len()));
        }
        let deadline = Instant::now() + timeout;
        let mut secure = match self.kept(deadline) {
            Some(secure) => secure,
            None => self.connect(deadline)?,
        };
        let number = self.number.fetch_add(1, Ordering::Relaxed);
        let answer = exchange(&mut secure, (Kind::Request, Kind::Answer), number, request, deadline)?;
        self.keep(secure);
        Ok(answer)
    }

    /// Closes what is open.
    pub fn hang_up(&self) {
        self.idle.lock().clear();
    }

    /// A connection of before that still carries.
    fn kept(&self, deadline: Instant) -> Option<Secure> {
        loop {
            let Idle { mut secure, heard } = self.idle.lock().pop()?;
            let silent = heard.elapsed();
            if silent >= limits::CLIENT_IDLE || !secure.quiet() {
                continue;
            }
            if silent < limits::TRUSTED {
                return Some(secure);
            }
            let number = self.number.fetch_add(1, Ordering::Relaxed);
            // With one network only there is nothing better to do than to wait for it, but some time must be left to connect anew.
            let patience = limits::PROBE.min(deadline.saturating_duration_since(Instant::now()) / 3);
            if exchange(&mut secure, (Kind::Ping, Kind::Pong), number, &[], Instant::now() + patience).is_ok() {
                return Some(secure);
            }
            // What does not carry here does not carry on the others either, as a rule.
            self.hang_up();
        }
    }

    fn keep(&self, secure: Secure) {
        let mut idle = self.idle.lock();
        if idle.len() >= limits::IDLE_CONNECTIONS {
            idle.remove(0);
        }
        idle.push(Idle { secure, heard: Instant::now() });
    }

    fn connect(&self, deadline: Instant) -> Result<Secure, CallError> {
        if self.addresses.is_empty() {
            return Err(CallError::Unreachable("no address is known".into()));
        }
        let best = self.best.load(Ordering::Relaxed).min(self.addresses.len() - 1);
        let mut order: Vec<usize> = (0..self.addresses.len()).collect();
        order[..=best].rotate_right(1);
        let candidates: Vec<SocketAddr> = order.iter().map(|&at| self.addresses[at]).collect();
        let (purpose, keys) = (self.purpose.clone(), self.keys.clone());
        let attempt = move |address: &SocketAddr, deadline| open(&purpose, &keys, *address, deadline);
        match race::first(&candidates, limits::HEAD_START, deadline, attempt) {
            Ok((won, secure)) => {
                self.best.store(order[won], Ordering::Relaxed);
                Ok(secure)
            }
            Err(failed) => Err(CallError::unreachable(&candidates, failed)),
        }
    }
}

/// One question on a connection; whatever goes wrong, the connection is of no use afterwards.
fn exchange(
    secure: &mut Secure,
    (ask, expected): (Kind, Kind),
    number: u64,
    bytes: &[u8],
    deadline: Instant,
) -> Result<Vec<u8>, CallError> {
    secure.send(ask, number, bytes, deadline).map_err(CallError::interrupted)?;
    let answer = secure.recv(deadline).map_err(CallError::interrupted)?;
    if (answer.kind, answer.number) == (expected, number) {
        Ok(answer.bytes)
    } else {
        Err(CallError::interrupted(SecureError::Malformed("an answer to another question")))
    }
}

fn open(purpose: &Purpose, keys: &Keys, address: SocketAddr, deadline: Instant) -> Result<Secure, HandshakeError> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Err(HandshakeError::Timeout);
    }
    let stream = TcpStream::connect_timeout(&address, left)?;
    let deadline = deadline.min(Instant::now() + limits::HANDSHAKE_TIMEOUT);
    match purpose {
        Purpose::Witness => Ok(Secure::connect(stream, &keys.auth(), Channel::Witness, &[], deadline)?.0),
        Purpose::Control { me, peer } => {
            Preface::Control.write(&stream, limits::PREFACE_TIMEOUT)?;
            let (secure, hello) = Secure::connect(stream, &keys.auth(), Channel::Control, &me.encode(), deadline)?;
            let other = Identity::decode(&hello).ok_or(HandshakeError::Malformed("its hello cannot be read"))?;
            if let Some(objection) = me.objection(&other) {
                return Err(HandshakeError::Refusing(objection));
            }
            match peer {
                Some(peer) if other.node != Some(*peer) => Err(HandshakeError::Refusing(format!(
                    "{address} is answered by node {}, and cluster.toml gives this address to another one",
                    other.name
                ))),
                _ => Ok(secure),
            }
        }
    }
}
