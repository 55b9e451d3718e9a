//! What is sent when an address is taken, and that clients follow.
#![allow(clippy::unwrap_used)] // a panic is how a test fails

mod support;

use pnet_base::MacAddr;
use std::net::IpAddr;
use std::time::Instant;
use support::{Host, Net, in_own_network, until, wanted};
use vip::announce::socket::{Kind, PacketSocket};
use vip::announce::{arp, frames, neighbor};

const V4: &str = "10.0.0.100";
const V6: &str = "fd00::64";

/// What a third machine hears of `host`, until `enough`.
fn hear(socket: &PacketSocket, from: MacAddr, mut enough: impl FnMut(&[Vec<u8>]) -> bool) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    until("frames are heard", || {
        let mut buffer = [0; 512];
        while let Some(frame) = socket.receive(&mut buffer).unwrap() {
            if frame[6..12] == from.octets() {
                all.push(frame.to_vec());
            }
        }
        enough(&all)
    });
    all
}

#[test]
fn what_is_really_sent() {
    in_own_network("what_is_really_sent", || {
        let net = Net::new(1);
        let mac = net.nodes[0].mac();
        let [arps, neighbors] = [Kind::Arp, Kind::Neighbor].map(|kind| {
            let eth0 = net.client.eth0();
            net.client.inside(|| PacketSocket::open(&eth0, kind).unwrap())
        });
        let node = net.nodes[0].manager();
        node.manager.acquire("pg", &[wanted("10.0.0.100/24"), wanted("fd00::64/64")]).unwrap();

        // A question, the burst, and the question again at its end. On a busy machine steps of the burst fall together.
        let about = |frame: &&Vec<u8>| frame[38..42] == [10, 0, 0, 100];
        let ip = V4.parse().unwrap();
        let (question, pair) = (arp::probe(ip, mac), [arp::request(ip, mac), arp::reply(ip, mac)]);
        let heard = hear(&arps, mac, |all| all.iter().filter(|frame| **frame == question).count() >= 2);
        let heard: Vec<Vec<u8>> = heard.iter().filter(about).cloned().collect();
        let [first, burst @ .., last] = &heard[..] else { panic!("{heard:?}") };
        assert_eq!([first, last], [&question, &question], "asked before it is claimed, and at the end");
        assert!((2..=5).contains(&(burst.len() / 2)), "{burst:?}");
        burst.chunks(2).for_each(|forms| assert_eq!(forms, pair));

        let target: [u8; 16] = V6.parse::<std::net::Ipv6Addr>().unwrap().octets();
        let about = |frame: &&Vec<u8>| frame.len() >= 78 && frame[62..78] == target;
        let asks = |all: &[Vec<u8>]| all.iter().filter(about).filter(|frame| frame[54] == 135).count();
        let heard = hear(&neighbors, mac, |all| asks(all) >= 2);
        let heard: Vec<Vec<u8>> = heard.iter().filter(about).cloned().collect();
        let [first, burst @ .., last] = &heard[..] else { panic!("{heard:?}") };
        for question in [first, last] {
            assert_eq!((question[54], &question[22..24]), (135, &[0xfe, 0x80][..]), "from the link-local address: nobody else is answered");
        }
        assert!((2..=5).contains(&burst.len()), "{burst:?}");
        burst.iter().for_each(|frame| assert_eq!(*frame, neighbor::advertisement(V6.parse().unwrap(), mac)));
    });
}

/// The address goes from node to node while a client talks to it; its entry is of any age.
#[test]
fn clients_follow() {
    in_own_network("clients_follow", || {
        let net = Net::new(2);
        let _answering: Vec<_> = net.nodes.iter().map(Host::answer).collect();
        let managers = [net.nodes[0].manager(), net.nodes[1].manager()];
        let both = [wanted("10.0.0.100/24"), wanted("fd00::64/64")];
        for turn in 0..6 {
            let at = turn % 2;
            managers[1 - at].manager.release("pg").unwrap();
            if turn == 4 {
                for (ip, host) in [(V4, &net.nodes[0]), (V6, &net.nodes[0])] {
                    let wrong = host.mac(); // where it is not
                    net.client.ip(&format!("neighbour replace {ip} lladdr {wrong} dev eth0 nud stale"));
                }
            }
            let since = Instant::now();
            managers[at].manager.acquire("pg", &both).unwrap();
            for ip in [V4, V6] {
                let after = net.client.reaches(ip, &net.nodes[at].name, since);
                eprintln!("turn {turn}: {ip} answered by {} after {after:?}", net.nodes[at].name);
            }
        }
    });
}

/// The node that had the address is cut off, with the address.
#[test]
fn the_other_is_unplugged() {
    in_own_network("the_other_is_unplugged", || {
        let net = Net::new(2);
        let _answering: Vec<_> = net.nodes.iter().map(Host::answer).collect();
        let both = [wanted("10.0.0.100/24"), wanted("fd00::64/64")];
        let first = net.nodes[0].manager();
        first.manager.acquire("pg", &both).unwrap();
        for ip in [V4, V6] {
            net.client.reaches(ip, "node1", Instant::now());
        }
        support::run(&["ip", "link", "set", "node1", "down"]);
        let second = net.nodes[1].manager();
        let since = Instant::now();
        second.manager.acquire("pg", &both).unwrap();
        for ip in [V4, V6] {
            eprintln!("{ip} after {:?}", net.client.reaches(ip, "node2", since));
        }
        // It comes back with the address: clients stay, whoever speaks.
        support::run(&["ip", "link", "set", "node1", "up"]);
        for ip in [V4, V6] {
            net.client.reaches(ip, "node2", Instant::now());
        }
    });
}

/// Linux does not let a young entry be changed by just any answer, and an IPv6 entry only with the override flag.
#[test]
fn young_entries() {
    in_own_network("young_entries", || {
        let net = Net::new(2);
        let (old, new) = (net.nodes[0].mac(), net.nodes[1].mac());
        net.client.sysctl("ipv4/neigh/eth0/locktime", "1000000"); // every entry is young
        for ip in [V4, V6] {
            net.client.ip(&format!("neighbour replace {ip} lladdr {old} dev eth0 nud reachable"));
        }
        net.client.ip(&format!("neighbour replace 10.0.0.50 lladdr {old} dev eth0 nud reachable"));
        net.client.ip(&format!("neighbour replace fd00::50 lladdr {old} dev eth0 nud reachable"));
        let eth0 = net.nodes[1].eth0();
        let [arps, neighbors] = [Kind::Arp, Kind::Neighbor].map(|kind| net.nodes[1].inside(|| PacketSocket::open(&eth0, kind).unwrap()));

        // The control: another target than the sender's own changes nothing. What is sent after it is heard, so it was.
        let mut wrong = arp::reply(V4.parse().unwrap(), new);
        wrong[32..38].copy_from_slice(&net.client.mac().octets());
        arps.send(&wrong).unwrap();
        arps.send(&arp::reply("10.0.0.50".parse().unwrap(), new)).unwrap();
        until("the reply form is heard", || net.client.neighbor("10.0.0.50") == new.to_string());
        assert_eq!(net.client.neighbor(V4), old.to_string(), "this kernel has no such rule: the test shows nothing");
        for frame in frames(V4.parse().unwrap(), new) {
            net.client.ip(&format!("neighbour replace {V4} lladdr {old} dev eth0 nud reachable"));
            arps.send(&frame).unwrap();
            until("each form changes the entry", || net.client.neighbor(V4) == new.to_string());
        }

        let mut wrong = neighbor::advertisement(V6.parse().unwrap(), new);
        wrong[58] = 0; // no override; the sum with it
        let sum = u32::from(u16::from_be_bytes([wrong[56], wrong[57]])) + 0x2000;
        wrong[56..58].copy_from_slice(&((sum & 0xffff) as u16 + (sum >> 16) as u16).to_be_bytes());
        assert!(vip::announce::rival::claim(&wrong).is_some(), "well made, but for the flag");
        neighbors.send(&wrong).unwrap();
        neighbors.send(&neighbor::advertisement("fd00::50".parse().unwrap(), new)).unwrap();
        until("the advertisement is heard", || net.client.neighbor("fd00::50") == new.to_string());
        assert_eq!(net.client.neighbor(V6), old.to_string(), "this kernel has no such rule: the test shows nothing");
        neighbors.send(&frames(V6.parse::<IpAddr>().unwrap(), new)[0]).unwrap();
        until("the advertisement changes the entry", || net.client.neighbor(V6) == new.to_string());
    });
}

/// The interface gets another Ethernet address (a bond changes its port): told at once.
#[test]
fn another_ethernet_address() {
    in_own_network("another_ethernet_address", || {
        let net = Net::new(1);
        let _answering = net.nodes[0].answer();
        let node = net.nodes[0].manager();
        node.manager.acquire("pg", &[wanted("10.0.0.100/24"), wanted("fd00::64/64")]).unwrap();
        for ip in [V4, V6] {
            net.client.reaches(ip, "node1", Instant::now());
        }
        net.nodes[0].ip("link set eth0 address 02:00:00:00:00:77");
        for ip in [V4, V6] {
            until("the client knows", || net.client.neighbor(ip) == "02:00:00:00:00:77");
            net.client.reaches(ip, "node1", Instant::now());
        }
    });
}
