//! Where a secondary's connections come from: its own port, or the cluster's daemon. Who is let in is [`super::follow`]'s business.

use super::follow::Follower;
use super::handed;
use super::options::Listen;
use crate::limits::ACCEPT_AT_ONCE;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::thread::JoinHandle;
use std::time::Duration;

/// The thread that takes connections.
pub(super) struct Listening {
    follower: Arc<Follower>,
    wake: Wake,
    thread: JoinHandle<()>,
}

/// How the accepting thread is woken.
enum Wake {
    Address(SocketAddr),
    Handed(handed::Receiver),
}

/// Starts to listen.
pub(super) fn listen(follower: Arc<Follower>) -> io::Result<Listening> {
    let (wake, next): (Wake, Box<dyn FnMut() -> io::Result<TcpStream> + Send>) = match &follower.options.listen {
        Listen::Address(address) => {
            let listener = TcpListener::bind(address)?;
            (Wake::Address(listener.local_addr()?), Box::new(move || listener.accept().map(|(stream, _)| stream)))
        }
        Listen::Handed => {
            let receiver = handed::Receiver::bind(&follower.options.places.run, &follower.options.name)?;
            let taking = receiver.try_clone()?;
            (Wake::Handed(receiver), Box::new(move || taking.next()))
        }
    };
    let serving = follower.clone();
    let thread = std::thread::Builder::new().name("accept".into()).spawn(move || accept(&serving, next))?;
    Ok(Listening { follower, wake, thread })
}

fn accept(serving: &Arc<Follower>, mut next: impl FnMut() -> io::Result<TcpStream>) {
    let open = Arc::new(AtomicUsize::new(0));
    loop {
        let stream = next();
        if serving.ending.load(SeqCst) {
            return;
        }
        let Ok(stream) = stream else {
            std::thread::sleep(Duration::from_millis(50));
            continue;
        };
        let Ok(from) = stream.peer_addr() else { continue };
        if open.load(SeqCst) >= ACCEPT_AT_ONCE {
            tracing::warn!(%from, "too many connections at once: one is closed");
            continue;
        }
        open.fetch_add(1, SeqCst);
        let (follower, count) = (serving.clone(), open.clone());
        let work = move || {
            follower.connection(stream, from);
            count.fetch_sub(1, SeqCst);
        };
        if std::thread::Builder::new().name("session".into()).spawn(work).is_err() {
            open.fetch_sub(1, SeqCst);
        }
    }
}

impl Listening {
    /// Stops taking connections.
    pub fn stop(self) {
        self.follower.ending.store(true, SeqCst);
        let woken = match self.wake {
            Wake::Address(mut own) => {
                if own.ip().is_unspecified() {
                    own.set_ip(if own.is_ipv4() { [127, 0, 0, 1].into() } else { std::net::Ipv6Addr::LOCALHOST.into() });
                }
                TcpStream::connect_timeout(&own, Duration::from_millis(500)).is_ok()
            }
            Wake::Handed(receiver) => receiver.close(),
        };
        // If nothing woke the accepting thread, it ends with the process.
        if woken {
            let _ = self.thread.join();
        }
    }
}
