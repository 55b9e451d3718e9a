//! Servers of a farm: on each host the object that a daemon drives, and an application that says its server's name.
//! Beats travel through memory; cables and daemons are cut apart from each other.

use crate::net::Lan;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use vip::farm::{Affinity, Farm, FarmStatus, Protocol, Rule, Settings, VirtualAddress};

pub const BY_IP: u16 = 80;
pub const BY_PORT: u16 = 81;
pub const DATAGRAMS: u16 = 53;
pub const V4: &str = "10.9.0.100";
pub const V6: &str = "fd09::64";

type Command = Box<dyn FnOnce(&mut Farm, Duration) + Send>;

enum Event {
    Beat(String, Vec<u8>),
    Do(Command),
    /// Ends as a daemon does that is told to.
    Stop,
    /// Ends as one does that is killed: nothing is cleaned.
    Kill,
}

struct Node {
    events: Sender<Event>,
    daemon: JoinHandle<()>,
}

struct App {
    stop: tokio::sync::oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

type Peers = Arc<Mutex<Vec<Option<Sender<Event>>>>>;
type Cuts = Arc<Mutex<Vec<(usize, usize)>>>;

pub struct Servers {
    pub lan: Lan,
    pub settings: Settings,
    nodes: Vec<Option<Node>>,
    apps: Vec<Option<App>>,
    peers: Peers,
    cuts: Cuts,
    start: Instant,
}

pub fn name(number: usize) -> String {
    format!("n{number}")
}

pub fn settings(servers: usize) -> Settings {
    let names: Vec<String> = (1..=servers).map(name).collect();
    let mut farm = Settings::new("web-shop", &names.iter().map(String::as_str).collect::<Vec<_>>());
    for (ip, prefix) in [(V4, 16), (V6, 64)] {
        farm.addresses.push(VirtualAddress { ip: ip.parse().unwrap(), prefix, interface: None });
    }
    let rules = [
        (Protocol::Tcp, BY_IP, Affinity::ClientIp),
        (Protocol::Tcp, BY_PORT, Affinity::ClientPort),
        (Protocol::Udp, DATAGRAMS, Affinity::ClientPort),
    ];
    for (protocol, port, affinity) in rules {
        farm.rules.push(Rule { name: format!("rule-{port}"), protocol, port, affinity });
    }
    // Beats come late on a machine with much else to do; what is tested here is not how soon a loss is seen.
    farm.lost_after = Duration::from_secs(4);
    farm
}

impl Servers {
    /// `servers` with farm and application, all in the farm, and `clients` more hosts. The first answers ARP.
    pub fn start(servers: usize, clients: usize) -> Servers {
        let mut all = Servers {
            lan: Lan::new(servers + clients),
            settings: settings(servers),
            nodes: (0..servers).map(|_| None).collect(),
            apps: (0..servers).map(|_| None).collect(),
            peers: Arc::new(Mutex::new(vec![None; servers])),
            cuts: Arc::default(),
            start: Instant::now(),
        };
        // Who is there first answers ARP, and goes on doing so.
        all.boot(1);
        all.wait_whole(&[1]);
        for number in 2..=servers {
            all.boot(number);
        }
        all.wait_whole(&(1..=servers).collect::<Vec<_>>());
        all
    }

    /// Starts farm and application on server `number`.
    pub fn boot(&mut self, number: usize) {
        let at = number - 1;
        let (events, inbox) = channel();
        self.peers.lock().unwrap()[at] = Some(events.clone());
        let (host, settings) = (self.lan.hosts[at].clone(), self.settings.clone());
        let (peers, cuts, start) = (self.peers.clone(), self.cuts.clone(), self.start);
        let daemon = std::thread::spawn(move || {
            host.enter();
            let mut farm = Farm::new(settings, &name(number), start.elapsed()).expect("the farm starts");
            farm.set_up(true, start.elapsed());
            daemon(farm, number, &inbox, &peers, &cuts, start);
        });
        self.nodes[at] = Some(Node { events, daemon });
        if self.apps[at].is_none() {
            self.start_app(number);
        }
    }

    fn start_app(&mut self, number: usize) {
        let host = self.lan.hosts[number - 1].clone();
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let (ready, wait) = channel();
        let thread = std::thread::spawn(move || {
            host.enter();
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(app(name(number), stopped, ready));
        });
        wait.recv().unwrap();
        self.apps[number - 1] = Some(App { stop, thread });
    }

    fn stop_app(&mut self, number: usize) {
        if let Some(app) = self.apps[number - 1].take() {
            let _ = app.stop.send(());
            app.thread.join().unwrap();
        }
    }

    /// The machine loses power: its cable first, so that nothing it does later is heard.
    pub fn power_off(&mut self, number: usize) {
        self.lan.cable(number, false);
        self.kill_daemon(number);
        self.stop_app(number);
    }

    /// It comes back with empty memory. Whatever addresses and rules its daemon had are still there, which is
    /// worse than after a real reboot.
    pub fn power_on(&mut self, number: usize) {
        self.lan.cable(number, true);
        self.boot(number);
    }

    pub fn kill_daemon(&mut self, number: usize) {
        self.end(number, Event::Kill);
    }

    pub fn stop_daemon(&mut self, number: usize) {
        self.end(number, Event::Stop);
    }

    fn end(&mut self, number: usize, how: Event) {
        self.peers.lock().unwrap()[number - 1] = None;
        if let Some(node) = self.nodes[number - 1].take() {
            node.events.send(how).unwrap();
            node.daemon.join().unwrap();
        }
    }

    /// `half`, servers and clients, is on a switch of its own: nothing passes to the others, beats included. Or it
    /// is back.
    pub fn split(&self, half: &[usize], split: bool) {
        for number in half {
            self.lan.part(*number, split);
        }
        let mut cuts = self.cuts.lock().unwrap();
        cuts.clear();
        let all = 1..=self.nodes.len();
        if split {
            cuts.extend(all.clone().flat_map(|a| all.clone().map(move |b| (a, b))).filter(|(a, b)| half.contains(a) != half.contains(b)));
        }
    }

    /// Asks the farm of server `number`.
    pub fn ask<T: Send + 'static>(&self, number: usize, question: impl FnOnce(&mut Farm, Duration) -> T + Send + 'static) -> T {
        let (answer, wait) = channel();
        let node = self.nodes[number - 1].as_ref().expect("its daemon runs");
        let question = Box::new(move |farm: &mut Farm, now| drop(answer.send(question(farm, now))));
        node.events.send(Event::Do(question)).unwrap();
        wait.recv().expect("its daemon lives")
    }

    pub fn status(&self, number: usize) -> FarmStatus {
        self.ask(number, |farm, now| farm.status(now))
    }

    /// Who gets a client's connection to `port`, in the words of server `number`.
    pub fn whose(&self, number: usize, client: SocketAddr, port: u16) -> String {
        let answers = self.ask(number, move |farm, _| farm.whose(client.ip(), Some(client.port())));
        answers.into_iter().find(|answer| answer.port == port).and_then(|answer| answer.server).unwrap_or_default()
    }

    /// Who answers ARP, in the words of server `number`.
    pub fn arp(&self, number: usize) -> String {
        let status = self.status(number);
        status.servers.into_iter().find(|server| server.answers_arp).map(|server| server.name).unwrap_or_default()
    }

    /// Waits until these are one farm that serves everything, and their filters say so.
    pub fn wait_whole(&self, numbers: &[usize]) {
        let names: Vec<String> = numbers.iter().map(|number| name(*number)).collect();
        wait("the farm is whole", || {
            let all: Vec<FarmStatus> = numbers.iter().map(|number| self.status(*number)).collect();
            all.iter().all(|status| {
                let serving: Vec<_> = status.servers.iter().filter(|server| server.serving && server.share > 0.0).collect();
                let share: f64 = serving.iter().map(|server| server.share).sum();
                status.epoch == all[0].epoch && serving.iter().map(|server| &server.name).eq(names.iter()) && share > 0.999
            }) && numbers.iter().all(|number| self.accepts(*number))
        });
    }

    /// Has it nothing to wait for before it takes its share?
    fn accepts(&self, number: usize) -> bool {
        self.ask(number, |farm, _| farm.takes_its_share())
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        for number in 1..=self.nodes.len() {
            self.peers.lock().unwrap_or_else(|lock| lock.into_inner())[number - 1] = None;
            if let Some(node) = self.nodes[number - 1].take() {
                let _ = node.events.send(Event::Stop);
                let _ = node.daemon.join();
            }
        }
    }
}

/// Waits for an event, never for a time; far more than it can take, then it is a failure.
pub fn wait(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !done() {
        assert!(Instant::now() < deadline, "in vain: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn daemon(mut farm: Farm, number: usize, inbox: &Receiver<Event>, peers: &Peers, cuts: &Cuts, start: Instant) {
    loop {
        match inbox.recv_timeout(Duration::from_millis(20)) {
            Ok(Event::Beat(from, bytes)) => farm.on_beat(&from, &bytes, start.elapsed()).expect("a good beat"),
            Ok(Event::Do(command)) => command(&mut farm, start.elapsed()),
            Ok(Event::Stop) | Err(RecvTimeoutError::Disconnected) => {
                send(&farm.leave(start.elapsed()), number, peers, cuts);
                return farm.stop().expect("the farm stops");
            }
            Ok(Event::Kill) => return std::mem::forget(farm),
            Err(RecvTimeoutError::Timeout) => {}
        }
        for beat in farm.tick(start.elapsed()) {
            send(&beat, number, peers, cuts);
        }
    }
}

fn send(beat: &[u8], from: usize, peers: &Peers, cuts: &Cuts) {
    let cuts = cuts.lock().unwrap().clone();
    for (at, peer) in peers.lock().unwrap().iter().enumerate() {
        if at + 1 != from
            && !cuts.contains(&(from, at + 1))
            && let Some(peer) = peer
        {
            let _ = peer.send(Event::Beat(name(from), beat.to_vec()));
        }
    }
}

/// Answers every byte with the server's name and a line's end, every datagram with name and length.
async fn app(name: String, stopped: tokio::sync::oneshot::Receiver<()>, ready: Sender<()>) {
    let any = |port: u16| SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), port);
    let local = tokio::task::LocalSet::new();
    local.spawn_local({
        let name = name.clone();
        async move {
            for ip in [V4, V6] {
                let name = name.clone();
                tokio::task::spawn_local(async move {
                    // The address may come later than the application.
                    let socket = loop {
                        match tokio::net::UdpSocket::bind((ip, DATAGRAMS)).await {
                            Ok(socket) => break socket,
                            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
                        }
                    };
                    let mut bytes = vec![0; 65_536];
                    while let Ok((length, from)) = socket.recv_from(&mut bytes).await {
                        let _ = socket.send_to(format!("{name} {length}").as_bytes(), from).await;
                    }
                });
            }
        }
    });
    for port in [BY_IP, BY_PORT] {
        let listener = tokio::net::TcpListener::bind(any(port)).await.unwrap();
        let name = name.clone();
        local.spawn_local(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let name = name.clone();
                tokio::task::spawn_local(async move {
                    let mut byte = [0];
                    while matches!(stream.read(&mut byte).await, Ok(1)) {
                        if stream.write_all(format!("{name}\n").as_bytes()).await.is_err() {
                            return;
                        }
                    }
                });
            }
        });
    }
    ready.send(()).unwrap();
    local.run_until(async { drop(stopped.await) }).await;
}
