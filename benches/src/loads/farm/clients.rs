//! Clients of the farm: many short connections, and long ones that note resets and stalls.

use super::lan::Host;
use anyhow::{Context, Result};
use rustix::net::{AddressFamily, SocketType, bind, socket};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// One connection, asked once: the client's address and the server's name.
pub fn once(to: SocketAddr) -> Result<(SocketAddr, String)> {
    let mut stream = TcpStream::connect_timeout(&to, Duration::from_secs(10))?;
    // It leaves no port waiting: a minute's worth of those, and looking for a free one is all that is measured.
    rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO))?;
    Ok((stream.local_addr()?, question(&mut stream)?))
}

/// One connection from a chosen port, given up soon.
pub fn attempt(to: SocketAddrV4, port: u16, patience: Duration) -> Result<String> {
    let socket = socket(AddressFamily::INET, SocketType::STREAM, None)?;
    bind(&socket, &SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port))?;
    rustix::io::ioctl_fionbio(&socket, true)?;
    // It is on its way; the answer is asked for within the time.
    let _ = rustix::net::connect(&socket, &to);
    let mut stream = TcpStream::from(socket);
    let deadline = Instant::now() + patience;
    while stream.peer_addr().is_err() {
        if Instant::now() > deadline {
            anyhow::bail!("no answer");
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(patience))?;
    question(&mut stream)
}

fn question(stream: &mut TcpStream) -> Result<String> {
    stream.write_all(b"?")?;
    let mut bytes = [0; 16];
    let length = stream.read(&mut bytes)?;
    anyhow::ensure!(length > 0, "closed");
    Ok(String::from_utf8_lossy(&bytes[..length]).trim().to_owned())
}

/// Runs `work` in four threads on `host` for a while; gives turns a second.
pub fn rate(host: &Host, time: Duration, work: impl Fn() -> Result<()> + Sync) -> Result<f64> {
    rate_with(host, time, || Ok(()), |()| work())
}

/// The same with something that each thread makes first.
pub fn rate_with<T>(
    host: &Host,
    time: Duration,
    make: impl Fn() -> Result<T> + Sync,
    work: impl Fn(&mut T) -> Result<()> + Sync,
) -> Result<f64> {
    let turns = AtomicU64::new(0);
    let start = Instant::now();
    std::thread::scope(|scope| {
        let one = || {
            host.enter()?;
            let mut own = make()?;
            while start.elapsed() < time {
                work(&mut own)?;
                turns.fetch_add(1, Ordering::Relaxed);
            }
            Ok(())
        };
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(one)).collect();
        threads.into_iter().try_for_each(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    })
    .map(|()| turns.into_inner() as f64 / start.elapsed().as_secs_f64())
}

/// A connection that asks all the time.
pub struct Asking(TcpStream);

impl Asking {
    /// Connects.
    pub fn new(to: SocketAddr) -> Result<Asking> {
        let stream = TcpStream::connect_timeout(&to, Duration::from_secs(10))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        Ok(Asking(stream))
    }

    /// One question.
    pub fn ask(&mut self) -> Result<()> {
        question(&mut self.0).map(drop)
    }
}

/// What a long connection saw since it was last asked.
#[derive(Clone, Default, Debug)]
pub struct Saw {
    /// All servers that answered.
    pub servers: Vec<String>,
    /// It broke.
    pub broken: bool,
    /// The longest time between a question and its answer.
    pub stall: Duration,
}

/// Long connections, each in a thread.
pub struct Long {
    saw: Vec<Arc<Mutex<Saw>>>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Long {
    /// `count` of them, each answered once at least.
    pub fn start(host: &Host, to: SocketAddr, count: usize) -> Result<Long> {
        let stop = Arc::new(AtomicBool::new(false));
        let (mut saw, mut threads) = (Vec::new(), Vec::new());
        for _ in 0..count {
            let (host, stop, mine) = (host.clone(), stop.clone(), Arc::new(Mutex::new(Saw::default())));
            saw.push(mine.clone());
            threads.push(std::thread::spawn(move || {
                if talk(&host, to, &mine, &stop).is_err()
                    && let Ok(mut saw) = mine.lock()
                {
                    saw.broken = true;
                }
            }));
        }
        let long = Long { saw, stop, threads };
        let deadline = Instant::now() + Duration::from_secs(30);
        while long.look().iter().any(|saw| saw.servers.is_empty()) {
            anyhow::ensure!(Instant::now() < deadline, "not all long connections were answered");
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(long)
    }

    fn look(&self) -> Vec<Saw> {
        self.saw.iter().filter_map(|saw| saw.lock().ok().map(|saw| saw.clone())).collect()
    }

    /// What they saw since the last time; connections that are waiting at this moment count with what they waited.
    pub fn take(&self) -> Vec<Saw> {
        let all = self.look();
        for saw in &self.saw {
            if let Ok(mut saw) = saw.lock() {
                saw.stall = Duration::ZERO;
            }
        }
        all
    }

    /// Ends them.
    pub fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads {
            let _ = thread.join();
        }
    }
}

fn talk(host: &Host, to: SocketAddr, saw: &Mutex<Saw>, stop: &AtomicBool) -> Result<()> {
    host.enter()?;
    let mut stream = Asking::new(to)?;
    while !stop.load(Ordering::Relaxed) {
        let asked = Instant::now();
        let name = question(&mut stream.0)?;
        {
            let mut saw = saw.lock().ok().context("poisoned")?;
            saw.stall = saw.stall.max(asked.elapsed());
            if !saw.servers.contains(&name) {
                saw.servers.push(name);
            }
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}
