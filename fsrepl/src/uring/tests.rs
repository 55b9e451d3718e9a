//! Every promise of [`Link`], for every backend, on loopback.

#![allow(clippy::unwrap_used, reason = "a test that fails here says where")]

use std::io::ErrorKind;
use std::net::TcpListener;
use std::sync::mpsc;
use std::thread;

use super::*;

type Make = fn(TcpStream) -> Arc<dyn Link>;

const BACKENDS: [(&str, Make); 3] = [
    ("plain", |stream| Arc::new(PlainLink::new(stream).unwrap())),
    ("spin", |stream| Arc::new(PlainLink::with_spin(stream, 50).unwrap())),
    ("ring", |stream| Arc::new(RingLink::new(stream).map_err(|(_, error)| error).unwrap())),
];

fn sockets() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (near, listener.accept().unwrap().0)
}

fn for_each_backend(test: impl Fn(Arc<dyn Link>, Arc<dyn Link>)) {
    for (name, make) in BACKENDS {
        eprintln!("backend {name}");
        let (near, far) = sockets();
        test(make(near), make(far));
    }
}

/// Deterministic bytes and sizes; xorshift.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.next() as u8).collect()
    }
}

fn send_in_pieces(link: &dyn Link, all: &[u8], seed: u64) {
    let mut noise = Noise(seed);
    let mut rest = all;
    while !rest.is_empty() {
        let most = if noise.next().is_multiple_of(4) { 400_000 } else { 5_000 };
        let (piece, after) = rest.split_at((1 + noise.next() as usize % most).min(rest.len()));
        link.send_all(piece).unwrap();
        rest = after;
    }
}

fn receive_in_pieces(link: &dyn Link, len: usize, seed: u64) -> Vec<u8> {
    let mut noise = Noise(seed);
    let mut all = vec![0; len];
    let mut have = 0;
    while have < len {
        let end = (have + 1 + noise.next() as usize % 200_000).min(len);
        let received = link.recv(&mut all[have..end]).unwrap();
        assert!(received > 0, "the peer is still there");
        have += received;
    }
    all
}

#[test]
fn both_directions_at_once_are_byte_exact() {
    for_each_backend(|near, far| {
        let there = Noise(1).bytes(8_000_000);
        let back = Noise(2).bytes(6_000_000);
        thread::scope(|scope| {
            scope.spawn(|| send_in_pieces(&*near, &there, 3));
            scope.spawn(|| send_in_pieces(&*far, &back, 4));
            let at_far = scope.spawn(|| receive_in_pieces(&*far, there.len(), 5));
            assert!(receive_in_pieces(&*near, back.len(), 6) == back);
            assert!(at_far.join().unwrap() == there);
        });
    });
}

/// Waits until the kernel says that a thread of ours sleeps.
fn until_asleep(tid: i32) {
    loop {
        let stat = std::fs::read_to_string(format!("/proc/self/task/{tid}/stat")).unwrap();
        if stat.rsplit(") ").next().unwrap().starts_with('S') {
            return;
        }
        thread::yield_now();
    }
}

fn own_tid() -> i32 {
    rustix::thread::gettid().as_raw_nonzero().get()
}

/// Runs `blocked` in a thread, and `wake` when that thread sleeps.
fn while_asleep<T: Send>(blocked: impl FnOnce() -> T + Send, wake: impl FnOnce(i32)) -> T {
    let (announce, announced) = mpsc::channel();
    thread::scope(|scope| {
        let thread = scope.spawn(move || {
            announce.send(own_tid()).unwrap();
            blocked()
        });
        let tid = announced.recv().unwrap();
        until_asleep(tid);
        wake(tid);
        thread.join().unwrap()
    })
}

fn fill(link: &dyn Link) -> ErrorKind {
    let block = vec![7; 1 << 20];
    loop {
        if let Err(error) = link.send_all(&block) {
            return error.kind();
        }
    }
}

#[test]
fn shutdown_wakes_a_blocked_recv() {
    for_each_backend(|near, _far| {
        let received = while_asleep(|| near.recv(&mut [0; 16]), |_| near.shutdown());
        assert_eq!(received.unwrap(), 0);
        assert_eq!(near.recv(&mut [0; 16]).unwrap(), 0);
    });
}

#[test]
fn shutdown_wakes_a_blocked_send() {
    for_each_backend(|near, _far| {
        let kind = while_asleep(|| fill(&*near), |_| near.shutdown());
        assert_eq!(kind, ErrorKind::BrokenPipe);
        assert_eq!(near.send_all(b"late").unwrap_err().kind(), ErrorKind::BrokenPipe);
        near.shutdown();
    });
}

#[test]
fn shutdown_wakes_both_directions_at_once() {
    for_each_backend(|near, _far| {
        let received = while_asleep(
            || near.recv(&mut [0; 16]),
            |_| {
                let kind = while_asleep(|| fill(&*near), |_| near.shutdown());
                assert_eq!(kind, ErrorKind::BrokenPipe);
            },
        );
        assert_eq!(received.unwrap(), 0);
    });
}

#[test]
fn a_peer_that_closes_ends_receiving_and_breaks_sending() {
    for_each_backend(|near, far| {
        far.send_all(b"last words").unwrap();
        drop(far);
        assert_eq!(receive_in_pieces(&*near, 10, 1), b"last words");
        assert_eq!(near.recv(&mut [0; 16]).unwrap(), 0);
        let kind = fill(&*near);
        assert!(matches!(kind, ErrorKind::BrokenPipe | ErrorKind::ConnectionReset), "{kind:?}");
    });
}

#[test]
fn signals_do_not_end_a_wait() {
    interrupting::install();
    for_each_backend(|near, far| {
        let received = while_asleep(
            || near.recv(&mut [0; 16]),
            |tid| {
                let before = interrupting::count();
                interrupting::send(tid);
                while interrupting::count() == before {
                    thread::yield_now();
                }
                until_asleep(tid);
                far.send_all(b"here").unwrap();
            },
        );
        assert_eq!(received.unwrap(), 4);
    });
}

#[test]
fn nothing_to_send_is_no_request() {
    for_each_backend(|near, _far| near.send_all(&[]).unwrap());
}

#[test]
fn one_call_sends_and_receives() {
    let (near, far) = sockets();
    let near = RingLink::new(near).map_err(|(_, error)| error).unwrap();
    let far = PlainLink::new(far).unwrap();
    thread::scope(|scope| {
        scope.spawn(|| {
            let asked = receive_in_pieces(&far, 3, 1);
            far.send_all(&asked).unwrap();
            far.shutdown();
        });
        let mut answer = [0; 16];
        assert_eq!(near.send_then_recv(b"abc", &mut answer).unwrap(), 3);
        assert_eq!(&answer[..3], b"abc");
    });
    let ended = near.send_then_recv(b"abc", &mut [0; 16]);
    assert!(ended.is_err() || ended.unwrap() == 0);
    near.shutdown();
    assert_eq!(near.send_then_recv(b"abc", &mut [0; 16]).unwrap_err().kind(), ErrorKind::BrokenPipe);
}

#[test]
fn a_refused_ring_falls_back_to_plain_calls() {
    for errno in [libc::ENOSYS, libc::EPERM] {
        let (near, far) = sockets();
        let refuse = |stream| Err((stream, io::Error::from_raw_os_error(errno)));
        let near = ring_or_plain(near, Use::Bulk, refuse).unwrap();
        let far = open(far, Use::OrderedPrimary).unwrap();
        near.send_all(b"over plain calls").unwrap();
        assert_eq!(receive_in_pieces(&*far, 16, 1), b"over plain calls");
    }
}

/// A signal handler that does nothing but make system calls return EINTR.
#[expect(unsafe_code, reason = "nobody wraps handlers without SA_RESTART")]
mod interrupting {
    use std::sync::atomic::{AtomicUsize, Ordering};

    static COUNT: AtomicUsize = AtomicUsize::new(0);

    extern "C" fn handle(_signal: libc::c_int) {
        COUNT.fetch_add(1, Ordering::SeqCst);
    }

    pub fn count() -> usize {
        COUNT.load(Ordering::SeqCst)
    }

    pub fn install() {
        // SAFETY: an all-zero sigaction is a valid one: no flags (so no SA_RESTART), empty mask.
        let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
        action.sa_sigaction = handle as extern "C" fn(libc::c_int) as libc::sighandler_t;
        // SAFETY: `action` is initialised and the handler only touches an atomic.
        let outcome = unsafe { libc::sigaction(libc::SIGUSR1, &action, std::ptr::null_mut()) };
        assert_eq!(outcome, 0);
    }

    pub fn send(tid: i32) {
        // SAFETY: takes three numbers and no memory; the thread is one of ours.
        let outcome = unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), tid, libc::SIGUSR1) };
        assert_eq!(outcome, 0);
    }
}
