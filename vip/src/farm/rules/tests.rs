//! Golden texts: every change of the rules is seen in a review.

use super::super::beat::{Former, Map, Seat, Stamp};
use super::super::members::Members;
use super::super::plan::Known;
use super::super::settings::{Affinity, Rule};
use super::*;
use std::cmp::Reverse;

fn farm() -> Settings {
    let mut farm = Settings::new("web-shop", &["n1", "n2", "n3"]);
    farm.rules.push(Rule { name: "http".into(), protocol: Protocol::Tcp, port: 80, affinity: Affinity::ClientIp });
    farm.rules.push(Rule { name: "dns".into(), protocol: Protocol::Udp, port: 53, affinity: Affinity::ClientPort });
    farm
}

fn local(ip: &str, node: &str) -> Local {
    Local { ip: ip.parse().unwrap(), interface: "eth0".into(), mac: [2, 0, 0, 0, 0, 0], node: node.parse().unwrap() }
}

fn plan(farm: &Settings, seats: &[(Member, u64)], arp: Member, past: &[Former]) -> Plan {
    let seats: Vec<Seat> = seats.iter().map(|(member, joined)| Seat { member: *member, run: 1, joined: *joined }).collect();
    let live: Members = seats.iter().map(|seat| seat.member).collect();
    let map = Map { stamp: Stamp { epoch: 9, by: Reverse(0) }, arp: Some(arp), serving: live, seats, former: Vec::new() };
    let macs = live.iter().map(|member| (member, vec![[2, 0, 0, 0, 0, member]; 2])).collect();
    Plan::new(&farm.shares(), &map, past, 0, Known { seated: true, macs, dropped: live })
}

#[test]
fn closed_farm() {
    let locals = [local("10.0.0.100", "10.0.0.1"), local("fd00::64", "fd00::1")];
    insta::assert_snapshot!(closed(&farm(), &locals).text);
}

#[test]
fn three_servers_answering_arp() {
    let farm = farm();
    let plan = plan(&farm, &[(0, 1), (1, 1), (2, 1)], 0, &[]);
    insta::assert_snapshot!(rules(&farm, &[local("10.0.0.100", "10.0.0.1")], &plan, Members::NONE, &BTreeSet::new()).text);
}

#[test]
fn a_server_has_returned_ipv6_not_answering() {
    let farm = farm();
    let past = [Former { serving: Members::first(2), epoch: 5 }];
    let plan = plan(&farm, &[(0, 1), (1, 1), (2, 9)], 1, &past);
    let old = BTreeSet::from(["a0r0".to_owned(), "a0r0_either7".to_owned()]);
    insta::assert_snapshot!(rules(&farm, &[local("fd00::64", "fe80::1")], &plan, Members::NONE.with(2), &old).text);
}

#[test]
fn names_of_modules_are_escaped() {
    assert_eq!(table("web-shop_1"), "understudy_farm_web_2dshop_5f1");
    assert_eq!(table("a\"}; x"), "understudy_farm_a_22_7d_3b_20x");
    assert_ne!(table("a-b"), table("a_2db"));
}
