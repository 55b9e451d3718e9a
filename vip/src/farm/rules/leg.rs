//! The chains of one virtual address. Names begin with `a` and its number.
//!
//! Every server directs whatever reaches it from a client, whether it answers ARP or not, so that clients with an
//! old answer are served as well. A frame from another living server has been directed already and is never sent
//! on: nothing goes in circles.

use super::super::limits::BUCKETS;
use super::super::members::{Member, Members};
use super::super::plan::Plan;
use super::super::settings::{Affinity, Protocol, Rule};
use super::flow::{flow, fragments, key, note, packet};
use super::{ALIVE, Family, Local, Text, mac};
use std::collections::BTreeMap;
use std::net::IpAddr;

const OPENS: &str = "tcp flags & (fin | syn | rst | ack) == syn";

impl Text<'_> {
    pub(super) fn leg(&mut self, leg: usize) {
        let local = self.locals[leg].clone();
        let family = Family::of(local.ip);
        let mut lines = Vec::new();
        if let Some(plan) = self.plan {
            self.senders(leg, &local, plan);
            for (number, rule) in self.settings.rules.iter().enumerate() {
                self.distribute(leg, number, rule, plan);
            }
            lines.push(format!("{} goto a{leg}_later", later_fragment(family)));
            lines.extend(self.errors(leg, &local, plan));
        }
        for (number, rule) in self.settings.rules.iter().enumerate() {
            let verdict = if self.plan.is_some() { format!("goto a{leg}r{number}") } else { "drop".to_owned() };
            lines.push(format!("{} dport {} {verdict}", rule.protocol.name(), rule.port));
        }
        self.chain(&format!("a{leg}"), &lines);
        self.entrance(leg, &local);
    }

    /// The hook: ARP and neighbour discovery first, then what is for this host and for the address.
    fn entrance(&mut self, leg: usize, local: &Local) {
        let mut lines = vec![format!("type filter hook ingress device \"{}\" priority -500; policy accept;", local.interface)];
        let [question, announcement] = asked(local.ip);
        if self.plan.is_some_and(|plan| plan.arp) {
            lines.push(format!("{question} meta protocol != @{ALIVE} drop"));
        } else {
            lines.extend([format!("{question} drop"), format!("{announcement} drop")]);
        }
        lines.push("meta pkttype != host accept".to_owned());
        lines.push(format!("{} daddr {} goto a{leg}", Family::of(local.ip).word(), local.ip));
        self.chain(&format!("a{leg}_in"), &lines);
    }

    /// A chain for each other server that sends a frame there, and one for fragments without ports.
    fn senders(&mut self, leg: usize, local: &Local, plan: &Plan) {
        let family = Family::of(local.ip);
        for (member, macs) in &plan.others {
            let Some(to) = macs.get(leg) else { continue };
            let first = format!("{} update @{} {{ {} }}", first_fragment(family), fragments(family, *member), packet(family));
            let send = format!("ether daddr set {} ether saddr set {} fwd to \"{}\"", mac(*to), mac(local.mac), local.interface);
            self.chain(&format!("a{leg}_to{member}"), &[first, send]);
        }
        let mut lines: Vec<String> = directed(leg, plan).map(|from| format!("{from} accept")).into_iter().collect();
        for member in plan.others.keys() {
            lines.push(format!("{} @{} goto a{leg}_to{member}", packet(family), fragments(family, *member)));
        }
        lines.push("accept".to_owned());
        self.chain(&format!("a{leg}_later"), &lines);
    }

    /// "Too big" and the like name a connection in their content only: everybody gets a copy, the kernel that has
    /// the connection believes it.
    fn errors(&mut self, leg: usize, local: &Local, plan: &Plan) -> Option<String> {
        let from = directed(leg, plan)?;
        let mut lines = vec![format!("{from} accept"), "limit rate over 1000/second burst 1000 packets accept".to_owned()];
        for member in plan.others.keys() {
            lines.push(copy(leg, *member, local, plan));
        }
        lines.push(format!("ether daddr set {} accept", mac(local.mac)));
        let name = format!("a{leg}_errors");
        self.chain(&name, &lines);
        Some(match local.ip {
            IpAddr::V4(_) => format!("icmp type destination-unreachable goto {name}"),
            IpAddr::V6(_) => format!("icmpv6 type {{ destination-unreachable, packet-too-big }} goto {name}"),
        })
    }

    /// The chains of one rule.
    fn distribute(&mut self, leg: usize, number: usize, rule: &Rule, plan: &Plan) {
        let local = self.locals[leg].clone();
        let family = Family::of(local.ip);
        let name = format!("a{leg}r{number}");
        let hash = hash(family, rule, self.settings.seed());
        self.here(&name, family, rule, plan, &hash);
        let me = plan.me;
        for member in plan.others.keys() {
            let lines = [format!("jump {}", note(family, rule.protocol, *member)), format!("goto a{leg}_to{member}")];
            self.chain(&format!("{name}_to{member}"), &lines);
        }
        let go = |member: Member| if member == me { format!("goto {name}_here") } else { format!("goto {name}_to{member}") };
        let mut doubtful: BTreeMap<(Option<Member>, Members), String> = BTreeMap::new();
        let mut branches = Vec::new();
        for run in &plan.runs {
            let verdict = match run.owner {
                Some(owner) if run.former.is_empty() => go(owner),
                _ => {
                    let next = doubtful.len();
                    let chain = doubtful.entry((run.owner, run.former)).or_insert_with(|| format!("{name}_either{next}"));
                    format!("goto {chain}")
                }
            };
            branches.push((run.from, run.to, verdict));
        }
        for ((owner, former), chain) in &doubtful {
            let lines = either(leg, rule.protocol, family, *owner, *former, plan, &local, &go);
            self.chain(chain, &lines);
        }
        let mut lines: Vec<String> = directed(leg, plan).map(|from| format!("{from} goto {name}_here")).into_iter().collect();
        lines.extend(branch(&hash, &branches));
        lines.push("drop".to_owned());
        self.chain(&name, &lines);
    }

    /// What was directed to this server.
    fn here(&mut self, name: &str, family: Family, rule: &Rule, plan: &Plan, hash: &str) {
        let (protocol, me) = (rule.protocol, plan.me);
        let take = format!("{name}_take");
        self.chain(&take, &[format!("jump {}", note(family, protocol, me)), "accept".to_owned()]);
        let accepting: Vec<_> = plan.accepting.iter().map(|(from, to)| (*from, *to, format!("goto {take}"))).collect();
        let mut new: Vec<String> = branch(hash, &accepting).into_iter().collect();
        new.push("drop".to_owned());
        let known = format!("{} @{} goto {take}", key(family, protocol), flow(family, protocol, me));
        let mut lines = Vec::new();
        match protocol {
            Protocol::Tcp => {
                self.chain(&format!("{name}_new"), &new);
                lines.push(format!("{OPENS} goto {name}_new"));
                lines.push(known);
                // Somebody else may know it. Everywhere else the kernel answers: it has it, or nobody has.
                let silent: Vec<_> = plan.runs.iter().filter(|run| !run.former.is_empty()).collect();
                let silent: Vec<_> = silent.iter().map(|run| (run.from, run.to, "drop".to_owned())).collect();
                lines.extend(branch(hash, &silent));
                lines.push(format!("goto {take}"));
            }
            Protocol::Udp => {
                lines.push(known);
                lines.extend(new);
            }
        }
        self.chain(&format!("{name}_here"), &lines);
    }
}

/// A bucket with former owners: known connections stay, new ones go to the owner, and a packet of a connection
/// that this server does not know (it has not directed it so far) goes to all that might.
#[expect(clippy::too_many_arguments, reason = "all of them name the one place the chain is in")]
fn either(
    leg: usize,
    protocol: Protocol,
    family: Family,
    owner: Option<Member>,
    former: Members,
    plan: &Plan,
    local: &Local,
    go: &dyn Fn(Member) -> String,
) -> Vec<String> {
    let candidates = owner.map_or(former, |owner| former.with(owner));
    let new = owner.map_or("drop".to_owned(), go);
    let mut lines = Vec::new();
    if protocol == Protocol::Tcp {
        // A client's port may be used again: what is noted of its earlier connection elsewhere is over.
        for member in owner.map_or(candidates, |owner| candidates.without(owner)).iter() {
            lines.push(format!("{OPENS} delete @{} {{ {} }}", flow(family, protocol, member), key(family, protocol)));
        }
        lines.push(format!("{OPENS} {new}"));
    }
    for member in candidates.iter() {
        lines.push(format!("{} @{} {}", key(family, protocol), flow(family, protocol, member), go(member)));
    }
    if protocol == Protocol::Udp {
        lines.push(new);
        return lines;
    }
    let others: Vec<Member> = candidates.without(plan.me).iter().collect();
    if let Some((last, rest)) = others.split_last() {
        lines.extend(rest.iter().map(|member| copy(leg, *member, local, plan)));
        lines.push(format!("goto a{leg}_to{last}"));
    } else {
        lines.push("drop".to_owned());
    }
    lines
}

/// Sends a copy of the frame to `member`.
fn copy(leg: usize, member: Member, local: &Local, plan: &Plan) -> String {
    let to = plan.others.get(&member).and_then(|macs| macs.get(leg)).copied().unwrap_or(local.mac);
    format!("ether daddr set {} ether saddr set {} dup to \"{}\"", mac(to), mac(local.mac), local.interface)
}

/// Matches frames that another living server has directed.
fn directed(leg: usize, plan: &Plan) -> Option<String> {
    let macs: Vec<String> = plan.others.values().filter_map(|macs| macs.get(leg)).map(|address| mac(*address)).collect();
    (!macs.is_empty()).then(|| format!("ether saddr {{ {} }}", macs.join(", ")))
}

/// One rule that chooses by the bucket; none when there is nothing to choose. Neighbours are joined.
fn branch(hash: &str, branches: &[(u32, u32, String)]) -> Option<String> {
    let mut joined: Vec<(u32, u32, &str)> = Vec::new();
    for (from, to, verdict) in branches {
        match joined.last_mut() {
            Some(last) if last.1 + 1 == *from && last.2 == verdict => last.1 = *to,
            _ => joined.push((*from, *to, verdict)),
        }
    }
    let range = |from: u32, to: u32| if from == to { from.to_string() } else { format!("{from}-{to}") };
    let elements: Vec<String> = joined.iter().map(|(from, to, verdict)| format!("{} : {verdict}", range(*from, *to))).collect();
    (!elements.is_empty()).then(|| format!("{hash} vmap {{ {} }}", elements.join(", ")))
}

fn hash(family: Family, rule: &Rule, seed: u32) -> String {
    let port = match rule.affinity {
        Affinity::ClientIp => String::new(),
        Affinity::ClientPort => format!(" . {} sport", rule.protocol.name()),
    };
    format!("jhash {} saddr{port} mod {BUCKETS} seed 0x{seed:08x}", family.word())
}

/// Matches the questions for the address, and what others announce of it: only the one that answers ARP may hear them.
fn asked(ip: IpAddr) -> [String; 2] {
    match ip {
        IpAddr::V4(ip) => [format!("arp operation request arp daddr ip {ip}"), format!("arp saddr ip {ip}")],
        IpAddr::V6(ip) => {
            // The target of both messages; nft has no word for it.
            let target = format!("@th,64,128 0x{:032x}", u128::from(ip));
            [format!("icmpv6 type nd-neighbor-solicit {target}"), format!("icmpv6 type nd-neighbor-advert {target}")]
        }
    }
}

fn first_fragment(family: Family) -> &'static str {
    match family {
        Family::V4 => "ip frag-off & 0x3fff == 0x2000",
        Family::V6 => "frag more-fragments 1 frag frag-off 0",
    }
}

fn later_fragment(family: Family) -> &'static str {
    match family {
        Family::V4 => "ip frag-off & 0x1fff != 0",
        Family::V6 => "frag frag-off != 0",
    }
}
