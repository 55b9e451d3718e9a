//! Interfaces of this node, their state and addresses, and which of them an address belongs to.

use crate::address::AddressError;
use crate::netlink::Netlink;
use pnet_base::MacAddr;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// An interface as it was when it was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// The kernel's number for it; another one after it was removed and made again.
    pub index: u32,
    /// Its Ethernet address. None: nothing is announced there (loopback, tunnels).
    pub mac: Option<MacAddr>,
    /// It was switched on.
    pub up: bool,
    /// Something is at the other end of the cable.
    pub carrier: bool,
    /// It leads to this node only.
    pub loopback: bool,
}

/// An address of an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assigned {
    /// The address.
    pub ip: IpAddr,
    /// Length of its network's prefix.
    pub prefix: u8,
    /// Number of its interface.
    pub index: u32,
    /// IPv4: it goes with the first address of its network, unless the kernel is told otherwise.
    pub secondary: bool,
    /// False while duplicate detection runs, or has failed.
    pub usable: bool,
    /// IPv4: the broadcast address.
    pub broadcast: Option<Ipv4Addr>,
}

/// All interfaces and addresses of this node at one time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// The interfaces.
    pub interfaces: Vec<Interface>,
    /// Their addresses.
    pub addresses: Vec<Assigned>,
}

/// Why no interface could be chosen.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FindError {
    /// Nothing is in the address's network.
    #[error("no interface of this node has an address in its network: give one an address there, or name the interface")]
    None,
    /// What is in the network is off.
    #[error("{0}, which has an address in its network, is down: set it up")]
    Down(String),
    /// The choice is not ours.
    #[error("{} all have addresses in its network: name the interface", .0.join(", "))]
    Several(Vec<String>),
    /// The named one is not there.
    #[error("there is no interface {name}: this node has {}", .have.join(", "))]
    Unknown {
        /// What was asked for.
        name: String,
        /// What there is.
        have: Vec<String>,
    },
    /// The named one is off.
    #[error("interface {0} is down: set it up")]
    NamedDown(String),
}

/// Reads the present state from the kernel. Needs a tokio runtime.
pub async fn snapshot() -> Result<Snapshot, AddressError> {
    Netlink::open()?.snapshot().await
}

impl Snapshot {
    /// The interface called `name`.
    pub fn named(&self, name: &str) -> Option<&Interface> {
        self.interfaces.iter().find(|interface| interface.name == name)
    }

    /// Whether `ip` is on the interface `index`.
    pub fn has(&self, ip: IpAddr, index: u32) -> bool {
        self.addresses.iter().any(|address| address.ip == ip && address.index == index)
    }

    /// Where `ip` goes: the interface `named`, else the one that has an address in the same network. Addresses in
    /// `ignored` do not count (other virtual ones, which may be anywhere).
    pub fn find(&self, ip: IpAddr, named: Option<&str>, ignored: &[IpAddr]) -> Result<&Interface, FindError> {
        match named {
            Some(name) => self.find_named(name),
            None => self.find_by_network(ip, ignored),
        }
    }

    /// A link-local address of the interface, to ask neighbours from.
    pub fn link_local(&self, index: u32) -> Option<Ipv6Addr> {
        self.addresses.iter().filter(|address| address.index == index).find_map(|address| match address.ip {
            IpAddr::V6(ip) if ip.is_unicast_link_local() => Some(ip),
            _ => None,
        })
    }

    /// Every Ethernet address of this node: whoever answers from one of these is no stranger. (Linux answers
    /// ARP for all its addresses on every interface of a network.)
    pub fn macs(&self) -> Vec<MacAddr> {
        self.interfaces.iter().filter_map(|interface| interface.mac).collect()
    }

    fn find_named(&self, name: &str) -> Result<&Interface, FindError> {
        match self.named(name) {
            Some(interface) if interface.up => Ok(interface),
            Some(_) => Err(FindError::NamedDown(name.to_owned())),
            None => {
                let have = self.interfaces.iter().map(|interface| interface.name.clone()).collect();
                Err(FindError::Unknown { name: name.to_owned(), have })
            }
        }
    }

    /// As routes are chosen: the longest prefix wins.
    fn find_by_network(&self, ip: IpAddr, ignored: &[IpAddr]) -> Result<&Interface, FindError> {
        let mut best: Vec<&Interface> = Vec::new();
        let mut longest = 0;
        let mut down = None;
        for address in &self.addresses {
            if address.ip == ip || ignored.contains(&address.ip) || !in_network(ip, address.ip, address.prefix) {
                continue;
            }
            let Some(interface) = self.interfaces.iter().find(|interface| interface.index == address.index) else { continue };
            if interface.loopback {
                continue;
            }
            if !interface.up {
                down = Some(interface.name.clone());
                continue;
            }
            if address.prefix > longest {
                longest = address.prefix;
                best.clear();
            }
            if address.prefix == longest && !best.iter().any(|known| known.index == interface.index) {
                best.push(interface);
            }
        }
        match (best.as_slice(), down) {
            ([one], _) => Ok(one),
            ([], Some(name)) => Err(FindError::Down(name)),
            ([], None) => Err(FindError::None),
            (several, _) => Err(FindError::Several(several.iter().map(|interface| interface.name.clone()).collect())),
        }
    }
}

/// Whether `ip` lies in the network of `other`. A prefix of 0 or of all bits is no network.
pub fn in_network(ip: IpAddr, other: IpAddr, prefix: u8) -> bool {
    match (ip, other) {
        (IpAddr::V4(a), IpAddr::V4(b)) => (1..32).contains(&prefix) && (a.to_bits() ^ b.to_bits()) >> (32 - prefix) == 0,
        (IpAddr::V6(a), IpAddr::V6(b)) => (1..128).contains(&prefix) && (a.to_bits() ^ b.to_bits()) >> (128 - prefix) == 0,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn interface(name: &str, index: u32, up: bool) -> Interface {
        Interface { name: name.into(), index, mac: None, up, carrier: up, loopback: name == "lo" }
    }

    fn assigned(text: &str, prefix: u8, index: u32) -> Assigned {
        Assigned { ip: ip(text), prefix, index, secondary: false, usable: true, broadcast: None }
    }

    fn node() -> Snapshot {
        Snapshot {
            interfaces: vec![interface("lo", 1, true), interface("eth0", 2, true), interface("eth1", 3, true), interface("eth2", 4, false)],
            addresses: vec![
                assigned("127.0.0.1", 8, 1),
                assigned("10.0.0.1", 24, 2),
                assigned("10.0.0.2", 24, 2),
                assigned("fd00::1", 64, 2),
                assigned("10.0.1.1", 24, 3),
                assigned("10.9.0.1", 24, 4),
            ],
        }
    }

    #[test]
    fn found_by_network() {
        let node = node();
        assert_eq!(node.find(ip("10.0.0.100"), None, &[]).unwrap().name, "eth0");
        assert_eq!(node.find(ip("10.0.1.100"), None, &[]).unwrap().name, "eth1");
        assert_eq!(node.find(ip("fd00::64"), None, &[]).unwrap().name, "eth0");
        assert_eq!(node.find(ip("10.5.0.1"), None, &[]), Err(FindError::None));
        assert_eq!(node.find(ip("127.0.0.9"), None, &[]), Err(FindError::None), "loopback leads nowhere");
        assert_eq!(node.find(ip("10.9.0.100"), None, &[]), Err(FindError::Down("eth2".into())));
    }

    #[test]
    fn the_longest_prefix_wins_and_a_tie_is_the_operators() {
        let mut node = node();
        node.addresses.push(assigned("10.0.200.1", 16, 3));
        assert_eq!(node.find(ip("10.0.0.100"), None, &[]).unwrap().name, "eth0");
        node.addresses.push(assigned("10.0.0.7", 24, 3));
        assert_eq!(node.find(ip("10.0.0.100"), None, &[]), Err(FindError::Several(vec!["eth0".into(), "eth1".into()])));
        assert_eq!(node.find(ip("10.0.0.100"), Some("eth1"), &[]).unwrap().name, "eth1");
        assert_eq!(node.find(ip("10.0.0.100"), None, &[ip("10.0.0.7")]).unwrap().name, "eth0", "a virtual one shows nothing");
    }

    #[test]
    fn an_address_does_not_find_itself() {
        let mut node = node();
        node.addresses = vec![assigned("10.0.0.100", 24, 3)];
        assert_eq!(node.find(ip("10.0.0.100"), None, &[]), Err(FindError::None));
    }

    #[test]
    fn names() {
        let node = node();
        assert_eq!(node.find(ip("192.0.2.1"), Some("eth0"), &[]).unwrap().index, 2);
        assert_eq!(node.find(ip("192.0.2.1"), Some("eth2"), &[]), Err(FindError::NamedDown("eth2".into())));
        let why = node.find(ip("192.0.2.1"), Some("eth7"), &[]).unwrap_err().to_string();
        assert_eq!(why, "there is no interface eth7: this node has lo, eth0, eth1, eth2");
    }

    #[test]
    fn networks() {
        assert!(in_network(ip("10.0.0.9"), ip("10.0.0.1"), 24));
        assert!(!in_network(ip("10.0.1.9"), ip("10.0.0.1"), 24));
        assert!(!in_network(ip("10.0.0.1"), ip("10.0.0.1"), 32));
        assert!(!in_network(ip("10.0.0.1"), ip("10.0.0.1"), 0));
        assert!(!in_network(ip("10.0.0.1"), ip("10.0.0.1"), 200), "nonsense is no network");
        assert!(!in_network(ip("fd00::1"), ip("10.0.0.1"), 24));
        assert!(in_network(ip("fd00::ffff:1"), ip("fd00::1"), 64));
    }
}
