//! The servers of the farm: what a daemon drives, with beats through memory, and an application that says its name.

use super::lan::Lan;
use anyhow::{Context, Result, bail};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use vip::farm::{Affinity, Farm, Protocol, Rule, Settings, VirtualAddress};

/// The farm's address.
pub const VIP: &str = "10.9.0.100";
/// Distributed by the client's port.
pub const PORT: u16 = 81;

type Command = Box<dyn FnOnce(&mut Farm, Duration) + Send>;

enum Event {
    Beat(usize, Vec<u8>),
    Do(Command),
    Stop,
    Kill,
}

struct Node {
    events: Sender<Event>,
    daemon: JoinHandle<()>,
}

type Peers = Arc<Mutex<Vec<Option<Sender<Event>>>>>;

/// All of them.
pub struct Servers {
    /// The hosts: servers first.
    pub lan: Lan,
    nodes: Vec<Option<Node>>,
    peers: Peers,
    start: Instant,
}

/// Name of a server.
pub fn name(number: usize) -> String {
    format!("n{number}")
}

fn settings(servers: usize) -> Result<Settings> {
    let names: Vec<String> = (1..=servers).map(name).collect();
    let mut farm = Settings::new("bench", &names.iter().map(String::as_str).collect::<Vec<_>>());
    farm.addresses.push(VirtualAddress { ip: VIP.parse()?, prefix: 16, interface: None });
    farm.rules.push(Rule { name: "port".into(), protocol: Protocol::Tcp, port: PORT, affinity: Affinity::ClientPort });
    Ok(farm)
}

impl Servers {
    /// Starts `servers`, and `clients` hosts more.
    pub fn start(servers: usize, clients: usize) -> Result<Servers> {
        let mut all = Servers {
            lan: Lan::new(servers + clients)?,
            nodes: (0..servers).map(|_| None).collect(),
            peers: Arc::new(Mutex::new(vec![None; servers])),
            start: Instant::now(),
        };
        for number in 1..=servers {
            all.application(number)?;
            all.boot(number)?;
        }
        all.wait_serving(1, servers)?;
        Ok(all)
    }

    fn application(&self, number: usize) -> Result<()> {
        let host = self.lan.hosts[number - 1].clone();
        let (ready, wait) = channel();
        std::thread::spawn(move || {
            let listener = host.enter().and_then(|()| Ok(TcpListener::bind(("0.0.0.0", PORT))?));
            let listener = match listener {
                Ok(listener) => listener,
                Err(why) => return drop(ready.send(Err(why))),
            };
            let _ = ready.send(Ok(()));
            for stream in listener.incoming().flatten() {
                let line = format!("{}\n", name(number));
                std::thread::spawn(move || answer(stream, line.as_bytes()));
            }
        });
        wait.recv()?
    }

    /// Starts the farm on server `number`.
    pub fn boot(&mut self, number: usize) -> Result<()> {
        let (events, inbox) = channel();
        self.peers.lock().map_err(|_| anyhow::anyhow!("a daemon panicked"))?[number - 1] = Some(events.clone());
        let (host, peers, start) = (self.lan.hosts[number - 1].clone(), self.peers.clone(), self.start);
        let settings = settings(self.nodes.len())?;
        let (ready, wait) = channel();
        let daemon = std::thread::spawn(move || {
            let farm = host.enter().and_then(|()| Ok(Farm::new(settings, &name(number), start.elapsed())?));
            match farm {
                Ok(farm) => {
                    let _ = ready.send(Ok(()));
                    drive(farm, number, &inbox, &peers, start);
                }
                Err(why) => drop(ready.send(Err(why))),
            }
        });
        wait.recv()??;
        self.nodes[number - 1] = Some(Node { events, daemon });
        Ok(())
    }

    /// The machine is dead: nothing it does is heard.
    pub fn power_off(&mut self, number: usize) -> Result<()> {
        self.lan.cable(number, false)?;
        self.end(number, Event::Kill)
    }

    fn end(&mut self, number: usize, how: Event) -> Result<()> {
        if let Ok(mut peers) = self.peers.lock() {
            peers[number - 1] = None;
        }
        if let Some(node) = self.nodes[number - 1].take() {
            let _ = node.events.send(how);
            node.daemon.join().map_err(|_| anyhow::anyhow!("a daemon panicked"))?;
        }
        Ok(())
    }

    /// Asks the farm of server `number`.
    pub fn ask<T: Send + 'static>(&self, number: usize, question: impl FnOnce(&mut Farm, Duration) -> T + Send + 'static) -> Result<T> {
        let (answer, wait) = channel();
        let node = self.nodes[number - 1].as_ref().context("its daemon does not run")?;
        let _ = node.events.send(Event::Do(Box::new(move |farm, now| drop(answer.send(question(farm, now))))));
        wait.recv().context("a daemon has ended")
    }

    /// Waits until `count` servers share everything, in the words of server `number`.
    pub fn wait_serving(&self, number: usize, count: usize) -> Result<()> {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let status = self.ask(number, |farm, now| farm.status(now))?;
            let serving = status.servers.iter().filter(|server| server.serving && server.share > 0.0).count();
            let mut running = (1..=self.nodes.len()).filter(|number| self.nodes[number - 1].is_some());
            if serving == count && running.all(|number| self.ask(number, |farm, _| farm.takes_its_share()).unwrap_or(false)) {
                return Ok(());
            }
            if Instant::now() > deadline {
                bail!("{serving} servers serve, not {count}");
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Who gets the client's connection.
    pub fn whose(&self, number: usize, client: SocketAddr) -> Result<Option<String>> {
        let answers = self.ask(number, move |farm, _| farm.whose(client.ip(), Some(client.port())))?;
        Ok(answers.into_iter().next().and_then(|answer| answer.server))
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        for number in 1..=self.nodes.len() {
            let _ = self.end(number, Event::Stop);
        }
    }
}

fn answer(mut stream: TcpStream, line: &[u8]) {
    let mut byte = [0];
    while matches!(stream.read(&mut byte), Ok(1)) && stream.write_all(line).is_ok() {}
}

fn drive(mut farm: Farm, number: usize, inbox: &Receiver<Event>, peers: &Peers, start: Instant) {
    farm.set_up(true, start.elapsed());
    let send = |bytes: &[u8]| {
        for (at, peer) in peers.lock().iter().flat_map(|peers| peers.iter().enumerate()) {
            if let Some(peer) = peer.as_ref().filter(|_| at + 1 != number) {
                let _ = peer.send(Event::Beat(number, bytes.to_vec()));
            }
        }
    };
    loop {
        match inbox.recv_timeout(Duration::from_millis(20)) {
            Ok(Event::Beat(from, bytes)) => drop(farm.on_beat(&name(from), &bytes, start.elapsed())),
            Ok(Event::Do(command)) => command(&mut farm, start.elapsed()),
            Ok(Event::Kill) => return std::mem::forget(farm),
            Ok(Event::Stop) | Err(RecvTimeoutError::Disconnected) => return,
            Err(RecvTimeoutError::Timeout) => {}
        }
        for beat in farm.tick(start.elapsed()) {
            send(&beat);
        }
    }
}
