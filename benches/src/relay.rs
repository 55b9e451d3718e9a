//! A longer way between the hosts: relays TCP in user space and holds every byte back for half a round trip.
//!
//! Chunks are stamped when they arrive and passed on when they are due, so throughput does not suffer from the delay
//! (up to the bound of what is in flight) and order is kept. The delay can be changed while connections are open.

use crate::hosts::Host;
use anyhow::{Context, Result};
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};

const CHUNK: usize = 64 * 1024;
/// Chunks under way in one direction: 64 MiB at most.
const IN_FLIGHT: usize = 1024;

/// Accepts on one address, connects to another; stops accepting with this value.
pub struct Relay {
    listener: Arc<TcpListener>,
    one_way_nanos: Arc<AtomicU64>,
}

impl Relay {
    /// Relays what connects to `listen` on `host` to `to`, without delay until one is set.
    pub fn start(host: &Host, listen: SocketAddr, to: SocketAddr) -> Result<Relay> {
        let bind = || TcpListener::bind(listen).with_context(|| format!("cannot listen on {listen}"));
        let listener = Arc::new(host.inside(bind)?);
        let one_way_nanos = Arc::new(AtomicU64::new(0));
        let (accepting, delay) = (Arc::clone(&listener), Arc::clone(&one_way_nanos));
        host.inside(|| {
            // A thread stays in the namespace of the one that started it.
            std::thread::spawn(move || accept(&accepting, to, &delay));
            Ok(())
        })?;
        Ok(Relay { listener, one_way_nanos })
    }

    /// Sets the round trip that the relay adds.
    pub fn set_round_trip(&self, round_trip: Duration) {
        let nanos = u64::try_from((round_trip / 2).as_nanos()).unwrap_or(u64::MAX);
        self.one_way_nanos.store(nanos, Ordering::Relaxed);
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        // Wakes the accepting thread; its connections end with their ends.
        let _ = rustix::net::shutdown(&*self.listener, rustix::net::Shutdown::Both);
    }
}

fn accept(listener: &TcpListener, to: SocketAddr, delay: &Arc<AtomicU64>) {
    while let Ok((near, _)) = listener.accept() {
        // A server that is not there yet looks like a refused connection: the near end is closed.
        let Ok(far) = TcpStream::connect(to) else { continue };
        if let Err(error) = join(near, far, delay) {
            eprintln!("relay: {error}");
        }
    }
}

fn join(near: TcpStream, far: TcpStream, delay: &Arc<AtomicU64>) -> std::io::Result<()> {
    for (from, to) in [(near.try_clone()?, far.try_clone()?), (far, near)] {
        from.set_nodelay(true)?;
        let (sender, receiver) = sync_channel(IN_FLIGHT);
        let delay = Arc::clone(delay);
        std::thread::spawn(move || take_in(from, &sender, &delay));
        std::thread::spawn(move || pass_on(to, &receiver));
    }
    Ok(())
}

fn take_in(mut from: TcpStream, sender: &SyncSender<(Instant, Vec<u8>)>, delay: &AtomicU64) {
    let mut buffer = vec![0; CHUNK];
    while let Ok(n @ 1..) = from.read(&mut buffer) {
        let due = Instant::now() + Duration::from_nanos(delay.load(Ordering::Relaxed));
        if sender.send((due, buffer[..n].to_vec())).is_err() {
            break;
        }
    }
}

fn pass_on(mut to: TcpStream, receiver: &Receiver<(Instant, Vec<u8>)>) {
    // The default slack of 50 µs would be added to every delay.
    let _ = rustix::thread::set_current_timer_slack(NonZeroU64::new(1));
    for (due, bytes) in receiver {
        let wait = due.saturating_duration_since(Instant::now());
        if !wait.is_zero() {
            std::thread::sleep(wait);
        }
        if to.write_all(&bytes).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}
