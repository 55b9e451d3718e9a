//! The kernel's `jhash`, so that who serves a client is known without asking a kernel.
//!
//! nftables computes `jhash EXPRESSION mod N seed S` as `jhash(key, S) * N >> 32`, where the key is the
//! expression's bytes in its registers: addresses as on the wire, a port as two bytes on the wire and two of zero.

use super::limits::BUCKETS;
use std::net::IpAddr;

const START: u32 = 0xdead_beef;

/// Bob Jenkins' hash as in the kernel's `linux/jhash.h`: words are read in the machine's own byte order.
pub fn jhash(key: &[u8], seed: u32) -> u32 {
    let start = START.wrapping_add(key.len() as u32).wrapping_add(seed);
    let (mut a, mut b, mut c) = (start, start, start);
    let mut rest = key;
    while rest.len() > 12 {
        a = a.wrapping_add(word(&rest[..4]));
        b = b.wrapping_add(word(&rest[4..8]));
        c = c.wrapping_add(word(&rest[8..12]));
        (a, b, c) = mix(a, b, c);
        rest = &rest[12..];
    }
    if rest.is_empty() {
        return c;
    }
    // The tail counts its bytes from the low end on any machine.
    let mut tail = [0; 12];
    tail[..rest.len()].copy_from_slice(rest);
    let part = |at: usize| u32::from_le_bytes([tail[at], tail[at + 1], tail[at + 2], tail[at + 3]]);
    last(a.wrapping_add(part(0)), b.wrapping_add(part(4)), c.wrapping_add(part(8)))
}

fn word(bytes: &[u8]) -> u32 {
    u32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
}

fn mix(mut a: u32, mut b: u32, mut c: u32) -> (u32, u32, u32) {
    a = a.wrapping_sub(c) ^ c.rotate_left(4);
    c = c.wrapping_add(b);
    b = b.wrapping_sub(a) ^ a.rotate_left(6);
    a = a.wrapping_add(c);
    c = c.wrapping_sub(b) ^ b.rotate_left(8);
    b = b.wrapping_add(a);
    a = a.wrapping_sub(c) ^ c.rotate_left(16);
    c = c.wrapping_add(b);
    b = b.wrapping_sub(a) ^ a.rotate_left(19);
    a = a.wrapping_add(c);
    c = c.wrapping_sub(b) ^ b.rotate_left(4);
    b = b.wrapping_add(a);
    (a, b, c)
}

fn last(mut a: u32, mut b: u32, mut c: u32) -> u32 {
    c = (c ^ b).wrapping_sub(b.rotate_left(14));
    a = (a ^ c).wrapping_sub(c.rotate_left(11));
    b = (b ^ a).wrapping_sub(a.rotate_left(25));
    c = (c ^ b).wrapping_sub(b.rotate_left(16));
    a = (a ^ c).wrapping_sub(c.rotate_left(4));
    b = (b ^ a).wrapping_sub(a.rotate_left(14));
    (c ^ b).wrapping_sub(b.rotate_left(24))
}

/// The bucket of a client, below [`BUCKETS`]. `port` is its port where the affinity is the client's port, else none.
pub fn bucket(client: IpAddr, port: Option<u16>, seed: u32) -> u32 {
    let mut key = Vec::with_capacity(20);
    match client {
        IpAddr::V4(ip) => key.extend(ip.octets()),
        IpAddr::V6(ip) => key.extend(ip.octets()),
    }
    if let Some(port) = port {
        key.extend(port.to_be_bytes());
        key.extend([0, 0]);
    }
    ((u64::from(jhash(&key, seed)) * u64::from(BUCKETS)) >> 32) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From a C program around the kernel's header; the kernel's own word is asked in the tests with namespaces.
    #[test]
    fn known_values() {
        assert_eq!(jhash(b"", 0), 0xdead_beef);
        assert_eq!(jhash(b"", 0xdead_beef), 0xbd5b_7dde);
        assert_eq!(jhash(b"Four score and seven years ago", 0), 0x1777_0551);
        assert_eq!(jhash(b"Four score and seven years ago", 1), 0xcd62_8161);
    }

    #[test]
    fn the_port_counts_only_where_it_is_given() {
        let ip: IpAddr = "10.0.0.1".parse().unwrap();
        assert_eq!(bucket(ip, None, 7), bucket(ip, None, 7));
        let different = (1..100).filter(|port| bucket(ip, Some(*port), 7) != bucket(ip, None, 7)).count();
        assert!(different > 90);
    }
}
