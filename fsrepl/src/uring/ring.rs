//! The same connection on io_uring: one small ring for each direction.
//!
//! Two rings, because a thread that waits for its completion must not take another's, and because
//! sending must go on while a receive is blocked. The socket is a registered file of both, which
//! saves a reference count per request. Buffers are not registered: TCP copies into its own, so
//! only zero-copy sends would gain, and those measured slower than copying.
//!
//! A request borrows the caller's buffer, so no call returns before the kernel is done with it.

use std::io;
use std::net::TcpStream;
use std::os::fd::AsRawFd;

use io_uring::{IoUring, opcode, squeue, types};
use parking_lot::Mutex;

use super::{Link, prepare, shut};
use crate::limits::{RING_ENTRIES, RING_REQUEST};

/// The socket's index in each ring's table of registered files.
const SOCKET: types::Fixed = types::Fixed(0);

/// A connection on io_uring.
pub struct RingLink {
    sending: Mutex<Direction>,
    receiving: Mutex<Direction>,
    stream: TcpStream,
}

impl RingLink {
    /// Gives the connection back when the kernel refuses a ring, so that the caller can carry it
    /// some other way.
    pub fn new(stream: TcpStream) -> Result<Self, (TcpStream, io::Error)> {
        let rings = prepare(&stream).and_then(|()| Ok((Direction::new(&stream)?, Direction::new(&stream)?)));
        match rings {
            Ok((sending, receiving)) => Ok(Self { sending: Mutex::new(sending), receiving: Mutex::new(receiving), stream }),
            Err(error) => Err((stream, error)),
        }
    }

    /// Sends `bytes` and waits for an answer with one system call. Both directions are taken
    /// until the answer is here, so nobody else can send meanwhile. Not part of [`Link`], because
    /// plain calls measured faster; kept so that this can be measured again.
    pub fn send_then_recv(&self, bytes: &[u8], into: &mut [u8]) -> io::Result<usize> {
        let mut sending = self.sending.lock();
        let _receiving = self.receiving.lock();
        let requests = [send_request(bytes), recv_request(into)];
        // SAFETY: both requests point into `bytes` and `into`, borrowed until this call returns,
        // and `run` returns only when the kernel is done with them.
        let [sent, received] = unsafe { sending.run(requests, &self.stream) }?;
        let (sent, received) = (checked(sent)?, checked(received)?);
        if sent < bytes.len() {
            // Cannot be finished without reordering against the answer that was received.
            shut(&self.stream);
            return Err(io::ErrorKind::WriteZero.into());
        }
        Ok(received)
    }
}

impl Link for RingLink {
    fn send_all(&self, mut bytes: &[u8]) -> io::Result<()> {
        let mut direction = self.sending.lock();
        while !bytes.is_empty() {
            // SAFETY: the request points into `bytes`, borrowed until this call returns, and `run`
            // returns only when the kernel is done with it.
            let [sent] = unsafe { direction.run([send_request(bytes)], &self.stream) }?;
            match checked(sent) {
                Ok(sent) => bytes = &bytes[sent..],
                Err(error) if is_transient(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn recv(&self, into: &mut [u8]) -> io::Result<usize> {
        let mut direction = self.receiving.lock();
        loop {
            // SAFETY: the request points into `into`, borrowed mutably until this call returns,
            // and `run` returns only when the kernel is done with it.
            let [received] = unsafe { direction.run([recv_request(into)], &self.stream) }?;
            match checked(received) {
                Err(error) if is_transient(&error) => {}
                outcome => return outcome,
            }
        }
    }

    fn readable(&self, patience: std::time::Duration) -> io::Result<bool> {
        super::wait_readable(&self.stream, patience)
    }

    fn shutdown(&self) {
        shut(&self.stream);
    }
}

/// One ring, used by one thread at a time, with nothing in flight between calls.
struct Direction {
    ring: IoUring,
    /// A request is still queued that the kernel never took; its buffer is gone.
    unusable: bool,
}

impl Direction {
    fn new(stream: &TcpStream) -> io::Result<Self> {
        // The thread that submits also waits, so completions need no interrupt to reach it.
        let ring = IoUring::builder().setup_coop_taskrun().build(RING_ENTRIES)?;
        ring.submitter().register_files(&[stream.as_raw_fd()])?;
        Ok(Self { ring, unusable: false })
    }

    /// Submits `requests` with one system call and waits for all of them. Returns their results
    /// in the order of the requests.
    ///
    /// # Safety
    /// What the requests point to must stay valid until this function returns. It returns when the
    /// kernel has completed all of them, or has never seen them and never will.
    unsafe fn run<const N: usize>(&mut self, requests: [squeue::Entry; N], stream: &TcpStream) -> io::Result<[i32; N]> {
        if self.unusable {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        for (index, request) in requests.into_iter().enumerate() {
            // SAFETY: the caller keeps the buffers valid until we return; the registered file
            // lives as long as the ring.
            unsafe { self.ring.submission().push(&request.user_data(index as u64)) }
                .expect("the queue is empty between calls and holds RING_ENTRIES");
        }
        let mut results = [0; N];
        let mut waiting = N;
        while waiting > 0 {
            let entered = self.ring.submit_and_wait(waiting);
            for completion in self.ring.completion() {
                results[completion.user_data() as usize] = completion.result();
                waiting -= 1;
                if completion.result() < 0 && waiting > 0 {
                    // The other request may be waiting for an answer to what was not sent.
                    shut(stream);
                }
            }
            let Err(error) = entered else { continue };
            if !is_transient(&error) {
                // What is in flight completes all the same once the socket is shut.
                shut(stream);
                let unseen = self.ring.submission().len();
                if waiting > 0 && waiting == unseen {
                    self.unusable = true;
                    return Err(error);
                }
            }
            std::thread::yield_now();
        }
        Ok(results)
    }
}

/// The kernel resumes short sends by itself (`MSG_WAITALL`).
fn send_request(bytes: &[u8]) -> squeue::Entry {
    opcode::Send::new(SOCKET, bytes.as_ptr(), request_len(bytes.len())).flags(libc::MSG_NOSIGNAL | libc::MSG_WAITALL).build()
}

fn recv_request(into: &mut [u8]) -> squeue::Entry {
    opcode::Recv::new(SOCKET, into.as_mut_ptr(), request_len(into.len())).build()
}

/// Completions report lengths as `i32`, so one request must not be longer than that.
fn request_len(len: usize) -> u32 {
    len.min(RING_REQUEST) as u32
}

fn checked(result: i32) -> io::Result<usize> {
    usize::try_from(result).map_err(|_| io::Error::from_raw_os_error(-result))
}

/// Interrupted, or the kernel is short of something for a moment: try again.
fn is_transient(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EINTR | libc::EAGAIN | libc::EBUSY))
}
