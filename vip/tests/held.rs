//! What happens to addresses that are held: rivals, deletion, interfaces that go, a daemon that dies.
#![allow(clippy::unwrap_used)] // a panic is how a test fails

mod support;

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::{Arc, OnceLock};
use support::{Host, LIMIT, Net, Node, in_own_network, until, wanted};
use vip::announce::frames;
use vip::announce::socket::{Kind, PacketSocket};
use vip::manager::{Event, Manager, OnLoss, Reason, VipError, Wanted};

const V4: &str = "10.0.0.100";
const V6: &str = "fd00::64";

fn both() -> Vec<Wanted> {
    vec![wanted("10.0.0.100/24"), wanted("fd00::64/64")]
}

fn rival(node: &mut Node, ip: &str, from: &Host) -> bool {
    let (ip, from): (IpAddr, _) = (ip.parse().unwrap(), from.mac());
    node.event(|event| match event {
        Event::RivalSeen { ip: seen, mac, held, interface, module } if *seen == ip && *mac == from => {
            assert_eq!((interface.as_str(), module.as_str()), ("eth0", "pg"));
            Some(*held)
        }
        _ => None,
    })
}

fn lost(node: &mut Node, ip: &str, reason: Reason) {
    let ip: IpAddr = ip.parse().unwrap();
    node.event(|event| matches!(event, Event::Lost(held) if held.ip == ip && held.lost == Some(reason)).then_some(()));
}

fn restored(node: &mut Node, ip: &str) {
    let ip: IpAddr = ip.parse().unwrap();
    node.event(|event| matches!(event, Event::Restored(held) if held.ip == ip && held.lost.is_none()).then_some(()));
}

/// The daemon of the other node died, its kernel did not: it answers for the addresses.
#[test]
fn a_rival_before_the_takeover() {
    in_own_network("a_rival_before_the_takeover", || {
        for ip in [V4, V6] {
            let net = Net::new(2);
            let [dead, node] = &net.nodes[..] else { unreachable!() };
            let _answering: Vec<_> = net.nodes.iter().map(Host::answer).collect();
            let one = if ip == V4 { wanted("10.0.0.100/24") } else { wanted("fd00::64/64") };
            let nodad = if ip == V4 { "" } else { " nodad" };
            dead.ip(&format!("address add {one} dev eth0{nodad}"));
            let mut manager = node.manager();
            let held = manager.manager.acquire("pg", &[one]).unwrap();
            assert_eq!(held.len(), 1, "a rival is reported and stops nothing");
            rival(&mut manager, ip, dead);
            net.client.reaches(ip, "node2", std::time::Instant::now());
            drop(manager);
            support::run(&["ip", "link", "del", "br0"]);
            for name in ["client", "node1", "node2"] {
                support::run(&["ip", "link", "del", name]);
            }
        }
    });
}

/// Somebody claims the address while it is held: told, and answered, also among nonsense.
#[test]
fn a_rival_later() {
    in_own_network("a_rival_later", || {
        let net = Net::new(2);
        let [node, other] = &net.nodes[..] else { unreachable!() };
        let _answering: Vec<_> = net.nodes.iter().map(Host::answer).collect();
        let mut manager = node.manager();
        manager.manager.acquire("pg", &both()).unwrap();
        let eth0 = other.eth0();
        for (ip, kind) in [(V4, Kind::Arp), (V6, Kind::Neighbor)] {
            net.client.reaches(ip, "node1", std::time::Instant::now());
            let socket = other.inside(|| PacketSocket::open(&eth0, kind).unwrap());
            for frame in frames(ip.parse().unwrap(), eth0.mac.unwrap()) {
                for length in 14..frame.len() {
                    let _ = socket.send(&frame[..length]);
                }
                socket.send(&frame).unwrap();
            }
            assert!(rival(&mut manager, ip, other), "it was held");
            until("the client is told the truth again", || net.client.neighbor(ip) == node.mac().to_string());
            net.client.reaches(ip, "node1", std::time::Instant::now());
        }
    });
}

/// Two nodes that both hold it: each hears the other.
#[test]
fn both_claim() {
    in_own_network("both_claim", || {
        let net = Net::new(2);
        let mut managers: Vec<Node> = net.nodes.iter().map(Host::manager).collect();
        for node in &managers {
            node.manager.acquire("pg", &both()).unwrap();
        }
        let [first, second] = &mut managers[..] else { unreachable!() };
        // In any order: one hears them as they come.
        for (node, other) in [(first, &net.nodes[1]), (second, &net.nodes[0])] {
            let mut missing: Vec<IpAddr> = [V4, V6].map(|ip| ip.parse().unwrap()).to_vec();
            let from = other.mac();
            node.event(|event| match event {
                Event::RivalSeen { ip, mac, .. } if *mac == from => Some(*ip),
                _ => None,
            });
            until("each address's rival is told", || {
                for event in node.told() {
                    if let Event::RivalSeen { ip, mac, .. } = event
                        && *mac == from
                    {
                        missing.retain(|other| other != ip);
                    }
                }
                missing.is_empty()
            });
        }
    });
}

#[test]
fn a_deleted_address_is_put_back_or_reported() {
    in_own_network("a_deleted_address_is_put_back_or_reported", || {
        let net = Net::new(1);
        let node = &net.nodes[0];
        let mut manager = node.manager();
        let mut all = both();
        all.push(Wanted { on_loss: OnLoss::Fail, ..wanted("10.0.0.101/24") });
        manager.manager.acquire("pg", &all).unwrap();
        for (address, ip) in [("10.0.0.100/24", V4), ("fd00::64/64", V6)] {
            node.ip(&format!("address del {address} dev eth0"));
            lost(&mut manager, ip, Reason::Deleted);
            restored(&mut manager, ip);
            assert!(node.has(ip));
        }
        node.ip("address del 10.0.0.101/24 dev eth0");
        lost(&mut manager, "10.0.0.101", Reason::Deleted);
        // Another one goes and comes: the first was looked at as well, and left alone.
        node.ip("address del 10.0.0.100/24 dev eth0");
        lost(&mut manager, V4, Reason::Deleted);
        restored(&mut manager, V4);
        assert!(!node.has("10.0.0.101"));
        let held = manager.manager.held().unwrap();
        assert_eq!(held.iter().filter(|held| held.lost == Some(Reason::Deleted)).count(), 1);
        manager.manager.release("pg").unwrap();
        assert!(!node.has(V4) && !node.has(V6) && !node.record().exists());
    });
}

#[test]
fn an_interface_goes_and_comes() {
    in_own_network("an_interface_goes_and_comes", || {
        let net = Net::new(1);
        let node = &net.nodes[0];
        let _answering = node.answer();
        let mut manager = node.manager();
        manager.manager.acquire("pg", &[wanted("10.0.0.100/24"), Wanted { on_loss: OnLoss::Fail, ..wanted("10.0.0.101/24") }]).unwrap();
        manager.manager.acquire("web", &[wanted("fd00::64/64")]).unwrap();

        node.ip("link set eth0 down");
        lost(&mut manager, V4, Reason::InterfaceDown);
        lost(&mut manager, "10.0.0.101", Reason::InterfaceDown);
        lost(&mut manager, V6, Reason::InterfaceDown);
        node.ip("link set eth0 up");
        restored(&mut manager, V4);
        restored(&mut manager, V6);
        net.client.reaches(V6, "node1", std::time::Instant::now());

        support::run(&["ip", "link", "set", "node1", "down"]); // the switch's port
        lost(&mut manager, V4, Reason::NoCarrier);
        support::run(&["ip", "link", "set", "node1", "up"]);
        restored(&mut manager, V4);
        net.client.reaches(V4, "node1", std::time::Instant::now());

        node.ip("link set eth0 name other0"); // as good as gone
        lost(&mut manager, V4, Reason::InterfaceGone);
        node.ip("link set other0 name eth0");
        restored(&mut manager, V4);
        manager.manager.release("pg").unwrap();
        manager.manager.release("web").unwrap();
        assert!(!node.has(V4) && !node.has("10.0.0.101") && !node.has(V6));
    });
}

/// An interface that was removed and made again has another number; release does not stumble over one that is gone.
#[test]
fn an_interface_is_made_again() {
    in_own_network("an_interface_is_made_again", || {
        let net = Net::new(1);
        let node = &net.nodes[0];
        let make = || {
            node.ip("link add spare type veth peer name spare-end");
            node.ip("link set spare up");
            node.ip("link set spare-end up");
        };
        make();
        let mut manager = node.manager();
        let spare = |text: &str| Wanted { interface: Some("spare".into()), ..wanted(text) };
        manager.manager.acquire("pg", &[spare("192.0.2.7/24"), spare("2001:db8::7/64")]).unwrap();
        node.ip("link del spare");
        lost(&mut manager, "192.0.2.7", Reason::InterfaceGone);
        make();
        restored(&mut manager, "192.0.2.7");
        until("IPv6 as well", || node.has("2001:db8::7"));
        node.ip("link del spare");
        manager.manager.release("pg").unwrap();
        assert_eq!(manager.manager.held().unwrap(), []);
    });
}

/// The daemon is killed; the next one removes what it left, and nothing else.
#[test]
fn a_dead_daemons_addresses() {
    const DAEMON: &str = "UNDERSTUDY_TEST_DAEMON";
    if let Some(record) = std::env::var_os(DAEMON) {
        let manager = Manager::new(record.as_ref(), |_| ()).unwrap();
        manager.acquire("pg", &both()).unwrap();
        manager.acquire("web", &[wanted("10.0.0.102/32")]).unwrap();
        std::io::stderr().write_all(b"#").unwrap();
        std::thread::sleep(LIMIT);
        return;
    }
    in_own_network("a_dead_daemons_addresses", || {
        let net = Net::new(1);
        let node = &net.nodes[0];
        node.ip("address add 10.0.0.200/24 dev eth0");
        let mut daemon = node.inside(|| {
            let mut command = Command::new(std::env::current_exe().unwrap());
            command.args(["--exact", "a_dead_daemons_addresses", "--nocapture"]).env(DAEMON, node.record());
            command.stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap()
        });
        daemon.stderr.take().unwrap().read_exact(&mut [0]).unwrap();
        daemon.kill().unwrap();
        daemon.wait().unwrap();
        for ip in [V4, V6, "10.0.0.102"] {
            assert!(node.has(ip), "the kernel keeps {ip}");
        }
        node.ip("address del 10.0.0.102/32 dev eth0"); // gone already
        let mut removed: Vec<String> =
            node.inside(|| Manager::clean_stale(&node.record()).unwrap()).iter().map(|address| address.ip.to_string()).collect();
        removed.sort();
        assert_eq!(removed, [V4, V6]);
        assert!(!node.has(V4) && !node.has(V6) && !node.record().exists());
        assert!(node.has("10.0.0.200") && node.has("10.0.0.11") && node.has("fd00::11"), "others' addresses stay");
        assert_eq!(node.inside(|| Manager::clean_stale(&node.record()).unwrap()), []);
        std::fs::write(node.record(), "{\"version\": 9}").unwrap();
        let told = Manager::clean_stale(&node.record()).unwrap_err().to_string();
        assert!(told.contains("version is 9") && told.contains("by hand"), "{told}");
    });
}

/// Clients that wait for an answer notice at once that the address is given up.
#[test]
fn connections_are_reset() {
    in_own_network("connections_are_reset", || {
        let net = Net::new(1);
        let node = &net.nodes[0];
        let mut manager = node.manager();
        let reset = |text: &str| Wanted { reset_connections: true, ..wanted(text) };
        manager.manager.acquire("pg", &[reset("10.0.0.100/24"), reset("fd00::64/64")]).unwrap();
        manager.manager.acquire("other", &[wanted("10.0.0.101/24")]).unwrap();
        let listener = node.inside(|| TcpListener::bind("[::]:7001").unwrap()); // speaks IPv4 as well
        let connect = |ip: &str| {
            let to = SocketAddr::new(ip.parse().unwrap(), 7001);
            let stream = net.client.inside(|| TcpStream::connect(to).unwrap());
            stream.set_read_timeout(Some(LIMIT)).unwrap();
            (stream, listener.accept().unwrap().0)
        };
        let mut given_up = [connect(V4), connect(V6)];
        let (mut kept, mut kept_there) = connect("10.0.0.101");
        manager.manager.release("pg").unwrap();
        for (stream, there) in &mut given_up {
            assert_eq!(stream.read(&mut [0]).unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
            assert!(there.write(b"x").is_err(), "the server's end is closed as well");
        }
        for _ in 0..2 {
            let count = manager.event(|event| match event {
                Event::Released { reset, .. } => Some(reset.clone()),
                _ => None,
            });
            assert_eq!(count, Some(Ok(1)));
        }
        kept_there.write_all(b"x").unwrap();
        kept.read_exact(&mut [0]).unwrap();
    });
}

/// What cannot be done is refused with the reason, and nothing is left of the attempt.
#[test]
fn refusals_leave_nothing() {
    in_own_network("refusals_leave_nothing", || {
        let net = Net::new(1);
        let node = &net.nodes[0];
        node.ip("link add twin type veth peer name twin-end");
        for command in
            ["link set twin up", "link set twin-end up", "address add 10.0.7.1/24 dev twin", "address add 10.0.7.2/24 dev twin-end"]
        {
            node.ip(command);
        }
        let mut manager = node.manager();
        let good = wanted("10.0.0.100/24");
        let on = |name: &str| Wanted { interface: Some(name.into()), ..wanted("10.0.0.101/24") };
        for (bad, why) in [
            (wanted("192.0.2.1/24"), "name the interface"),
            (wanted("10.0.7.9/24"), "twin-end"),
            (on("nowhere"), "there is no interface nowhere: this node has lo"),
            (Wanted { prefix: 77, ..wanted("10.0.0.101/24") }, "1 to 32"),
            (good.clone(), "twice"),
        ] {
            let told = manager.manager.acquire("pg", &[good.clone(), bad]).unwrap_err().to_string();
            assert!(told.contains(why), "{told}");
            assert_eq!(manager.manager.held().unwrap(), []);
        }
        // The kernel refuses the second one: the first goes again.
        node.sysctl("ipv6/conf/twin/disable_ipv6", "1");
        let no_ipv6 = Wanted { interface: Some("twin".into()), ..wanted("fd00:7::9/64") };
        let told = manager.manager.acquire("pg", &[good.clone(), no_ipv6]).unwrap_err();
        assert!(matches!(&told, VipError::Address { interface, .. } if interface == "twin"), "{told}");
        assert_eq!(manager.manager.held().unwrap(), []);
        assert!(!node.record().exists());
        assert!(!node.has(V4), "the first one is still there");
        assert!(manager.told().is_empty(), "nothing happened: {:?}", manager.seen);

        // Two interfaces, two modules; the same again is no error; another's is.
        let both = [good.clone(), Wanted { interface: Some("twin".into()), ..wanted("10.0.7.9/24") }];
        manager.manager.acquire("pg", &both).unwrap();
        manager.manager.acquire("pg", &both).unwrap();
        let told = manager.manager.acquire("web", &[good]).unwrap_err().to_string();
        assert!(told.contains("belongs to module pg"), "{told}");
        assert_eq!(manager.manager.held().unwrap().len(), 2);
        let recorded = std::fs::read_to_string(node.record()).unwrap();
        assert!(recorded.contains("\"version\": 1") && recorded.contains("10.0.7.9"), "{recorded}");
        manager.manager.release("nobody").unwrap();
        manager.manager.release("pg").unwrap();
        assert_eq!(manager.manager.held().unwrap(), []);
    });
}

/// The record cannot be written: nothing is added that the next daemon would not know of.
#[test]
fn no_record_no_address() {
    in_own_network("no_record_no_address", || {
        let net = Net::new(1);
        let node = &net.nodes[0];
        let manager = node.manager();
        std::fs::remove_dir_all(node.record().parent().unwrap()).unwrap();
        let told = manager.manager.acquire("pg", &both()).unwrap_err();
        assert!(matches!(told, VipError::Record { .. }), "{told}");
        assert!(!node.has(V4) && !node.has(V6));
    });
}

/// Who is told of an event may ask the manager at once, and a listener that is slow delays no takeover.
#[test]
fn a_listener_may_call_back() {
    fn shared_between_threads<T: Send + Sync>(_: &T) {}
    in_own_network("a_listener_may_call_back", || {
        let net = Net::new(1);
        let node = &net.nodes[0];
        let place: Arc<OnceLock<Manager>> = Arc::default();
        let (inner, (sender, counts)) = (place.clone(), std::sync::mpsc::channel());
        let record = node.record();
        let manager =
            node.inside(|| Manager::new(&record, move |_| sender.send(inner.wait().held().unwrap().len()).unwrap_or_default()).unwrap());
        shared_between_threads(&manager);
        manager.acquire("pg", &both()).unwrap();
        // Only now the listener goes on.
        assert!(place.set(manager).is_ok());
        assert_eq!(counts.recv_timeout(LIMIT).unwrap(), 2);
        place.wait().release("pg").unwrap();
        assert!(!node.has(V4) && !node.has(V6));
    });
}
