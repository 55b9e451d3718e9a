//! Noting connections: a set for each server, family and protocol, which outlives every change of the rules.

use super::super::limits;
use super::super::members::Member;
use super::super::settings::Protocol;
use super::{Family, Text};
use std::fmt::Write as _;

impl Text<'_> {
    /// For every server of the farm, not only for those that live: sets are never removed while the table lives.
    pub(super) fn sets(&mut self) {
        let servers: Vec<Member> = self.settings.everybody().iter().collect();
        for family in self.families() {
            for protocol in self.protocols() {
                let (address, timeout) = match protocol {
                    Protocol::Tcp => (family, limits::TCP_FLOW),
                    Protocol::Udp => (family, limits::UDP_FLOW),
                };
                let kind = if address == Family::V4 { "ipv4_addr" } else { "ipv6_addr" };
                let set = format!("type {kind} . {kind} . inet_service . inet_service; flags dynamic,timeout");
                for member in &servers {
                    self.set(&flow(family, protocol, *member), &format!("{set}; timeout {timeout}; size {}", limits::FLOWS));
                }
                if protocol == Protocol::Tcp {
                    self.set(&closing(family), &format!("{set}; timeout {}; size {}", limits::TCP_CLOSING, limits::FLOWS));
                }
            }
            let packet = format!("typeof {}; flags dynamic,timeout", packet(family));
            for member in &servers {
                self.set(&fragments(family, *member), &format!("{packet}; timeout {}; size {}", limits::FRAGMENTS, limits::FRAGMENTED));
            }
        }
    }

    /// The sets of connections at `member`.
    pub(super) fn flows(&self, member: Member) -> Vec<String> {
        let protocols = self.protocols();
        let of = |family| protocols.iter().map(move |protocol| flow(family, *protocol, member));
        self.families().into_iter().flat_map(of).collect()
    }

    fn set(&mut self, name: &str, what: &str) {
        let _ = writeln!(self.body, "  set {name} {{ {what}; }}");
    }

    /// Chains that note that a connection is at a server, and return.
    pub(super) fn notes(&mut self) {
        for family in self.families() {
            for protocol in self.protocols() {
                for member in self.targets() {
                    self.note(family, protocol, member);
                }
            }
        }
    }

    fn note(&mut self, family: Family, protocol: Protocol, member: Member) {
        let (set, key) = (flow(family, protocol, member), key(family, protocol));
        let mut lines = Vec::new();
        if protocol == Protocol::Tcp {
            // What begins or ends is remembered for a short time only, so that short connections do not fill the
            // set; the last packets of an ending one do not make it a long one again.
            let closing = closing(family);
            let edge = format!("{}_edge", note(family, protocol, member));
            self.chain(
                &edge,
                &[
                    format!("tcp flags & (fin | rst) != 0 update @{closing} {{ {key} }}"),
                    format!("update @{set} {{ {key} timeout {} }}", limits::TCP_EDGE),
                ],
            );
            lines.push(format!("tcp flags & (fin | syn | rst) != 0 goto {edge}"));
            lines.push(format!("{key} @{closing} return"));
        }
        lines.push(format!("update @{set} {{ {key} }}"));
        self.chain(&note(family, protocol, member), &lines);
    }
}

/// Name of the set of connections at `member`.
pub(super) fn flow(family: Family, protocol: Protocol, member: Member) -> String {
    format!("{}{}_{member}", protocol.name(), family.digit())
}

/// Name of the chain that notes them.
pub(super) fn note(family: Family, protocol: Protocol, member: Member) -> String {
    format!("note_{}", flow(family, protocol, member))
}

fn closing(family: Family) -> String {
    format!("closing{}", family.digit())
}

/// Name of the set of packets whose later fragments go to `member`.
pub(super) fn fragments(family: Family, member: Member) -> String {
    format!("frag{}_{member}", family.digit())
}

/// What a connection is known by.
pub(super) fn key(family: Family, protocol: Protocol) -> String {
    let (family, protocol) = (family.word(), protocol.name());
    format!("{family} saddr . {family} daddr . {protocol} sport . {protocol} dport")
}

/// What a packet in fragments is known by.
pub(super) fn packet(family: Family) -> &'static str {
    match family {
        Family::V4 => "ip saddr . ip daddr . ip id . ip protocol",
        Family::V6 => "ip6 saddr . ip6 daddr . frag id",
    }
}
