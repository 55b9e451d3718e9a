//! Which system calls carry each end.

use std::net::TcpStream;
use std::sync::Arc;

use fsrepl::uring::{Link, PlainLink, RingLink};

use crate::Outcome;

/// Attempts before blocking: some 20 to 40 µs, several round trips of a fast network.
const SPIN: u32 = 100;

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum End {
    Plain,
    Spin,
    Ring,
    /// On a ring, sending and waiting for the answer with one system call.
    OneEnter,
}

/// The primary's end and the secondary's. The first one is what the others are compared with.
pub const TRIPS: [(End, End); 8] = [
    (End::Plain, End::Plain),
    (End::Spin, End::Plain),
    (End::Spin, End::Spin),
    (End::Ring, End::Plain),
    (End::OneEnter, End::Plain),
    (End::Plain, End::Ring),
    (End::Ring, End::Ring),
    (End::OneEnter, End::Ring),
];

pub const STREAMS: [(End, End); 4] = [(End::Plain, End::Plain), (End::Ring, End::Plain), (End::Plain, End::Ring), (End::Ring, End::Ring)];

impl End {
    pub fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Spin => "plain, spins",
            Self::Ring => "ring",
            Self::OneEnter => "ring, one enter",
        }
    }

    pub fn link(self, stream: TcpStream) -> Outcome<Arc<dyn Link>> {
        Ok(match self {
            Self::Plain => Arc::new(PlainLink::new(stream)?),
            Self::Spin => Arc::new(PlainLink::with_spin(stream, SPIN)?),
            Self::Ring | Self::OneEnter => Arc::new(ring(stream)?),
        })
    }
}

pub fn ring(stream: TcpStream) -> Outcome<RingLink> {
    Ok(RingLink::new(stream).map_err(|(_, error)| error)?)
}
