//! The bytes of one established TCP connection, behind one trait.
//!
//! Everything above sees [`Link`]; which system calls carry the bytes is decided here, in
//! [`Use::wants`], by the figures in `docs/adr/0002-uring-where-it-pays.md`. Plain calls always
//! work; a kernel or a sandbox may refuse io_uring, and then the link falls back to them and says so.
//!
//! Both directions are independent: one thread may be sending while another receives, and a
//! third may call [`Link::shutdown`], which ends both at once. That is how a peer that went
//! silent is dropped without asking the threads that wait for it.

mod plain;
#[expect(unsafe_code, reason = "the kernel borrows buffers by address")]
mod ring;
#[cfg(test)]
mod tests;

use std::io;
use std::net::TcpStream;
use std::sync::Arc;

pub use plain::PlainLink;
pub use ring::RingLink;

/// One established connection.
pub trait Link: Send + Sync {
    /// Sends all of `bytes`, or fails. After a failure an unknown part of them has been sent, so
    /// the connection is of no further use. Callers take turns: the bytes of two calls at once
    /// could be mixed.
    fn send_all(&self, bytes: &[u8]) -> io::Result<()>;

    /// Waits for bytes and returns how many were put into `into`, which must not be empty.
    /// 0 means that no more will come: the peer closed, or [`Link::shutdown`] was called.
    fn recv(&self, into: &mut [u8]) -> io::Result<usize>;

    /// Ends both directions. A blocked `recv` returns 0 or an error, a blocked `send_all` an
    /// error, and so does every later call. May be called from any thread, and again.
    fn shutdown(&self);
}

/// What a connection is for, which decides what carries it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// The primary's end of the ordered connection: an application waits for every round trip.
    OrderedPrimary,
    /// The secondary's end of the ordered connection: its delay is part of the same round trip.
    OrderedSecondary,
    /// Either end of the bulk connection.
    Bulk,
}

/// The system calls that carry a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    Plain,
    Ring,
}

impl Use {
    /// The backend that measured best for this use.
    pub fn wants(self) -> Backend {
        match self {
            Self::OrderedPrimary | Self::OrderedSecondary => Backend::Plain,
            Self::Bulk => Backend::Ring,
        }
    }
}

/// Takes over an established connection and carries it the way that is best for `usage`.
pub fn open(stream: TcpStream, usage: Use) -> io::Result<Arc<dyn Link>> {
    match usage.wants() {
        Backend::Plain => Ok(Arc::new(PlainLink::new(stream)?)),
        Backend::Ring => ring_or_plain(stream, usage, RingLink::new),
    }
}

/// The part of [`open`] that falls back, with the ring's constructor passed in so that a test
/// can refuse it.
fn ring_or_plain(
    stream: TcpStream,
    usage: Use,
    ring: impl FnOnce(TcpStream) -> Result<RingLink, (TcpStream, io::Error)>,
) -> io::Result<Arc<dyn Link>> {
    match ring(stream) {
        Ok(link) => Ok(Arc::new(link)),
        Err((stream, error)) => {
            tracing::warn!(?usage, %error, "io_uring refused; using plain send and recv");
            Ok(Arc::new(PlainLink::new(stream)?))
        }
    }
}

/// What every backend needs of its socket: blocking, and small messages sent at once instead of
/// waiting for the acknowledgement of the one before.
fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_nodelay(true)
}

/// See [`Link::shutdown`]. An error means that the socket is closed already.
fn shut(stream: &TcpStream) {
    let _ = stream.shutdown(std::net::Shutdown::Both);
}
