//! Accepting on several addresses, within bounds: one thread waits on all of them, each connection gets a thread.

use super::quiet::Quiet;
use super::sockets;
use parking_lot::Mutex;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use std::collections::HashMap;
use std::io::{self, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

/// Pause when nothing can be accepted (no descriptors left): trying at once would burn a core.
const BREATH: Duration = Duration::from_millis(50);

/// Takes a connection over, in a thread of its own.
pub type Take = dyn Fn(Arrival) + Send + Sync;

/// How many connections may be there.
#[derive(Clone, Copy, Debug)]
pub struct Room {
    /// That have proved nothing yet.
    pub strangers: usize,
    /// Altogether.
    pub connections: usize,
}

/// Counts connections and can end them.
struct Book {
    room: Room,
    strangers: AtomicUsize,
    streams: Mutex<HashMap<u64, Weak<TcpStream>>>,
    ended: AtomicBool,
    full: Quiet,
}

/// A connection that has just come.
pub struct Arrival {
    /// The socket, in blocking mode.
    pub stream: TcpStream,
    /// From where.
    pub from: SocketAddr,
    place: Place,
}

impl Arrival {
    /// The stream, and its place, which counts it as a stranger until it is promoted, and as a connection until it is dropped.
    pub fn split(self) -> (TcpStream, SocketAddr, Place) {
        (self.stream, self.from, self.place)
    }
}

/// A connection's place in the book.
pub struct Place {
    book: Arc<Book>,
    stranger: bool,
    number: Option<u64>,
}

impl Place {
    /// The other end has proved its key. `false`: there is no room for more, or the end has come; the connection must be closed. While the place is
    /// kept, the end of the acceptor shuts `stream` down.
    pub fn promote(&mut self, stream: &Arc<TcpStream>) -> bool {
        self.no_stranger();
        let mut streams = self.book.streams.lock();
        if self.book.ended.load(Ordering::SeqCst) || streams.len() >= self.book.room.connections {
            return false;
        }
        let mut number = streams.len() as u64;
        while streams.contains_key(&number) {
            number += 1;
        }
        streams.insert(number, Arc::downgrade(stream));
        self.number = Some(number);
        true
    }

    fn no_stranger(&mut self) {
        if std::mem::take(&mut self.stranger) {
            self.book.strangers.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.no_stranger();
        if let Some(number) = self.number {
            self.book.streams.lock().remove(&number);
        }
    }
}

/// Accepts until it is dropped; then all connections that have a place are shut down. Threads of connections end by themselves.
pub struct Acceptor {
    book: Arc<Book>,
    addresses: Vec<SocketAddr>,
    wake: UnixStream,
    thread: Option<JoinHandle<()>>,
}

impl Acceptor {
    /// Listens on all of `binds` (each once), or on none.
    pub fn start(name: &str, binds: &[SocketAddr], room: Room, take: Arc<Take>) -> io::Result<Acceptor> {
        let mut listeners = Vec::new();
        for (at, bind) in binds.iter().enumerate() {
            if !binds[..at].contains(bind) {
                let told = |error: io::Error| io::Error::new(error.kind(), format!("cannot listen on {bind}: {error}"));
                listeners.push(sockets::listen(*bind).map_err(told)?);
            }
        }
        let addresses = listeners.iter().map(TcpListener::local_addr).collect::<io::Result<_>>()?;
        let (wake, woken) = UnixStream::pair()?;
        let (strangers, streams) = (AtomicUsize::new(0), Mutex::default());
        let book = Arc::new(Book { room, strangers, streams, ended: AtomicBool::new(false), full: Quiet::default() });
        let accepting = book.clone();
        let thread =
            std::thread::Builder::new().name(format!("{name}-accept")).spawn(move || accept(&accepting, &listeners, &woken, &take))?;
        Ok(Acceptor { book, addresses, wake, thread: Some(thread) })
    }

    /// Where it listens: of interest when a port was 0.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Connections that have a place.
    pub fn connections(&self) -> usize {
        self.book.streams.lock().len()
    }
}

impl Drop for Acceptor {
    fn drop(&mut self) {
        self.book.ended.store(true, Ordering::SeqCst);
        let _ = self.wake.write_all(&[0]);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        for stream in self.book.streams.lock().values().filter_map(Weak::upgrade) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

fn accept(book: &Arc<Book>, listeners: &[TcpListener], woken: &UnixStream, take: &Arc<Take>) {
    while !book.ended.load(Ordering::SeqCst) {
        let mut fds: Vec<PollFd<'_>> = listeners.iter().map(|listener| PollFd::new(listener, PollFlags::IN)).collect();
        fds.push(PollFd::new(woken, PollFlags::IN));
        match poll(&mut fds, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => {
                tracing::error!(%error, "waiting for connections failed");
                std::thread::sleep(BREATH);
            }
        }
        for listener in listeners {
            match listener.accept() {
                Ok((stream, from)) => welcome(book, stream, from, take),
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) => {
                    if let Some(unsaid) = book.full.say() {
                        tracing::warn!(%error, unsaid, "a connection cannot be accepted");
                    }
                    std::thread::sleep(BREATH);
                }
            }
        }
    }
}

fn welcome(book: &Arc<Book>, stream: TcpStream, from: SocketAddr, take: &Arc<Take>) {
    let before = book.strangers.fetch_add(1, Ordering::SeqCst);
    let place = Place { book: book.clone(), stranger: true, number: None };
    if before >= book.room.strangers {
        if let Some(unsaid) = book.full.say() {
            tracing::warn!(%from, unsaid, "too many connections that say nothing: one more was closed");
        }
        return;
    }
    if stream.set_nonblocking(false).is_err() {
        return;
    }
    let (take, arrival) = (take.clone(), Arrival { stream, from, place });
    if let Err(error) = std::thread::Builder::new().name("connection".into()).spawn(move || take(arrival)) {
        tracing::warn!(%error, %from, "no thread for a connection: it was closed");
    }
}
