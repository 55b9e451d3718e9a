//! What a farm is told to be, and what is refused.

use super::jhash;
use super::limits;
use super::members::{Member, Members};
use super::share::{Mode, Shares, scramble};
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

/// One farm, the same on all its servers except for [`Settings::nft`] and the interfaces.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The module's name.
    pub module: String,
    /// Its servers, 2 to 32.
    pub servers: Vec<Server>,
    /// How traffic is distributed among them.
    pub mode: Mode,
    /// Its addresses. None: a load balancer in front asks the health answer, and there is no filter.
    pub addresses: Vec<VirtualAddress>,
    /// The ports that are distributed. Others of the address are answered by whoever answers ARP.
    pub rules: Vec<Rule>,
    /// A server that was silent for this long is lost.
    pub lost_after: Duration,
    /// The program `nft`.
    pub nft: String,
}

/// One server of a farm.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// Its node's name.
    pub name: String,
    /// Its part of the traffic in [`Mode::Spread`]; 0: it gets no new connections.
    pub weight: u32,
    /// In [`Mode::Chain`] the highest one that serves gets everything.
    pub priority: u32,
}

/// An address that all servers have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VirtualAddress {
    /// The address.
    pub ip: IpAddr,
    /// Length of its network's prefix; with it the interface is found when none is named.
    pub prefix: u8,
    /// The interface on this node.
    pub interface: Option<String>,
}

/// What is distributed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Its name in the configuration.
    pub name: String,
    /// The protocol.
    pub protocol: Protocol,
    /// The port of the address.
    pub port: u16,
    /// What stays together.
    pub affinity: Affinity,
}

/// Protocols that are distributed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

/// What goes to one server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Affinity {
    /// Everything from one client's address.
    ClientIp,
    /// Everything from one port of a client: its connections are spread.
    ClientPort,
}

/// Why settings are refused.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("farm {module}: {what}: {advice}")]
pub struct SettingsError {
    module: String,
    what: String,
    advice: &'static str,
}

impl Protocol {
    /// As in the configuration and in rules.
    pub fn name(self) -> &'static str {
        match self {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
        }
    }
}

impl Settings {
    /// A farm of equal servers with the usual times.
    pub fn new(module: &str, servers: &[&str]) -> Settings {
        Settings {
            module: module.to_owned(),
            servers: servers.iter().map(|name| Server { name: (*name).to_owned(), weight: 1, priority: 0 }).collect(),
            mode: Mode::Spread,
            addresses: Vec::new(),
            rules: Vec::new(),
            lost_after: limits::LOST_AFTER,
            nft: "nft".to_owned(),
        }
    }

    /// The same with servers in the order of their numbers, or why it cannot be.
    pub fn checked(mut self) -> Result<Settings, SettingsError> {
        self.servers.sort_by(|a, b| a.name.cmp(&b.name));
        self.check_servers()?;
        self.check_addresses()?;
        self.check_rules()?;
        let [least, most] = limits::LOST_AFTER_RANGE;
        if self.lost_after < least || self.lost_after > most {
            return Err(self.error(format!("a server is to be lost after {:?}", self.lost_after), "choose 300ms to 60s"));
        }
        Ok(self)
    }

    fn check_servers(&self) -> Result<(), SettingsError> {
        let count = self.servers.len();
        if !(2..=limits::MEMBERS).contains(&count) {
            return Err(self.error(format!("it has {count} servers"), "a farm has 2 to 32"));
        }
        for name in self.servers.iter().map(|server| &server.name).chain([&self.module]) {
            if name.is_empty() || name.len() > limits::NAME {
                return Err(self.error(format!("the name {name:?} has {} bytes", name.len()), "names have 1 to 60 bytes"));
            }
        }
        if let Some(pair) = self.servers.windows(2).find(|pair| pair[0].name == pair[1].name) {
            return Err(self.error(format!("the server {} is named twice", pair[0].name), "name each once"));
        }
        match self.servers.iter().find(|server| server.weight > limits::WEIGHT) {
            Some(server) => Err(self.error(format!("{} has the weight {}", server.name, server.weight), "weights are 0 to 100")),
            None => Ok(()),
        }
    }

    fn check_addresses(&self) -> Result<(), SettingsError> {
        if self.addresses.len() > limits::ADDRESSES {
            return Err(self.error(format!("it has {} addresses", self.addresses.len()), "a farm has 16 at most"));
        }
        let mut seen = BTreeSet::new();
        for address in &self.addresses {
            let bits = if address.ip.is_ipv4() { 32 } else { 128 };
            if address.prefix == 0 || address.prefix > bits {
                return Err(self.error(format!("{} has the prefix length {}", address.ip, address.prefix), "give the network's own"));
            }
            if address.ip.is_multicast() || address.ip.is_unspecified() || address.ip.is_loopback() {
                return Err(self.error(format!("{} cannot be a server's address", address.ip), "choose a free one of the subnet"));
            }
            if !seen.insert(address.ip) {
                return Err(self.error(format!("the address {} is named twice", address.ip), "name each once"));
            }
            if let Some(name) = address.interface.as_ref().filter(|name| !is_interface(name)) {
                return Err(self.error(format!("{name:?} cannot be an interface"), "name it as `ip link` does"));
            }
        }
        Ok(())
    }

    fn check_rules(&self) -> Result<(), SettingsError> {
        if self.rules.len() > limits::RULES {
            return Err(self.error(format!("it has {} rules", self.rules.len()), "a farm has 64 at most"));
        }
        if !self.addresses.is_empty() && self.rules.is_empty() {
            return Err(self.error("it has an address and no [[load_balancing]]".into(), "say which ports are distributed"));
        }
        let mut seen = BTreeSet::new();
        for rule in &self.rules {
            if rule.port == 0 {
                return Err(self.error(format!("the rule {} has the port 0", rule.name), "ports are 1 to 65535"));
            }
            if !seen.insert((rule.protocol, rule.port)) {
                let what = format!("{} port {} has two rules", rule.protocol.name(), rule.port);
                return Err(self.error(what, "give it one"));
            }
        }
        Ok(())
    }

    fn error(&self, what: String, advice: &'static str) -> SettingsError {
        SettingsError { module: self.module.clone(), what, advice }
    }

    /// The number of the server `name`. Settings must be checked.
    pub fn member(&self, name: &str) -> Option<Member> {
        self.servers.iter().position(|server| server.name == name).map(|at| at as Member)
    }

    /// The name of server `member`.
    pub fn name(&self, member: Member) -> &str {
        self.servers.get(usize::from(member)).map_or("?", |server| &server.name)
    }

    /// All servers.
    pub fn everybody(&self) -> Members {
        Members::first(self.servers.len())
    }

    /// The table of preferences.
    pub fn shares(&self) -> Shares {
        let value = |server: &Server| if self.mode == Mode::Spread { server.weight } else { server.priority };
        Shares::new(self.mode, self.servers.iter().map(value).collect())
    }

    /// May it get new connections at all?
    pub fn can_serve(&self, member: Member) -> bool {
        self.servers.get(usize::from(member)).is_some_and(|server| self.mode == Mode::Chain || server.weight > 0)
    }

    /// The hash's seed: of the module, so that two farms spread the same clients differently. Never 0, which
    /// nftables takes for a seed by chance.
    pub fn seed(&self) -> u32 {
        jhash::jhash(&portable(self.module.as_bytes()), 0) | 1
    }

    /// The bucket of a client under `rule`.
    pub fn bucket(&self, rule: &Rule, client: IpAddr, port: u16) -> u32 {
        jhash::bucket(client, (rule.affinity == Affinity::ClientPort).then_some(port), self.seed())
    }

    /// What servers must agree on, in one number: with another one a server's beats are refused.
    pub fn digest(&self) -> u64 {
        let mut sum = 0;
        let mut add = |text: String| sum = text.bytes().fold(scramble(sum), |sum, byte| scramble(sum ^ u64::from(byte)));
        add(format!("{} {:?} {}", self.module, self.mode, limits::BUCKETS));
        for server in &self.servers {
            add(format!("{} {} {}", server.name, server.weight, server.priority));
        }
        for address in &self.addresses {
            add(format!("{}", address.ip));
        }
        for rule in &self.rules {
            add(format!("{:?} {} {:?}", rule.protocol, rule.port, rule.affinity));
        }
        sum
    }
}

/// The hash reads words in the machine's order; the seed must be the same on all machines.
fn portable(bytes: &[u8]) -> Vec<u8> {
    let sum = bytes.iter().fold(0, |sum, byte| scramble(sum ^ u64::from(*byte)));
    (sum as u32).to_ne_bytes().to_vec()
}

/// It goes into rules between quotes: nothing that could end them, and what the kernel takes for a name.
fn is_interface(name: &str) -> bool {
    (1..16).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_graphic() && !b"\"\\/".contains(&byte)) && name != "*"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn farm() -> Settings {
        let mut farm = Settings::new("web", &["b", "a"]);
        farm.addresses.push(VirtualAddress { ip: "10.0.0.100".parse().unwrap(), prefix: 24, interface: None });
        farm.rules.push(Rule { name: "http".into(), protocol: Protocol::Tcp, port: 80, affinity: Affinity::ClientIp });
        farm
    }

    fn refused(change: impl FnOnce(&mut Settings)) -> String {
        let mut farm = farm();
        change(&mut farm);
        farm.checked().unwrap_err().to_string()
    }

    #[test]
    fn servers_are_numbered_by_name() {
        let farm = farm().checked().unwrap();
        assert_eq!((farm.member("a"), farm.member("b"), farm.member("c")), (Some(0), Some(1), None));
        assert_eq!(farm.name(1), "b");
    }

    #[test]
    fn nonsense_is_refused_with_a_reason() {
        assert_eq!(refused(|farm| farm.servers.truncate(1)), "farm web: it has 1 servers: a farm has 2 to 32");
        assert!(refused(|farm| farm.servers[0].name = "a".into()).contains("named twice"));
        assert!(refused(|farm| farm.servers[0].weight = 101).contains("weight 101"));
        assert!(refused(|farm| farm.addresses[0].prefix = 33).contains("prefix length 33"));
        assert!(refused(|farm| farm.addresses[0].interface = Some("eth0\" drop".into())).contains("interface"));
        assert!(refused(|farm| farm.addresses[0].ip = "224.0.0.1".parse().unwrap()).contains("224.0.0.1"));
        assert!(refused(|farm| farm.rules.clear()).contains("no [[load_balancing]]"));
        assert!(refused(|farm| farm.rules.push(farm.rules[0].clone())).contains("tcp port 80 has two rules"));
        assert!(refused(|farm| farm.rules[0].port = 0).contains("port 0"));
        assert!(refused(|farm| farm.lost_after = Duration::from_millis(20)).contains("300ms"));
    }

    #[test]
    fn the_digest_sees_what_must_agree() {
        let digest = |change: &dyn Fn(&mut Settings)| {
            let mut farm = farm();
            change(&mut farm);
            farm.checked().unwrap().digest()
        };
        let plain = digest(&|_| {});
        assert_eq!(plain, digest(&|farm| farm.servers.reverse()));
        assert_eq!(plain, digest(&|farm| farm.addresses[0].interface = Some("eth7".into())));
        assert_ne!(plain, digest(&|farm| farm.servers[0].weight = 2));
        assert_ne!(plain, digest(&|farm| farm.rules[0].affinity = Affinity::ClientPort));
        assert_ne!(farm().seed(), Settings::new("shop", &["a", "b"]).seed());
    }
}
