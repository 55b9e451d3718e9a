//! From what a socket delivers to opened frames.
//!
//! One `fill` takes as much as the socket has, `next` then yields every complete frame of it, so
//! that a burst costs one system call. Frames are opened where they were received. The buffer
//! grows only to what an announced and possible frame needs.

use super::error::WireError;
use super::seal::{Frame, LENGTH, Opener};
use crate::limits;
use std::io::{self, Read};
use std::net::TcpStream;
use std::sync::Arc;

/// Where bytes come from; shared, because the sending side uses the same socket.
pub trait Recv {
    /// As `recv(2)`: 0 is the end of the stream.
    fn recv(&self, buf: &mut [u8]) -> io::Result<usize>;
}

impl Recv for TcpStream {
    fn recv(&self, buf: &mut [u8]) -> io::Result<usize> {
        (&*self).read(buf)
    }
}

impl<T: Recv + ?Sized> Recv for &T {
    fn recv(&self, buf: &mut [u8]) -> io::Result<usize> {
        (**self).recv(buf)
    }
}

impl<T: Recv + ?Sized> Recv for Arc<T> {
    fn recv(&self, buf: &mut [u8]) -> io::Result<usize> {
        (**self).recv(buf)
    }
}

/// Less room than this behind a partial frame, and it is moved to the front first.
const ROOM: usize = 64 * 1024;

/// Receives, finds and opens frames.
pub struct FrameReader<R> {
    source: R,
    opener: Opener,
    /// Bytes `start..end` are received and not yet given out.
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    failed: bool,
}

impl<R: Recv> FrameReader<R> {
    /// Reads `source` from its next byte on; `opener` must be at the same place.
    pub fn new(source: R, opener: Opener) -> Self {
        FrameReader::with_buffer(source, opener, limits::RECEIVE_BUFFER)
    }

    /// The same with a buffer of so many bytes, which grows when a frame needs it: for connections that say little.
    pub fn with_buffer(source: R, opener: Opener, bytes: usize) -> Self {
        FrameReader { source, opener, buffer: vec![0; bytes], start: 0, end: 0, failed: false }
    }

    /// What is read from.
    pub fn source(&self) -> &R {
        &self.source
    }

    /// One receive of whatever is there. Ok(0): nothing was read because the buffer is full of
    /// frames that `next` has to give out first. The end of the stream is an error. After a
    /// timeout (`WireError::is_timeout`) the reader is as before, after other errors it refuses.
    pub fn fill(&mut self) -> Result<usize, WireError> {
        if self.failed {
            return Err(WireError::Failed);
        }
        let result = self.make_room().and_then(|room| if room { self.receive() } else { Ok(0) });
        self.failed = result.as_ref().is_err_and(|e| !e.is_timeout());
        result
    }

    /// The next complete frame among the received bytes; `None`: `fill` first.
    #[expect(clippy::should_implement_trait, reason = "the frame borrows the reader, which Iterator cannot say")]
    pub fn next(&mut self) -> Result<Option<Frame<'_>>, WireError> {
        if self.failed {
            return Err(WireError::Failed);
        }
        let (field, length) = match self.announced() {
            Ok(Some(announced)) if self.end - self.start >= LENGTH + announced.1 => announced,
            Ok(_) => return Ok(None),
            Err(error) => {
                self.failed = true;
                return Err(error);
            }
        };
        let at = self.start + LENGTH;
        self.start = at + length;
        let frame = self.opener.open(field, &mut self.buffer[at..at + length]);
        self.failed = frame.is_err();
        frame.map(Some)
    }

    /// True when `next` has something to say without another `fill`.
    pub fn has_frame(&self) -> bool {
        self.failed || self.announced().map_or(true, |a| a.is_some_and(|(_, l)| self.end - self.start >= LENGTH + l))
    }

    /// The length field of the frame at the front, if it is there.
    fn announced(&self) -> Result<Option<([u8; LENGTH], usize)>, WireError> {
        match self.buffer[self.start..self.end].first_chunk::<LENGTH>() {
            None => Ok(None),
            Some(field) => Ok(Some((*field, Opener::length(*field)?))),
        }
    }

    /// Room for the rest of the frame at the front. False: that frame is complete and the buffer full.
    fn make_room(&mut self) -> Result<bool, WireError> {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
            return Ok(true);
        }
        let need = LENGTH + self.announced()?.map_or(0, |(_, length)| length);
        let have = self.end - self.start;
        if self.buffer.len() - self.end < need.saturating_sub(have).max(ROOM) && self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, have);
        }
        if self.start + need > self.buffer.len() {
            self.buffer.resize((need * 2).min(limits::RECEIVE_BUFFER_MAX), 0);
        }
        Ok(self.end < self.buffer.len())
    }

    fn receive(&mut self) -> Result<usize, WireError> {
        loop {
            match self.source.recv(&mut self.buffer[self.end..]) {
                Ok(0) if self.start == self.end => return Err(WireError::Closed),
                Ok(0) => return Err(WireError::Truncated),
                Ok(n) => {
                    self.end += n;
                    return Ok(n);
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(WireError::Io(e)),
            }
        }
    }

    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.buffer.len()
    }
}
