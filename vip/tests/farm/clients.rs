//! Clients: single questions, and long connections that keep asking.

use crate::net::Host;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};

/// One connection from `from`: gives the client's address and the server's name.
pub fn ask(from: IpAddr, to: SocketAddr) -> std::io::Result<(SocketAddr, String)> {
    ask_from(SocketAddr::new(from, 0), to)
}

/// The same from a certain port, which can be used again at once.
pub fn ask_from(from: SocketAddr, to: SocketAddr) -> std::io::Result<(SocketAddr, String)> {
    let socket = socket2::Socket::new(socket2::Domain::for_address(to), socket2::Type::STREAM, None)?;
    socket.bind(&from.into())?;
    if from.port() != 0 {
        socket.set_linger(Some(Duration::ZERO))?;
    }
    socket.connect_timeout(&to.into(), Duration::from_secs(10))?;
    let mut stream: TcpStream = socket.into();
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    stream.write_all(b"?")?;
    let mut bytes = [0; 64];
    let length = stream.read(&mut bytes)?;
    let name = String::from_utf8_lossy(&bytes[..length]).trim().to_owned();
    Ok((stream.local_addr()?, name))
}

/// One datagram of `length` bytes; gives the client's address and the answer.
pub fn datagram(socket: &UdpSocket, to: SocketAddr, length: usize) -> std::io::Result<String> {
    socket.set_read_timeout(Some(Duration::from_secs(5)))?;
    socket.send_to(&vec![7; length], to)?;
    let mut bytes = [0; 64];
    let length = socket.recv(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes[..length]).into_owned())
}

/// What one long connection saw.
#[derive(Clone, Debug, Default)]
pub struct Saw {
    pub client: Option<SocketAddr>,
    /// Every server that answered; one, unless something is very wrong.
    pub servers: Vec<String>,
    pub answers: u64,
    pub error: Option<String>,
}

/// Long connections from one host.
pub struct Long {
    saw: Arc<Mutex<Vec<Saw>>>,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Long {
    /// `count` connections to each of `to`, which ask all the time until they are stopped or fail.
    pub fn start(host: &Host, to: &[SocketAddr], count: usize) -> Long {
        let saw = Arc::new(Mutex::new(vec![Saw::default(); to.len() * count]));
        let stop = Arc::new(AtomicBool::new(false));
        let thread = std::thread::spawn({
            let (host, to, saw, stop) = (host.clone(), to.to_vec(), saw.clone(), stop.clone());
            move || {
                host.enter();
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                runtime.block_on(async {
                    let all: Vec<_> =
                        (0..to.len() * count).map(|at| tokio::spawn(one(to[at / count], at, saw.clone(), stop.clone()))).collect();
                    for task in all {
                        task.await.unwrap();
                    }
                });
            }
        });
        let long = Long { saw, stop, thread };
        crate::nodes::wait("every connection was answered", || long.all().iter().all(|saw| saw.answers > 0));
        long
    }

    pub fn all(&self) -> Vec<Saw> {
        self.saw.lock().unwrap().clone()
    }

    /// Waits until every connection that has not failed was answered again some times.
    pub fn answered_again(&self) {
        let before = self.all();
        let again = |(now, before): (&Saw, &Saw)| now.error.is_some() || now.answers >= before.answers + 3;
        crate::nodes::wait("answers go on", || self.all().iter().zip(&before).all(again));
    }

    pub fn stop(self) -> Vec<Saw> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap();
        Arc::try_unwrap(self.saw).unwrap().into_inner().unwrap()
    }
}

async fn one(to: SocketAddr, at: usize, saw: Arc<Mutex<Vec<Saw>>>, stop: Arc<AtomicBool>) {
    if let Err(why) = talk(to, at, &saw, &stop).await {
        saw.lock().unwrap()[at].error = Some(why.to_string());
    }
}

async fn talk(to: SocketAddr, at: usize, saw: &Mutex<Vec<Saw>>, stop: &AtomicBool) -> std::io::Result<()> {
    let stream = tokio::net::TcpStream::connect(to).await?;
    saw.lock().unwrap()[at].client = Some(stream.local_addr()?);
    let (read, mut write) = stream.into_split();
    let mut lines = BufReader::new(read).lines();
    while !stop.load(Ordering::Relaxed) {
        write.write_all(b"?").await?;
        // A connection to a dead server is told nothing: it is given up, which is no reset.
        let line = match tokio::time::timeout(Duration::from_secs(20), lines.next_line()).await {
            Ok(line) => line?.ok_or(std::io::ErrorKind::UnexpectedEof)?,
            Err(_) => return Err(std::io::Error::other("silent")),
        };
        {
            let mut saw = saw.lock().unwrap();
            saw[at].answers += 1;
            if !saw[at].servers.contains(&line) {
                saw[at].servers.push(line);
            }
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}
