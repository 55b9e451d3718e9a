//! Farms on a switch, with the kernel's own filter: what the clients see when servers die, return, are drained, and
//! when the farm splits. Everything is in network namespaces of its own. Needs root, `ip` and `nft`.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on ends")]

mod clients;
mod net;
mod nodes;

use clients::{Long, Saw, ask, ask_from, datagram};
use nodes::{BY_IP, BY_PORT, DATAGRAMS, Servers, V4, V6, name, wait};
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::{Mutex, MutexGuard};

/// One farm at a time: each has threads enough.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

fn vip(ip: &str, port: u16) -> SocketAddr {
    SocketAddr::new(ip.parse().unwrap(), port)
}

/// `count` addresses for each of the two families on a client's host.
fn addresses(servers: &Servers, host: usize, count: u16) -> Vec<IpAddr> {
    let mut all: Vec<IpAddr> = Vec::new();
    let mut lines = String::new();
    for n in 0..count {
        let v4 = format!("10.9.{host}.{}", n + 1);
        let v6 = format!("fd09::{host}:{:x}", n + 1);
        lines += &format!("address add {v4}/16 dev eth0\naddress add {v6}/64 dev eth0 nodad\n");
        all.extend([v4.parse::<IpAddr>().unwrap(), v6.parse().unwrap()]);
    }
    servers.lan.hosts[host - 1].ip(&lines);
    all
}

/// 2,000 connections and 400 datagrams of two clients' hosts, each at the server that was named beforehand.
#[test]
fn every_connection_is_predicted() {
    let _alone = alone();
    let servers = Servers::start(3, 2);
    let mut counts: BTreeMap<String, u32> = BTreeMap::new();
    for host in [4, 5] {
        let from = addresses(&servers, host, 125);
        let answers = servers.lan.hosts[host - 1].inside(|| {
            let mut answers = Vec::new();
            for (port, ip) in [BY_IP, BY_PORT].into_iter().flat_map(|port| from.iter().map(move |ip| (port, *ip))) {
                for _ in 0..2 {
                    let to = vip(if ip.is_ipv4() { V4 } else { V6 }, port);
                    let (client, server) = ask(ip, to).unwrap_or_else(|why| panic!("{ip} to {to}: {why}"));
                    answers.push((client, port, server));
                }
            }
            answers
        });
        assert_eq!(answers.len(), 1_000);
        for (client, port, server) in answers {
            assert_eq!(server, servers.whose(2, client, port), "{client} to port {port}");
            *counts.entry(server).or_default() += u32::from(port == BY_PORT);
        }
        fragments(&servers, host, &from[..50]);
    }
    assert_eq!(counts.len(), 3);
    assert!(counts.values().all(|count| (250..420).contains(count)), "{counts:?}");
}

/// Datagrams, whole and in many fragments, of one client come to one server, and whole.
fn fragments(servers: &Servers, host: usize, from: &[IpAddr]) {
    for ip in from {
        let (client, answers) = servers.lan.hosts[host - 1].inside(|| {
            let socket = UdpSocket::bind(SocketAddr::new(*ip, 0)).unwrap();
            let to = vip(if ip.is_ipv4() { V4 } else { V6 }, DATAGRAMS);
            let ask = |length| datagram(&socket, to, length).unwrap_or_else(|why| panic!("{ip}, {length} bytes: {why}"));
            (socket.local_addr().unwrap(), [ask(100), ask(8_000)])
        });
        let server = servers.whose(1, client, DATAGRAMS);
        assert_eq!(answers, [format!("{server} 100"), format!("{server} 8000")]);
    }
}

fn everywhere() -> [SocketAddr; 2] {
    [vip(V4, BY_PORT), vip(V6, BY_PORT)]
}

/// Every connection that was not at one of `dead` goes on where it was.
fn survive(saw: &[Saw], dead: &[usize]) {
    let dead: Vec<String> = dead.iter().map(|number| name(*number)).collect();
    for saw in saw {
        assert!(saw.servers.len() == 1, "a connection was moved: {saw:?}");
        assert!(dead.contains(&saw.servers[0]) || saw.error.is_none(), "a survivor's connection broke: {saw:?}");
    }
}

/// New connections find a server, and the one that is named.
fn all_served(servers: &Servers, asked: usize, client: usize) {
    for number in 0..30 {
        let to = everywhere()[number % 2];
        let from = if to.is_ipv4() { "0.0.0.0" } else { "::" };
        let (client, server) = servers.lan.hosts[client - 1].inside(|| ask(from.parse().unwrap(), to)).expect("somebody answers");
        assert_eq!(server, servers.whose(asked, client, BY_PORT));
    }
}

/// Connections from certain ports. A second time, their earlier ones, which other servers had, do not matter.
fn same_ports(servers: &Servers, client: usize, before: Option<&[String]>) -> Vec<String> {
    let ports = 20_000..20_040;
    let answers: Vec<_> = servers.lan.hosts[client - 1].inside(|| {
        let from = |port| SocketAddr::new(format!("10.9.0.{client}").parse().unwrap(), port);
        ports.map(|port| ask_from(from(port), vip(V4, BY_PORT)).unwrap_or_else(|why| panic!("from {port}: {why}"))).collect()
    });
    for (client, server) in &answers {
        assert_eq!(*server, servers.whose(2, *client, BY_PORT), "{client}");
    }
    let names: Vec<String> = answers.into_iter().map(|(_, server)| server).collect();
    assert!(before.is_none_or(|before| before != names), "some are elsewhere than before");
    names
}

/// Death, return, drain and the death of the server that answers ARP, one after the other, with connections of
/// every age: none breaks unless its own server died.
#[test]
fn connections_outlive_everything_but_their_server() {
    let _alone = alone();
    let mut servers = Servers::start(4, 2);
    let client = servers.lan.hosts[4].clone();
    assert_eq!(servers.arp(3), name(1));
    let first = Long::start(&client, &everywhere(), 20);

    servers.power_off(3);
    servers.wait_whole(&[1, 2, 4]);
    all_served(&servers, 2, 6);
    first.answered_again();
    let second = Long::start(&client, &everywhere(), 20);

    servers.power_on(3);
    servers.wait_whole(&[1, 2, 3, 4]);
    all_served(&servers, 3, 6);
    second.answered_again();
    survive(&first.all(), &[3]);
    survive(&second.all(), &[]);

    let again = same_ports(&servers, 6, None);
    servers.ask(1, |farm, now| farm.drain("n4", true, now)).unwrap();
    servers.wait_whole(&[1, 2, 3]);
    same_ports(&servers, 6, Some(&again));
    second.answered_again();
    survive(&second.all(), &[]);
    all_served(&servers, 4, 6);
    assert!(second.all().iter().any(|saw| saw.servers == [name(4)]), "the drained server has some");

    // The new one that answers ARP has directed none of these: those of the drained server, those that the
    // others have from before the third one came back.
    servers.power_off(1);
    servers.wait_whole(&[2, 3]);
    assert_ne!(servers.arp(2), name(1));
    second.answered_again();
    all_served(&servers, 2, 6);

    survive(&first.stop(), &[3, 1]);
    survive(&second.stop(), &[1]);
}

/// The halves of a split farm each serve whoever reaches them; healed they are one, and nothing breaks by that.
#[test]
fn a_split_farm_heals() {
    let _alone = alone();
    let servers = Servers::start(3, 2);
    let [here, there] = [4, 5].map(|client| servers.lan.hosts[client - 1].clone());
    servers.split(&[1, 4], true);
    servers.wait_whole(&[1]);
    servers.wait_whole(&[2, 3]);
    assert_eq!((servers.arp(1), servers.arp(3)), (name(1), name(2)));
    let during = [Long::start(&here, &everywhere(), 20), Long::start(&there, &everywhere(), 20)];
    // Each half has announced the address for the last time but for every minute: an announcement that reaches the
    // other half's clients before the servers have heard each other takes these clients to a server that cannot know.
    std::thread::sleep(vip::farm::limits::ANNOUNCE_AT[4] + std::time::Duration::from_millis(500));
    servers.split(&[1, 4], false);
    servers.wait_whole(&[1, 2, 3]);
    assert_eq!(servers.arp(1), servers.arp(3));
    for long in during {
        long.answered_again();
        survive(&long.stop(), &[]);
    }
    all_served(&servers, 3, 5);
    all_served(&servers, 2, 4);
}

/// A daemon that stops leaves nothing; what a killed one leaves is gone when the next one runs. Nobody else's
/// rules are touched. Clients of a killed daemon's host are served meanwhile.
#[test]
fn nothing_is_left_behind() {
    let _alone = alone();
    let mut servers = Servers::start(2, 1);
    let host = servers.lan.hosts[0].clone();
    host.run(
        "nft -f -",
        "table inet firewall {\n  chain in {\n    type filter hook input priority 0; policy accept;\n    tcp dport 9 drop\n  }\n}\n",
    );
    let foreign = host.run("nft list table inet firewall", "");

    assert_eq!(servers.arp(2), name(1));
    servers.kill_daemon(1);
    servers.wait_whole(&[2]);
    assert!(host.run("nft list tables", "").contains("understudy_farm_web_2dshop"));
    assert!(host.run("ip -o address", "").contains(V4));
    all_served(&servers, 2, 3);
    let removed = host.inside(|| vip::farm::filter::remove_stale("nft", &["web-shop"])).unwrap();
    assert_eq!(removed, [""; 0]);

    servers.boot(1);
    servers.wait_whole(&[1, 2]);
    all_served(&servers, 1, 3);
    let removed = host.inside(|| vip::farm::filter::remove_stale("nft", &["another"])).unwrap();
    assert_eq!(removed, ["understudy_farm_web_2dshop"]);

    servers.stop_daemon(1);
    wait("the other one goes on", || servers.status(2).servers.iter().filter(|server| server.serving).count() == 1);
    assert_eq!(host.run("nft list tables", ""), "table inet firewall\n");
    assert_eq!(host.run("nft list table inet firewall", ""), foreign);
    let addresses = host.run("ip -o address", "");
    assert!(!addresses.contains(V4) && !addresses.contains(V6), "{addresses}");
}

#[test]
fn a_missing_nft_or_interface_is_said_before_anything_is_changed() {
    let _alone = alone();
    let lan = net::Lan::new(1);
    let host = &lan.hosts[0];
    let before = host.run("ip -o address", "");
    let start = |change: &(dyn Fn(&mut vip::farm::Settings) + Sync)| {
        let mut settings = nodes::settings(2);
        change(&mut settings);
        host.inside(|| vip::farm::Farm::new(settings, "n1", std::time::Duration::ZERO).err().map(|why| why.to_string())).unwrap()
    };
    let why = start(&|settings| settings.nft = "/nowhere/nft".into());
    assert!(why.contains("/nowhere/nft") && why.contains("apt install nftables"), "{why}");
    let why = start(&|settings| settings.addresses[0].ip = "10.77.0.1".parse().unwrap());
    assert!(why.contains("10.77.0.1") && why.contains("subnet"), "{why}");
    let why = start(&|settings| settings.addresses[0].interface = Some("eth9".into()));
    assert!(why.contains("no interface eth9"), "{why}");
    assert_eq!(host.run("ip -o address", ""), before);
    assert_eq!(host.run("nft list tables", ""), "");
}
