//! Unsolicited neighbour advertisement: IPv6's way to say where an address is.

use pnet_base::MacAddr;
use pnet_packet::ethernet::{EtherTypes, MutableEthernetPacket};
use pnet_packet::icmpv6::ndp::{MutableNeighborAdvertPacket, NdpOption, NdpOptionTypes, NeighborAdvertFlags};
use pnet_packet::icmpv6::{Icmpv6Code, Icmpv6Packet, Icmpv6Types, checksum};
use pnet_packet::ip::IpNextHeaderProtocols;
use pnet_packet::ipv6::MutableIpv6Packet;
use std::net::Ipv6Addr;

const ETHERNET: usize = 14;
const IPV6: usize = 40;
/// The message (24) and its one option (8).
const ADVERTISEMENT: usize = 32;

const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
/// Where Ethernet carries packets to [`ALL_NODES`].
const ALL_NODES_MAC: MacAddr = MacAddr(0x33, 0x33, 0, 0, 0, 1);
/// Receivers drop what may have come through a router, that is, any lower limit.
const HOP_LIMIT: u8 = 255;

/// To all nodes, with the override flag and our link-layer address: without the flag neighbours keep what
/// they have.
pub fn advertisement(address: Ipv6Addr, mac: MacAddr) -> Vec<u8> {
    let mut bytes = vec![0; ETHERNET + IPV6 + ADVERTISEMENT];
    let (head, rest) = bytes.split_at_mut(ETHERNET);
    let (packet, message) = rest.split_at_mut(IPV6);
    let mut ethernet = MutableEthernetPacket::new(head).expect("the header's own size");
    ethernet.set_destination(ALL_NODES_MAC);
    ethernet.set_source(mac);
    ethernet.set_ethertype(EtherTypes::Ipv6);
    let mut ip = MutableIpv6Packet::new(packet).expect("the header's own size");
    ip.set_version(6);
    ip.set_payload_length(ADVERTISEMENT as u16);
    ip.set_next_header(IpNextHeaderProtocols::Icmpv6);
    ip.set_hop_limit(HOP_LIMIT);
    ip.set_source(address);
    ip.set_destination(ALL_NODES);
    fill(message, address, mac);
    bytes
}

fn fill(message: &mut [u8], address: Ipv6Addr, mac: MacAddr) {
    let mut advert = MutableNeighborAdvertPacket::new(message).expect("the message's own size");
    advert.set_icmpv6_type(Icmpv6Types::NeighborAdvert);
    advert.set_icmpv6_code(Icmpv6Code(0));
    advert.set_flags(NeighborAdvertFlags::Override);
    advert.set_target_addr(address);
    // The length counts units of eight bytes.
    advert.set_options(&[NdpOption { option_type: NdpOptionTypes::TargetLLAddr, length: 1, data: mac.octets().to_vec() }]);
    let sum = checksum(&Icmpv6Packet::new(message).expect("the message's own size"), &address, &ALL_NODES);
    MutableNeighborAdvertPacket::new(message).expect("the message's own size").set_checksum(sum);
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
}
