//! Unsolicited neighbour advertisement, IPv6's way to say where an address is, and the question for it.

use pnet_base::MacAddr;
use pnet_packet::ethernet::{EtherTypes, MutableEthernetPacket};
use pnet_packet::icmpv6::ndp::{MutableNeighborAdvertPacket, MutableNeighborSolicitPacket, NdpOption, NdpOptionTypes, NeighborAdvertFlags};
use pnet_packet::icmpv6::{Icmpv6Code, Icmpv6Packet, Icmpv6Types, MutableIcmpv6Packet, checksum};
use pnet_packet::ip::IpNextHeaderProtocols;
use pnet_packet::ipv6::MutableIpv6Packet;
use std::net::Ipv6Addr;

const ETHERNET: usize = 14;
const IPV6: usize = 40;
/// A link-layer address as an option.
const OPTION: usize = 8;
/// The message (24) and its one option.
const MESSAGE: usize = 24 + OPTION;

const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
/// Where Ethernet carries packets to [`ALL_NODES`].
const ALL_NODES_MAC: MacAddr = MacAddr(0x33, 0x33, 0, 0, 0, 1);
/// Receivers drop what may have come through a router, that is, any lower limit.
const HOP_LIMIT: u8 = 255;

/// To all nodes, with the override flag and our link-layer address: without the flag neighbours keep what
/// they have.
pub fn advertisement(address: Ipv6Addr, mac: MacAddr) -> Vec<u8> {
    let mut bytes = vec![0; ETHERNET + IPV6 + MESSAGE];
    head(&mut bytes, (mac, address), (ALL_NODES_MAC, ALL_NODES));
    let message = &mut bytes[ETHERNET + IPV6..];
    let mut advert = MutableNeighborAdvertPacket::new(message).expect("the message's own size");
    advert.set_icmpv6_type(Icmpv6Types::NeighborAdvert);
    advert.set_icmpv6_code(Icmpv6Code(0));
    advert.set_flags(NeighborAdvertFlags::Override);
    advert.set_target_addr(address);
    // The length counts units of eight bytes.
    advert.set_options(&[NdpOption { option_type: NdpOptionTypes::TargetLLAddr, length: 1, data: mac.octets().to_vec() }]);
    seal(message, &address, &ALL_NODES);
    bytes
}

/// Asks who has `address`, from the interface's link-local address, so that only this node is answered. Without
/// one (None), as duplicate detection does: whoever has the address then answers everybody.
pub fn solicitation(address: Ipv6Addr, mac: MacAddr, from: Option<Ipv6Addr>) -> Vec<u8> {
    let length = if from.is_some() { MESSAGE } else { MESSAGE - OPTION };
    let source = from.unwrap_or(Ipv6Addr::UNSPECIFIED);
    let mut bytes = vec![0; ETHERNET + IPV6 + length];
    let [.., a, b, c] = address.octets();
    let group = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00 | u16::from(a), u16::from_be_bytes([b, c]));
    head(&mut bytes, (mac, source), (MacAddr(0x33, 0x33, 0xff, a, b, c), group));
    let message = &mut bytes[ETHERNET + IPV6..];
    let mut question = MutableNeighborSolicitPacket::new(message).expect("the message's own size");
    question.set_icmpv6_type(Icmpv6Types::NeighborSolicit);
    question.set_icmpv6_code(Icmpv6Code(0));
    question.set_target_addr(address);
    if from.is_some() {
        question.set_options(&[NdpOption { option_type: NdpOptionTypes::SourceLLAddr, length: 1, data: mac.octets().to_vec() }]);
    }
    seal(message, &source, &group);
    bytes
}

fn head(bytes: &mut [u8], (mac, source): (MacAddr, Ipv6Addr), (to, destination): (MacAddr, Ipv6Addr)) {
    let (head, rest) = bytes.split_at_mut(ETHERNET);
    let mut ethernet = MutableEthernetPacket::new(head).expect("the header's own size");
    ethernet.set_destination(to);
    ethernet.set_source(mac);
    ethernet.set_ethertype(EtherTypes::Ipv6);
    let length = rest.len() - IPV6;
    let mut ip = MutableIpv6Packet::new(rest).expect("longer than a header");
    ip.set_version(6);
    ip.set_payload_length(length as u16);
    ip.set_next_header(IpNextHeaderProtocols::Icmpv6);
    ip.set_hop_limit(HOP_LIMIT);
    ip.set_source(source);
    ip.set_destination(destination);
}

fn seal(message: &mut [u8], source: &Ipv6Addr, destination: &Ipv6Addr) {
    let sum = checksum(&Icmpv6Packet::new(message).expect("the message's own size"), source, destination);
    MutableIcmpv6Packet::new(message).expect("the message's own size").set_checksum(sum);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[rustfmt::skip]
    #[test]
    fn byte_by_byte() {
        let mac = MacAddr(0x02, 0x42, 0x0a, 0x01, 0x02, 0x03);
        let frame = advertisement("fd00::64".parse().unwrap(), mac);
        assert_eq!(frame[..54], [
            0x33, 0x33, 0, 0, 0, 1, 0x02, 0x42, 0x0a, 0x01, 0x02, 0x03, 0x86, 0xdd, // to all nodes, from us, IPv6
            0x60, 0, 0, 0, 0, 32, 58, 255, // 32 bytes of ICMPv6, hop limit 255
            0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x64, // from the address itself
            0xff, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, // to ff02::1
        ]);
        assert_eq!(frame[54..], [
            136, 0, CHECKSUM[0], CHECKSUM[1], 0x20, 0, 0, 0, // advertisement, override
            0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x64, // target
            2, 1, 0x02, 0x42, 0x0a, 0x01, 0x02, 0x03, // its link-layer address
        ]);
    }

    /// Worked out apart from the code: the complement of the one's complement sum of the pseudo header
    /// (addresses, length 32, next header 58) and the message.
    const CHECKSUM: [u8; 2] = [0x4d, 0x90];

    #[rustfmt::skip]
    #[test]
    fn the_question_byte_by_byte() {
        let mac = MacAddr(0x02, 0x42, 0x0a, 0x01, 0x02, 0x03);
        let frame = solicitation("fd00::12:3456".parse().unwrap(), mac, Some("fe80::1".parse().unwrap()));
        assert_eq!(frame[..54], [
            0x33, 0x33, 0xff, 0x12, 0x34, 0x56, 0x02, 0x42, 0x0a, 0x01, 0x02, 0x03, 0x86, 0xdd, // to the address's group
            0x60, 0, 0, 0, 0, 32, 58, 255,
            0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, // from us
            0xff, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, 0x12, 0x34, 0x56,
        ]);
        assert_eq!(frame[54..56], [135, 0]);
        assert_eq!(frame[58..], [
            0, 0, 0, 0,
            0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x12, 0x34, 0x56, // target
            1, 1, 0x02, 0x42, 0x0a, 0x01, 0x02, 0x03, // where to answer
        ]);
    }

    #[test]
    fn without_an_address_there_is_no_option() {
        let frame = solicitation("fd00::64".parse().unwrap(), MacAddr(2, 0, 0, 0, 0, 1), None);
        assert_eq!(frame.len(), 14 + 40 + 24);
        assert_eq!(frame[22..38], [0; 16]);
        assert_eq!(frame[18..20], [0, 24]);
    }
}
