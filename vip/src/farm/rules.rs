//! The filter as text for nftables: pure. See `docs/farm.md` for the way of a packet through it.
//!
//! What must hold: everything is in tables named after the module, so nothing foreign is touched; the text is one
//! transaction; connections that are noted survive it; an unknown packet gets RST only where nobody else can know it.
//!
//! Traps of nft, kept away from here: dynamic maps with an IPv6 key abort it (sets work); `{ }` without an element
//! is a syntax error; a chain's closing brace wants a line of its own; `update` of a full set ends the rule, so
//! nothing may come after it in its rule; without a seed it chooses one by chance.

mod flow;
mod leg;

use super::beat::Mac;
use super::members::{Member, Members};
use super::plan::Plan;
use super::settings::{Protocol, Settings};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::net::IpAddr;

/// One virtual address as it is on this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Local {
    /// The address.
    pub ip: IpAddr,
    /// The interface it is on.
    pub interface: String,
    /// That interface's MAC address.
    pub mac: Mac,
    /// An address of the node itself there, of the same family: the sender of its own questions.
    pub node: IpAddr,
}

/// Rules, and the names of their chains: the next ones must remove those that are not theirs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    /// What `nft -f -` reads.
    pub text: String,
    /// All chains in it.
    pub chains: BTreeSet<String>,
}

/// Families of the tables that a module has.
const FAMILIES: [&str; 3] = ["netdev", "arp", "ip6"];
/// What all tables' names begin with.
pub const PREFIX: &str = "understudy_farm_";

/// Name of the set that holds the protocols whose questions may be answered.
const ALIVE: &str = "alive";

/// Name of the tables of `module`: letters and digits as they are, other bytes as `_` and two hexadecimal digits.
pub fn table(module: &str) -> String {
    let mut name = PREFIX.to_owned();
    for byte in module.bytes() {
        if byte.is_ascii_alphanumeric() {
            name.push(char::from(byte));
        } else {
            let _ = write!(name, "_{byte:02x}");
        }
    }
    name
}

/// Removes all tables called `table`, also when there are none.
pub fn removal(table: &str) -> String {
    FAMILIES.iter().map(|family| format!("table {family} {table} {{\n}}\ndelete table {family} {table}\n")).collect()
}

/// ARP is answered only while the daemon says so again and again: a host whose daemon died must not answer beside
/// the one that took over. The lease is over before a silent server is lost.
pub fn lease(settings: &Settings) -> String {
    let (table, time) = (table(&settings.module), (settings.lost_after * 2 / 3).as_millis());
    format!("flush set netdev {table} {ALIVE}\nadd element netdev {table} {ALIVE} {{ arp timeout {time}ms, ip6 timeout {time}ms }}\n")
}

/// The rules of a server that is not in the farm yet: nothing that is distributed is taken, no ARP is answered.
pub fn closed(settings: &Settings, locals: &[Local]) -> Rules {
    Text::new(settings, locals, None).finish(Members::NONE, &BTreeSet::new())
}

/// The rules for `plan`; `fresh` are servers whose noted connections are those of an earlier run, and over; `old` are
/// the chains that are there.
pub fn rules(settings: &Settings, locals: &[Local], plan: &Plan, fresh: Members, old: &BTreeSet<String>) -> Rules {
    Text::new(settings, locals, Some(plan)).finish(fresh, old)
}

/// Address families of packets.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Family {
    V4,
    V6,
}

impl Family {
    fn of(ip: IpAddr) -> Family {
        if ip.is_ipv4() { Family::V4 } else { Family::V6 }
    }

    /// As in names of sets.
    fn digit(self) -> char {
        if self == Family::V4 { '4' } else { '6' }
    }

    /// As in rules.
    fn word(self) -> &'static str {
        if self == Family::V4 { "ip" } else { "ip6" }
    }
}

/// The text while it is made.
struct Text<'a> {
    settings: &'a Settings,
    locals: &'a [Local],
    plan: Option<&'a Plan>,
    chains: BTreeSet<String>,
    body: String,
}

impl<'a> Text<'a> {
    fn new(settings: &'a Settings, locals: &'a [Local], plan: Option<&'a Plan>) -> Text<'a> {
        Text { settings, locals, plan, chains: BTreeSet::new(), body: String::new() }
    }

    fn finish(mut self, fresh: Members, old: &BTreeSet<String>) -> Rules {
        if self.plan.is_some() {
            let _ = writeln!(self.body, "  set {ALIVE} {{ type ether_type; flags timeout; }}");
            self.sets();
            self.notes();
        }
        for leg in 0..self.locals.len() {
            self.leg(leg);
        }
        let table = table(&self.settings.module);
        let mut text = String::new();
        for family in FAMILIES {
            let _ = writeln!(text, "table {family} {table} {{\n}}\nflush table {family} {table}");
        }
        for chain in old.difference(&self.chains) {
            let _ = writeln!(text, "delete chain netdev {table} {chain}");
        }
        let _ = writeln!(text, "table netdev {table} {{\n{}}}", self.body);
        for set in fresh.iter().flat_map(|member| self.flows(member)) {
            let _ = writeln!(text, "flush set netdev {table} {set}");
        }
        text.push_str(&self.questions(&table));
        if self.plan.is_some_and(|plan| plan.arp) {
            text.push_str(&lease(self.settings));
        }
        Rules { text, chains: self.chains }
    }

    /// A chain of the netdev table. Chains that are jumped to must be written before.
    fn chain(&mut self, name: &str, lines: &[String]) {
        self.chains.insert(name.to_owned());
        let _ = writeln!(self.body, "  chain {name} {{");
        for line in lines {
            let _ = writeln!(self.body, "    {line}");
        }
        self.body.push_str("  }\n");
    }

    /// Our own questions for a client's address must not name the virtual address as the sender: whoever hears
    /// them would send everything to this server.
    fn questions(&self, table: &str) -> String {
        let mut text = String::new();
        for family in [Family::V4, Family::V6] {
            let mut lines = String::new();
            for local in self.locals.iter().filter(|local| Family::of(local.ip) == family) {
                let (interface, ip, node) = (&local.interface, local.ip, local.node);
                let _ = match family {
                    Family::V4 => {
                        writeln!(lines, "    oifname \"{interface}\" arp operation request arp saddr ip {ip} arp saddr ip set {node}")
                    }
                    Family::V6 => {
                        writeln!(lines, "    oifname \"{interface}\" icmpv6 type nd-neighbor-solicit ip6 saddr {ip} ip6 saddr set {node}")
                    }
                };
            }
            if !lines.is_empty() {
                let kind = if family == Family::V4 { "arp" } else { "ip6" };
                let _ = writeln!(
                    text,
                    "table {kind} {table} {{\n  chain out {{\n    type filter hook output priority 0; policy accept;\n{lines}  }}\n}}"
                );
            }
        }
        text
    }

    /// Families that have an address.
    fn families(&self) -> BTreeSet<Family> {
        self.locals.iter().map(|local| Family::of(local.ip)).collect()
    }

    /// Protocols that have a rule.
    fn protocols(&self) -> BTreeSet<Protocol> {
        self.settings.rules.iter().map(|rule| rule.protocol).collect()
    }

    /// All servers that packets may go to: the living ones.
    fn targets(&self) -> Vec<Member> {
        let Some(plan) = self.plan else { return Vec::new() };
        let mut targets: Vec<Member> = plan.others.keys().copied().chain([plan.me]).collect();
        targets.sort_unstable();
        targets
    }
}

fn mac(mac: Mac) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

#[cfg(test)]
mod tests;
