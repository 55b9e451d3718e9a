//! The secondary of the measurement: receives all there is, answers with one acknowledgement.

use std::sync::Arc;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};

use fsrepl::uring::Link;
use rustix::thread::{Pid, gettid};

use crate::Outcome;

pub const ACK: usize = 64;

/// Its thread, which ends when its link is shut.
pub struct Peer {
    pub thread: Pid,
    link: Arc<dyn Link>,
    handle: Option<JoinHandle<()>>,
}

impl Peer {
    /// Acknowledges whole frames of `frame` bytes with how many there were so far.
    pub fn start(link: Arc<dyn Link>, frame: usize) -> Outcome<Self> {
        let (announce, announced) = mpsc::channel();
        let own = Arc::clone(&link);
        let handle = thread::spawn(move || {
            if announce.send(gettid()).is_ok() {
                acknowledge(&*own, frame);
            }
        });
        Ok(Self { thread: announced.recv()?, link, handle: Some(handle) })
    }
}

fn acknowledge(link: &dyn Link, frame: usize) {
    let mut buffer = vec![0; 256 * 1024];
    let mut ack = [0; ACK];
    let (mut received, mut acknowledged) = (0, 0);
    while let Ok(more @ 1..) = link.recv(&mut buffer) {
        received += more as u64;
        let frames = received / frame as u64;
        if frames > acknowledged {
            acknowledged = frames;
            ack[..8].copy_from_slice(&frames.to_le_bytes());
            if link.send_all(&ack).is_err() {
                return;
            }
        }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.link.shutdown();
        if let Some(handle) = self.handle.take() {
            let _ = handle.join();
        }
    }
}

/// Reads cumulative acknowledgements.
pub struct Acks {
    buffer: [u8; 16 * ACK],
    have: usize,
    last: u64,
}

impl Acks {
    pub fn new() -> Self {
        Self { buffer: [0; 16 * ACK], have: 0, last: 0 }
    }

    /// Receives once and returns how many frames are acknowledged.
    pub fn more(&mut self, receive: impl FnOnce(&mut [u8]) -> std::io::Result<usize>) -> Outcome<u64> {
        let received = receive(&mut self.buffer[self.have..])?;
        if received == 0 {
            return Err("the peer closed".into());
        }
        self.have += received;
        let whole = self.have / ACK * ACK;
        if let Some(start) = whole.checked_sub(ACK) {
            self.last = u64::from_le_bytes(self.buffer[start..start + 8].try_into()?);
        }
        self.buffer.copy_within(whole..self.have, 0);
        self.have -= whole;
        Ok(self.last)
    }
}
