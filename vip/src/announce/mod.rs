//! Telling a network that an address is at our interface now, and hearing who else says so.
//!
//! Pure: the frames ([`arp`], [`neighbor`]), when they go out ([`schedule`]), who claims an address ([`rival`]).
//! [`Announcer`] is the shell around them, with a [`socket`] of its own for each interface.
//!
//! Which forms work was measured (seconds until a client reaches the new node): both ARP forms below do, and
//! each helps against neighbours that ignore the other; a reply with another target MAC is ignored by Linux
//! during the first second of an entry (`locktime`); an advertisement without the override flag changes nothing.

mod announcer;
pub mod arp;
pub mod neighbor;
pub mod rival;
pub mod schedule;
pub mod socket;

pub use announcer::{Announcer, Rival};

use pnet_base::MacAddr;
use std::net::{IpAddr, Ipv6Addr};

/// Everything to send once, to announce `address` at the interface with `mac`.
pub fn frames(address: IpAddr, mac: MacAddr) -> Vec<Vec<u8>> {
    match address {
        IpAddr::V4(address) => vec![arp::request(address, mac), arp::reply(address, mac)],
        IpAddr::V6(address) => vec![neighbor::advertisement(address, mac)],
    }
}

/// The question who has `address`; `link_local` is the interface's own IPv6 address, if it has one.
pub fn question(address: IpAddr, mac: MacAddr, link_local: Option<Ipv6Addr>) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => arp::probe(address, mac),
        IpAddr::V6(address) => neighbor::solicitation(address, mac, link_local),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_family_gets_its_forms() {
        let mac = MacAddr::new(2, 0, 0, 0, 0, 1);
        let kinds =
            |address: &str| -> Vec<[u8; 2]> { frames(address.parse().unwrap(), mac).iter().map(|frame| [frame[12], frame[13]]).collect() };
        assert_eq!(kinds("10.0.0.100"), [[0x08, 0x06], [0x08, 0x06]]);
        assert_eq!(kinds("fd00::64"), [[0x86, 0xdd]]);
    }
}
