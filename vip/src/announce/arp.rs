//! Gratuitous ARP, in both forms, and the question whether somebody has an address.

use pnet_base::MacAddr;
use pnet_packet::arp::{ArpHardwareTypes, ArpOperation, ArpOperations, MutableArpPacket};
use pnet_packet::ethernet::{EtherTypes, MutableEthernetPacket};
use std::net::Ipv4Addr;

const ETHERNET: usize = 14;
const ARP: usize = 28;

/// The request form: sender and target are the address, the target's MAC is not known (0).
pub fn request(address: Ipv4Addr, mac: MacAddr) -> Vec<u8> {
    frame(ArpOperations::Request, address, mac, MacAddr::zero(), address)
}

/// The reply form. The target's MAC must be the sender's: with another one Linux keeps a young entry.
pub fn reply(address: Ipv4Addr, mac: MacAddr) -> Vec<u8> {
    frame(ArpOperations::Reply, address, mac, mac, address)
}

/// Asks who has the address without claiming it: the sender has none, so nobody learns anything from it.
pub fn probe(address: Ipv4Addr, mac: MacAddr) -> Vec<u8> {
    frame(ArpOperations::Request, address, mac, MacAddr::zero(), Ipv4Addr::UNSPECIFIED)
}

fn frame(operation: ArpOperation, address: Ipv4Addr, mac: MacAddr, target: MacAddr, sender: Ipv4Addr) -> Vec<u8> {
    let mut bytes = vec![0; ETHERNET + ARP];
    let (head, body) = bytes.split_at_mut(ETHERNET);
    let mut ethernet = MutableEthernetPacket::new(head).expect("the header's own size");
    ethernet.set_destination(MacAddr::broadcast());
    ethernet.set_source(mac);
    ethernet.set_ethertype(EtherTypes::Arp);
    let mut arp = MutableArpPacket::new(body).expect("the packet's own size");
    arp.set_hardware_type(ArpHardwareTypes::Ethernet);
    arp.set_protocol_type(EtherTypes::Ipv4);
    arp.set_hw_addr_len(6);
    arp.set_proto_addr_len(4);
    arp.set_operation(operation);
    arp.set_sender_hw_addr(mac);
    arp.set_sender_proto_addr(sender);
    arp.set_target_hw_addr(target);
    arp.set_target_proto_addr(address);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: MacAddr = MacAddr(0x02, 0x42, 0x0a, 0x01, 0x02, 0x03);
    const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 100);

    #[rustfmt::skip]
    #[test]
    fn the_request_form_byte_by_byte() {
        assert_eq!(request(ADDRESS, MAC), [
            0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02, 0x42, 0x0a, 0x01, 0x02, 0x03, 0x08, 0x06, // to all, from us, ARP
            0x00, 0x01, 0x08, 0x00, 6, 4, 0x00, 0x01, // Ethernet, IPv4, request
            0x02, 0x42, 0x0a, 0x01, 0x02, 0x03, 10, 0, 0, 100, // sender
            0, 0, 0, 0, 0, 0, 10, 0, 0, 100, // target
        ]);
    }

    #[rustfmt::skip]
    #[test]
    fn the_reply_form_byte_by_byte() {
        assert_eq!(reply(ADDRESS, MAC), [
            0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02, 0x42, 0x0a, 0x01, 0x02, 0x03, 0x08, 0x06,
            0x00, 0x01, 0x08, 0x00, 6, 4, 0x00, 0x02, // reply
            0x02, 0x42, 0x0a, 0x01, 0x02, 0x03, 10, 0, 0, 100,
            0x02, 0x42, 0x0a, 0x01, 0x02, 0x03, 10, 0, 0, 100, // target: our own MAC
        ]);
    }

    #[test]
    fn the_probe_claims_nothing() {
        let mut expected = request(ADDRESS, MAC);
        expected[28..32].fill(0);
        assert_eq!(probe(ADDRESS, MAC), expected);
    }
}
