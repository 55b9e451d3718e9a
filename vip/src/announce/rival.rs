//! Who says that an address is his. Pure, and made for bytes that anybody may have sent: what is not whole and
//! plausible says nothing.

use pnet_base::MacAddr;
use pnet_packet::Packet;
use pnet_packet::arp::{ArpHardwareTypes, ArpOperations, ArpPacket};
use pnet_packet::ethernet::{EtherTypes, EthernetPacket};
use pnet_packet::icmpv6::{Icmpv6Packet, checksum};
use pnet_packet::ip::IpNextHeaderProtocols;
use pnet_packet::ipv6::Ipv6Packet;
use std::net::{IpAddr, Ipv6Addr};

const SOLICITATION: u8 = 135;
const ADVERTISEMENT: u8 = 136;
/// Type of the option with the sender's link-layer address, in solicitations.
const SOURCE_OPTION: u8 = 1;
/// The same in advertisements.
const TARGET_OPTION: u8 = 2;
/// A neighbour's messages have passed no router.
const HOP_LIMIT: u8 = 255;
/// Type, code, checksum, flags, target.
const MESSAGE: usize = 24;
/// Options are counted in these.
const UNIT: usize = 8;

/// Somebody's claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The address.
    pub ip: IpAddr,
    /// Where he says it is.
    pub mac: MacAddr,
}

/// Another than `own` that claims `ip` by this frame.
pub fn rival(frame: &[u8], ip: IpAddr, own: &[MacAddr]) -> Option<MacAddr> {
    claim(frame).filter(|claim| claim.ip == ip && !own.contains(&claim.mac)).map(|claim| claim.mac)
}

/// What the frame claims, if anything: the sender's address in ARP and in solicitations, the target in advertisements.
/// Probes (ARP without a sender's address, duplicate detection) are questions.
pub fn claim(frame: &[u8]) -> Option<Claim> {
    let ethernet = EthernetPacket::new(frame)?;
    let claim = match ethernet.get_ethertype() {
        EtherTypes::Arp => arp(ethernet.payload()),
        EtherTypes::Ipv6 => neighbor(ethernet.payload(), ethernet.get_source()),
        _ => None,
    }?;
    // Several machines may answer for a group's address; no machine has it.
    (claim.mac != MacAddr::zero() && claim.mac.0 & 1 == 0).then_some(claim)
}

fn arp(body: &[u8]) -> Option<Claim> {
    let arp = ArpPacket::new(body)?;
    let ethernet = arp.get_hardware_type() == ArpHardwareTypes::Ethernet && arp.get_hw_addr_len() == 6;
    let ipv4 = arp.get_protocol_type() == EtherTypes::Ipv4 && arp.get_proto_addr_len() == 4;
    let known = matches!(arp.get_operation(), ArpOperations::Request | ArpOperations::Reply);
    let ip = arp.get_sender_proto_addr();
    (ethernet && ipv4 && known && !ip.is_unspecified()).then(|| Claim { ip: ip.into(), mac: arp.get_sender_hw_addr() })
}

fn neighbor(body: &[u8], sender: MacAddr) -> Option<Claim> {
    let packet = Ipv6Packet::new(body)?;
    let plausible =
        packet.get_version() == 6 && packet.get_next_header() == IpNextHeaderProtocols::Icmpv6 && packet.get_hop_limit() == HOP_LIMIT;
    // Ethernet may have padded behind it.
    let message = body.get(Ipv6Packet::minimum_packet_size()..)?.get(..usize::from(packet.get_payload_length()))?;
    if !plausible || message.len() < MESSAGE || message[1] != 0 || !sum_is_right(message, &packet) {
        return None;
    }
    let (ip, option) = match message[0] {
        SOLICITATION => (packet.get_source(), SOURCE_OPTION),
        ADVERTISEMENT => (Ipv6Addr::from(<[u8; 16]>::try_from(&message[8..MESSAGE]).ok()?), TARGET_OPTION),
        _ => return None,
    };
    let said = link_layer_address(&message[MESSAGE..], option)?;
    (!ip.is_unspecified() && !ip.is_multicast()).then(|| Claim { ip: ip.into(), mac: said.unwrap_or(sender) })
}

/// None: the options are broken. None within: there is no such option.
fn link_layer_address(mut options: &[u8], wanted: u8) -> Option<Option<MacAddr>> {
    let mut found = None;
    while !options.is_empty() {
        let length = usize::from(*options.get(1)?) * UNIT;
        let option = options.get(..length).filter(|option| !option.is_empty())?;
        if option[0] == wanted && length == UNIT {
            found = found.or(Some(MacAddr(option[2], option[3], option[4], option[5], option[6], option[7])));
        }
        options = &options[length..];
    }
    Some(found)
}

fn sum_is_right(message: &[u8], packet: &Ipv6Packet) -> bool {
    let said = [message[2], message[3]];
    Icmpv6Packet::new(message).is_some_and(|icmp| checksum(&icmp, &packet.get_source(), &packet.get_destination()).to_be_bytes() == said)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::announce::{arp, frames, neighbor, question};
    use proptest::prelude::*;

    const RIVAL: MacAddr = MacAddr(2, 0, 0, 0, 0, 9);
    const OURS: MacAddr = MacAddr(2, 0, 0, 0, 0, 1);

    fn both() -> [IpAddr; 2] {
        ["10.0.0.100".parse().unwrap(), "fd00::64".parse().unwrap()]
    }

    #[test]
    fn announcements_of_another_are_claims() {
        for ip in both() {
            for frame in frames(ip, RIVAL) {
                assert_eq!(rival(&frame, ip, &[OURS]), Some(RIVAL));
                assert_eq!(rival(&frame, ip, &[OURS, RIVAL]), None, "another interface of this node");
                assert_eq!(rival(&frame, "10.0.0.101".parse().unwrap(), &[OURS]), None);
                let mut padded = frame.clone();
                padded.resize(frame.len() + 18, 0);
                assert_eq!(rival(&padded, ip, &[OURS]), Some(RIVAL));
            }
            for frame in frames(ip, OURS) {
                assert_eq!(rival(&frame, ip, &[OURS]), None);
            }
        }
    }

    #[test]
    fn questions_are_no_claims() {
        for ip in both() {
            assert_eq!(claim(&question(ip, RIVAL, None)), None);
        }
        let from = "fe80::9".parse().unwrap();
        let asked = claim(&question("fd00::64".parse().unwrap(), RIVAL, Some(from)));
        assert_eq!(asked, Some(Claim { ip: from.into(), mac: RIVAL }), "of his own address, not of the one he asks for");
    }

    #[test]
    fn who_asks_from_the_address_claims_it() {
        let ip = "fd00::64".parse().unwrap();
        let frame = neighbor::solicitation("fd00::1".parse().unwrap(), RIVAL, Some(ip));
        assert_eq!(rival(&frame, ip.into(), &[OURS]), Some(RIVAL));
    }

    #[test]
    fn a_claim_for_no_machine_is_none() {
        for mac in [MacAddr::zero(), MacAddr::broadcast(), MacAddr(1, 0, 0x5e, 0, 0, 1)] {
            assert_eq!(claim(&arp::reply("10.0.0.100".parse().unwrap(), mac)), None);
        }
    }

    #[test]
    fn what_is_cut_or_damaged_says_nothing() {
        for ip in both() {
            for frame in frames(ip, RIVAL) {
                for length in 0..frame.len() {
                    assert_eq!(claim(&frame[..length]), None, "cut at {length}");
                }
            }
        }
        let whole = neighbor::advertisement("fd00::64".parse().unwrap(), RIVAL);
        for at in 20..whole.len() {
            let mut broken = whole.clone();
            broken[at] ^= 0x40;
            assert_eq!(claim(&broken), None, "byte {at}");
        }
        let mut endless = whole.clone();
        endless[79] = 0; // an option without a length
        assert_eq!(claim(&endless), None);
    }

    proptest! {
        #[test]
        fn nothing_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            claim(&bytes);
        }

        #[test]
        fn nearly_right_does_not_panic(at in 0_usize..86, value: u8, length in 0_usize..87, v6: bool) {
            let mut frame = frames(both()[usize::from(v6)], RIVAL).remove(0);
            if let Some(byte) = frame.get_mut(at) {
                *byte = value;
            }
            claim(&frame[..length.min(frame.len())]);
        }

        #[test]
        fn options_end(options in proptest::collection::vec(any::<u8>(), 0..100)) {
            link_layer_address(&options, TARGET_OPTION);
        }
    }
}
