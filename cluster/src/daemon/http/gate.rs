//! Who gets a connection, and for how long: a bounded number of places, a bounded number of them for each client, and an end
//! to each of them, however slowly a client reads or writes.

use super::limits;
use axum_server::accept::Accept;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::future::{Future, Ready, ready};
use std::io::{self, IoSlice};
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep};

/// The places of one port.
pub struct Places {
    most: usize,
    each: usize,
    taken: Mutex<Taken>,
    refused: AtomicU64,
}

#[derive(Default)]
struct Taken {
    all: usize,
    of: HashMap<IpAddr, usize>,
}

impl Places {
    /// `most` at once, `each` of them for one client.
    pub fn new(most: usize, each: usize) -> Arc<Places> {
        Arc::new(Places { most, each, taken: Mutex::default(), refused: AtomicU64::new(0) })
    }

    /// Connections that are open.
    pub fn open(&self) -> u64 {
        self.taken.lock().all as u64
    }

    /// Connections that found no place.
    pub fn refused(&self) -> u64 {
        self.refused.load(Relaxed)
    }

    /// A place, until it is dropped.
    pub fn take(self: &Arc<Places>, client: IpAddr) -> Option<Place> {
        let mut taken = self.taken.lock();
        let own = taken.of.get(&client).copied().unwrap_or(0);
        if taken.all >= self.most || own >= self.each {
            self.refused.fetch_add(1, Relaxed);
            return None;
        }
        taken.all += 1;
        taken.of.insert(client, own + 1);
        Some(Place { places: self.clone(), client })
    }
}

/// One of them.
pub struct Place {
    places: Arc<Places>,
    client: IpAddr,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.taken.lock();
        taken.all -= 1;
        if let Some(own) = taken.of.get_mut(&self.client) {
            *own -= 1;
            if *own == 0 {
                taken.of.remove(&self.client);
            }
        }
    }
}

/// Lets connections in.
#[derive(Clone)]
pub struct Gate(pub Arc<Places>);

impl<S> Accept<TcpStream, S> for Gate {
    type Stream = Guarded;
    type Service = S;
    type Future = Ready<io::Result<(Guarded, S)>>;

    fn accept(&self, stream: TcpStream, service: S) -> Self::Future {
        // A client that has gone already has no address any more.
        let guarded = stream.peer_addr().and_then(|client| {
            let place = self.0.take(client.ip().to_canonical()).ok_or(io::ErrorKind::ConnectionRefused)?;
            stream.set_nodelay(true)?;
            Ok(Guarded { stream, end: Box::pin(sleep(limits::LIFE)), _place: place })
        });
        ready(guarded.map(|guarded| (guarded, service)))
    }
}

/// A connection that ends in time.
pub struct Guarded {
    stream: TcpStream,
    end: Pin<Box<Sleep>>,
    _place: Place,
}

impl Guarded {
    /// The stream, as long as there is time.
    fn alive(&mut self, context: &mut Context<'_>) -> io::Result<Pin<&mut TcpStream>> {
        match self.end.as_mut().poll(context) {
            Poll::Ready(()) => Err(io::ErrorKind::TimedOut.into()),
            Poll::Pending => Ok(Pin::new(&mut self.stream)),
        }
    }
}

impl AsyncRead for Guarded {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.alive(context)?.poll_read(context, buffer)
    }
}

impl AsyncWrite for Guarded {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.alive(context)?.poll_write(context, bytes)
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, context: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        self.alive(context)?.poll_write_vectored(context, slices)
    }

    // Head and body leave in one call, and so in one segment.
    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.alive(context)?.poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.alive(context)?.poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_bounded_for_all_and_for_each_and_come_back() {
        let places = Places::new(3, 2);
        let [one, two] = ["127.0.0.1", "127.0.0.2"].map(|ip| ip.parse::<IpAddr>().unwrap());
        let mut held = vec![places.take(one).unwrap(), places.take(one).unwrap()];
        assert!(places.take(one).is_none(), "a third one of the same client");
        held.push(places.take(two).unwrap());
        assert!(places.take(two).is_none(), "a fourth one of all");
        assert_eq!((places.open(), places.refused()), (3, 2));
        held.remove(0);
        drop(places.take(one).unwrap());
        drop(held);
        assert_eq!(places.open(), 0);
        assert!(places.taken.lock().of.is_empty(), "nobody is remembered for ever");
    }
}
