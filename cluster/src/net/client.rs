//! Asking another node.

use super::line::{Line, Purpose};
use super::preface::Preface;
use super::race;
use super::secure::SecureError;
use super::{Identity, Keys, Message, limits, sockets};
use crate::NodeId;
use fsrepl::wire::HandshakeError;
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// No connection came about: the request was not sent. With the reason for each address.
    #[error("not reachable: {0}")]
    Unreachable(String),
    /// The other end does not want us: the request was not sent.
    #[error("refused: {0}")]
    Refused(String),
    /// The request was sent, at least in part, and no answer came in time. It may have been carried out.
    #[error("no answer in time; whether the request was carried out is not known")]
    Timeout,
    /// The request was sent, at least in part, and the connection ended. It may have been carried out.
    #[error("the connection ended before the answer: {0}; whether the request was carried out is not known")]
    Interrupted(String),
    /// More than a message may be.
    #[error("a request of {0} bytes is too long: at most {most}", most = limits::MESSAGE)]
    TooLong(usize),
    /// The answer is none of this protocol.
    #[error("the answer cannot be understood: {0}")]
    Malformed(String),
}

impl CallError {
    pub(super) fn interrupted(error: SecureError) -> CallError {
        match error {
            SecureError::Timeout => CallError::Timeout,
            other => CallError::Interrupted(other.to_string()),
        }
    }

    pub(super) fn unreachable(addresses: &[SocketAddr], failed: Vec<(usize, HandshakeError)>) -> CallError {
        // Who was reached and said no is worth more than who was not reached.
        let refusal = failed.iter().find_map(|(at, error)| match error {
            HandshakeError::Timeout | HandshakeError::Closed | HandshakeError::Io(_) | HandshakeError::Wire(_) => None,
            refusal => Some(format!("{}: {refusal}", addresses[*at])),
        });
        if let Some(refusal) = refusal {
            return CallError::Refused(refusal);
        }
        let told = addresses.iter().enumerate().map(|(at, address)| match failed.iter().find(|(which, _)| *which == at) {
            Some((_, HandshakeError::Io(error))) => format!("{address}: {error}"),
            Some((_, error)) => format!("{address}: {error}"),
            None => format!("{address}: no answer in time"),
        });
        CallError::Unreachable(told.collect::<Vec<_>>().join("; "))
    }
}

/// Asks one node, over all networks. Many threads may share it.
pub struct Client {
    line: Line,
}

impl Client {
    /// `peer`: who is expected at `addresses`, which are in order of networks; none for any node of the cluster.
    pub fn new(me: Identity, peer: Option<NodeId>, addresses: Vec<SocketAddr>, keys: Keys) -> Client {
        Client { line: Line::new(Purpose::Control { me, peer }, addresses, keys) }
    }

    /// Asks, and waits for the answer at most `timeout`. The request is sent once at most: see [`CallError`] for what is known afterwards.
    pub fn call(&self, request: &[u8], timeout: Duration) -> Result<Vec<u8>, CallError> {
        self.line.call(request, timeout)
    }

    /// The same in messages. That the other node could not do it is an answer as well: [`Message::Error`].
    pub fn ask(&self, message: &Message, timeout: Duration) -> Result<Message, CallError> {
        let answer = self.call(&message.encode(), timeout)?;
        Message::decode(&answer).map_err(|why| CallError::Malformed(why.to_string()))
    }

    /// Where the node is looked for.
    pub fn addresses(&self) -> &[SocketAddr] {
        self.line.addresses()
    }

    /// Closes connections that are not in use.
    pub fn hang_up(&self) {
        self.line.hang_up();
    }
}

/// A connection to the engine of `module` on the node with these addresses (in order of networks), fit for the handshake of engines.
/// That somebody answers there is found out by that handshake only.
///
/// # Errors
/// Of the last address, when none can be reached within [`limits::CONNECT_TIMEOUT`].
pub fn connect_replication(addresses: &[SocketAddr], module: &str) -> io::Result<TcpStream> {
    let preface = Preface::Replication { module: module.to_owned() };
    preface.encode()?;
    let attempt = move |address: &SocketAddr, deadline: Instant| -> io::Result<TcpStream> {
        let left = deadline.saturating_duration_since(Instant::now());
        let stream = TcpStream::connect_timeout(address, left.max(Duration::from_millis(1)))?;
        sockets::tune(&stream)?;
        Ok(stream)
    };
    let deadline = Instant::now() + limits::CONNECT_TIMEOUT;
    match race::first(addresses, limits::HEAD_START, deadline, attempt) {
        Ok((_, stream)) => {
            preface.write(&stream, limits::PREFACE_TIMEOUT)?;
            Ok(stream)
        }
        Err(mut failed) => Err(match failed.pop() {
            Some((at, error)) => io::Error::new(error.kind(), format!("{}: {error}", addresses[at])),
            None => io::Error::new(io::ErrorKind::TimedOut, "no address answered in time"),
        }),
    }
}
