//! Frames that tell a network that an address is at our interface now. Pure: bytes out, nothing is sent.
//!
//! Which forms work was measured (seconds until a client reaches the new node): both ARP forms below do, and
//! each helps against neighbours that ignore the other; a reply with another target MAC is ignored by Linux
//! during the first second of an entry (`locktime`); an advertisement without the override flag changes nothing.

pub mod arp;
pub mod neighbor;

use pnet_base::MacAddr;
use std::net::IpAddr;

/// Everything to send once, to announce `address` at the interface with `mac`.
pub fn frames(address: IpAddr, mac: MacAddr) -> Vec<Vec<u8>> {
    match address {
        IpAddr::V4(address) => vec![arp::request(address, mac), arp::reply(address, mac)],
        IpAddr::V6(address) => vec![neighbor::advertisement(address, mac)],
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
