//! Plain `send` and `recv`: the fewest instructions between a write and the wire.

use std::io;
use std::net::TcpStream;

use rustix::io::Errno;
use rustix::net::{self, RecvFlags, SendFlags};

use super::{Link, prepare, shut};

/// A connection on plain system calls.
#[derive(Debug)]
pub struct PlainLink {
    stream: TcpStream,
    /// Attempts that do not block, before the one that does.
    spin: u32,
}

impl PlainLink {
    pub fn new(stream: TcpStream) -> io::Result<Self> {
        Self::with_spin(stream, 0)
    }

    /// Tries `spin` times to receive without blocking before it blocks: saves the wake-up when
    /// the answer is near, and costs a CPU when it is not. [`super::open`] does not use it: where
    /// CPUs are short, spinning takes the time of the thread it waits for.
    pub fn with_spin(stream: TcpStream, spin: u32) -> io::Result<Self> {
        prepare(&stream)?;
        Ok(Self { stream, spin })
    }

    fn recv_spinning(&self, into: &mut [u8]) -> Option<io::Result<usize>> {
        for _ in 0..self.spin {
            match net::recv(&self.stream, &mut *into, RecvFlags::DONTWAIT) {
                Err(Errno::AGAIN | Errno::INTR) => std::hint::spin_loop(),
                Ok((_, received)) => return Some(Ok(received)),
                Err(error) => return Some(Err(error.into())),
            }
        }
        None
    }
}

impl Link for PlainLink {
    fn send_all(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match net::send(&self.stream, bytes, SendFlags::NOSIGNAL) {
                Ok(sent) => bytes = &bytes[sent..],
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn recv(&self, into: &mut [u8]) -> io::Result<usize> {
        if let Some(outcome) = self.recv_spinning(into) {
            return outcome;
        }
        loop {
            match net::recv(&self.stream, &mut *into, RecvFlags::empty()) {
                Ok((_, received)) => return Ok(received),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn shutdown(&self) {
        shut(&self.stream);
    }
}
