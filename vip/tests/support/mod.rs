//! Hosts on a switch: network namespaces without names, each with `eth0`, joined by a bridge. They live as long as a
//! descriptor or a process holds them, so there is nothing to remove.
#![allow(clippy::unwrap_used)] // a panic is how a test fails
#![allow(dead_code, reason = "each test uses its part")]

use pnet_base::MacAddr;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};
use vip::interface::Interface;
use vip::manager::{Event, Manager, Wanted};

/// For what must happen; only a failure waits so long.
pub const LIMIT: Duration = Duration::from_secs(60);
const INSIDE: &str = "UNDERSTUDY_TEST_VIP";
const PORT: u16 = 7000;

/// Runs the test again, in a process with a network of its own.
pub fn in_own_network(test: &str, work: impl FnOnce()) {
    if std::env::var(INSIDE).is_ok_and(|inside| inside == test) {
        return work();
    }
    let mut own = Command::new("unshare");
    own.arg("--net").arg(std::env::current_exe().unwrap()).args(["--exact", test, "--nocapture"]).env(INSIDE, test);
    let output = own.output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && out.contains("1 passed"), "{out}{err}");
    eprintln!("{err}");
}

/// A machine.
pub struct Host {
    pub name: String,
    net: File,
    dir: tempfile::TempDir,
}

/// A client and nodes, all in 10.0.0.0/24 and fd00::/64: the client is .1, node n is .10 + n.
pub struct Net {
    pub client: Host,
    pub nodes: Vec<Host>,
}

impl Net {
    pub fn new(nodes: u8) -> Net {
        run(&["ip", "link", "add", "br0", "type", "bridge", "mcast_snooping", "0"]);
        run(&["ip", "link", "set", "br0", "up"]);
        let client = Host::new("client", 1);
        // The client never looks for itself: only what it is told moves it.
        client.sysctl("ipv4/neigh/eth0/base_reachable_time_ms", "3600000");
        client.sysctl("ipv6/neigh/eth0/base_reachable_time_ms", "3600000");
        client.sysctl("ipv4/neigh/eth0/delay_first_probe_time", "3600");
        client.sysctl("ipv6/neigh/eth0/delay_first_probe_time", "3600");
        Net { client, nodes: (1..=nodes).map(|number| Host::new(&format!("node{number}"), 10 + number)).collect() }
    }
}

impl Host {
    fn new(name: &str, number: u8) -> Host {
        let holder =
            Command::new("unshare").args(["--net", "sh", "-c", "echo up; exec cat"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut holder = holder.unwrap();
        let mut line = String::new();
        BufReader::new(holder.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let net = File::open(format!("/proc/{}/ns/net", holder.id())).unwrap();
        let host = Host { name: name.into(), net, dir: tempfile::tempdir().unwrap() };
        let pid = holder.id().to_string();
        run(&["ip", "link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", &pid]);
        drop(holder.stdin.take()); // it ends
        holder.wait().unwrap();
        run(&["ip", "link", "set", name, "master", "br0", "up"]);
        host.sysctl("ipv6/conf/all/accept_dad", "0");
        host.sysctl("ipv6/conf/eth0/accept_dad", "0");
        host.ip(&format!("address add 10.0.0.{number}/24 dev eth0"));
        host.ip("link set lo up");
        host.ip("link set eth0 up");
        host.ip(&format!("address add fd00::{number}/64 dev eth0 nodad"));
        // The switch notices a carrier later; until then it drops.
        until("the port works", || run(&["ip", "-d", "link", "show", name]).contains("state forwarding"));
        host
    }

    /// Sockets that `work` opens and threads and processes that it starts are this host's.
    pub fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                move_into_link_name_space(self.net.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
                work()
            });
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    pub fn ip(&self, args: &str) -> String {
        let all: Vec<&str> = std::iter::once("ip").chain(args.split(' ')).collect();
        self.inside(|| run(&all))
    }

    pub fn sysctl(&self, name: &str, value: &str) {
        self.inside(|| std::fs::write(format!("/proc/sys/net/{name}"), value).unwrap());
    }

    pub fn snapshot(&self) -> vip::interface::Snapshot {
        self.inside(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(vip::interface::snapshot()).unwrap()
        })
    }

    pub fn eth0(&self) -> Interface {
        self.snapshot().named("eth0").unwrap().clone()
    }

    pub fn mac(&self) -> MacAddr {
        self.eth0().mac.unwrap()
    }

    pub fn has(&self, ip: &str) -> bool {
        let ip: IpAddr = ip.parse().unwrap();
        self.snapshot().addresses.iter().any(|address| address.ip == ip)
    }

    pub fn record(&self) -> PathBuf {
        self.dir.path().join("addresses.json")
    }

    pub fn manager(&self) -> Node {
        let (sender, events) = channel();
        let record = self.record();
        let manager = self.inside(|| Manager::new(&record, move |event| drop(sender.send(event))).unwrap());
        Node { manager, events, seen: Vec::new() }
    }

    /// Where this host thinks that `ip` is.
    pub fn neighbor(&self, ip: &str) -> String {
        let text = self.ip(&format!("neighbour show {ip} dev eth0"));
        text.split_whitespace().skip_while(|word| *word != "lladdr").nth(1).unwrap_or_default().to_owned()
    }

    /// Answers every datagram with its name, until it is dropped.
    pub fn answer(&self) -> Answering {
        let stop = Arc::new(AtomicBool::new(false));
        for at in ["0.0.0.0", "::"] {
            let socket = self.inside(|| {
                let any = SocketAddr::new(at.parse().unwrap(), PORT);
                let socket = socket2::Socket::new(socket2::Domain::for_address(any), socket2::Type::DGRAM, None).unwrap();
                if any.is_ipv6() {
                    socket.set_only_v6(true).unwrap();
                }
                socket.bind(&any.into()).unwrap();
                UdpSocket::from(socket)
            });
            socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
            let (name, stop) = (self.name.clone(), stop.clone());
            std::thread::spawn(move || {
                let mut buffer = [0; 64];
                while !stop.load(Ordering::Relaxed) {
                    if let Ok((_, from)) = socket.recv_from(&mut buffer) {
                        let _ = socket.send_to(name.as_bytes(), from);
                    }
                }
            });
        }
        Answering(stop)
    }

    /// Asks `ip` every two milliseconds until `host` answers; gives how long after `since` that was.
    pub fn reaches(&self, ip: &str, host: &str, since: Instant) -> Duration {
        let to = SocketAddr::new(ip.parse().unwrap(), PORT);
        let socket = self.inside(|| UdpSocket::bind(if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" }).unwrap());
        socket.set_read_timeout(Some(Duration::from_millis(2))).unwrap();
        let mut buffer = [0; 64];
        while since.elapsed() < LIMIT {
            let _ = socket.send_to(b"who", to);
            match socket.recv_from(&mut buffer) {
                Ok((length, _)) if &buffer[..length] == host.as_bytes() => return since.elapsed(),
                Err(why) if !matches!(why.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::HostUnreachable) => {
                    panic!("{ip}: {why}")
                }
                _ => {}
            }
        }
        panic!("{} does not reach {host} at {ip}: it is at {:?}", self.name, self.neighbor(ip));
    }
}

pub struct Answering(Arc<AtomicBool>);

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A manager and what it told.
pub struct Node {
    pub manager: Manager,
    events: Receiver<Event>,
    pub seen: Vec<Event>,
}

impl Node {
    /// The next event of this kind; those before it are in `seen`.
    pub fn event<T>(&mut self, wanted: impl Fn(&Event) -> Option<T>) -> T {
        let deadline = Instant::now() + LIMIT;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let event = self.events.recv_timeout(left).unwrap_or_else(|_| panic!("it did not happen; seen: {:#?}", self.seen));
            let found = wanted(&event);
            self.seen.push(event);
            if let Some(found) = found {
                return found;
            }
        }
    }

    /// What was told until now.
    pub fn told(&mut self) -> &[Event] {
        self.seen.extend(self.events.try_iter());
        &self.seen
    }
}

pub fn wanted(text: &str) -> Wanted {
    text.parse().unwrap()
}

/// Waits for what must become true.
pub fn until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + LIMIT;
    while !done() {
        assert!(Instant::now() < deadline, "{what}: never");
        std::thread::sleep(Duration::from_millis(5));
    }
}

pub fn run(command: &[&str]) -> String {
    let output = Command::new(command[0]).args(&command[1..]).stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}
