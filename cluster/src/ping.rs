//! One echo request, IPv4 and IPv6: whether an address answers. For the tiebreaker and for checks.

use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use std::io::{self, ErrorKind, Read};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};
use uuid::Uuid;

/// Header of an echo, before its content.
const HEADER: usize = 8;

/// Sends one echo request and waits for its answer at most `timeout`. `false`: no answer, also when no way leads there.
///
/// # Errors
/// This process may not send echo requests (it wants root or CAP_NET_RAW).
pub fn ping(address: IpAddr, timeout: Duration) -> io::Result<bool> {
    let socket = open(address)?;
    Ok(echo(&socket, address, timeout).unwrap_or(false))
}

/// Sends one echo request; whether its answer came within `patience`.
///
/// # Errors
/// No way leads there.
pub fn echo(socket: &Socket, address: IpAddr, patience: Duration) -> io::Result<bool> {
    let end = Instant::now() + patience;
    let token = *Uuid::new_v4().as_bytes();
    // Only what this address sends is received: answers of others are left to others.
    socket.connect(&SockAddr::from(SocketAddr::new(address, 0)))?;
    socket.send(&request(address, &token))?;
    let mut buffer = [0; 2048];
    loop {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(false);
        }
        socket.set_read_timeout(Some(left))?;
        let mut from = socket;
        match from.read(&mut buffer) {
            Ok(length) if answers(address, &buffer[..length], &token) => return Ok(true),
            Ok(_) => {}
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted) => {}
            Err(error) => return Err(error),
        }
    }
}

/// A socket of the kind that this process may have.
///
/// # Errors
/// It may have none.
pub fn open(address: IpAddr) -> io::Result<Socket> {
    let (domain, protocol) = match address {
        IpAddr::V4(_) => (Domain::IPV4, Protocol::ICMPV4),
        IpAddr::V6(_) => (Domain::IPV6, Protocol::ICMPV6),
    };
    match Socket::new(domain, Type::RAW, Some(protocol)) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Socket::new(domain, Type::DGRAM, Some(protocol)),
        other => other,
    }
}

fn request(address: IpAddr, token: &[u8; 16]) -> Vec<u8> {
    let kind = if address.is_ipv4() { 8 } else { 128 };
    let mut bytes = vec![kind, 0, 0, 0, token[0], token[1], 0, 1];
    bytes.extend_from_slice(token);
    // Of ICMPv6 the kernel fills it in: it covers addresses as well.
    if address.is_ipv4() {
        let sum = checksum(&bytes).to_be_bytes();
        bytes[2..4].copy_from_slice(&sum);
    }
    bytes
}

fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)])));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// Whether this is the echo of `token`. A raw IPv4 socket delivers the IP header too.
fn answers(address: IpAddr, bytes: &[u8], token: &[u8; 16]) -> bool {
    let echo = match (address, bytes.first()) {
        (IpAddr::V4(_), Some(first)) if first >> 4 == 4 => bytes.get(usize::from(first & 0x0f) * 4..).unwrap_or_default(),
        _ => bytes,
    };
    let kind = if address.is_ipv4() { 0 } else { 129 };
    echo.first() == Some(&kind) && echo.get(1) == Some(&0) && echo.get(HEADER..HEADER + token.len()) == Some(&token[..])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn loopback_answers_and_a_reserved_address_does_not() {
        assert!(ping("127.0.0.1".parse().unwrap(), Duration::from_secs(60)).unwrap());
        assert!(!ping("240.0.0.1".parse().unwrap(), Duration::from_millis(50)).unwrap());
        if std::path::Path::new("/proc/net/if_inet6").exists() {
            assert!(ping("::1".parse().unwrap(), Duration::from_secs(60)).unwrap());
        }
    }

    #[test]
    fn only_the_echo_of_this_question_counts() {
        let (v4, token) = (IpAddr::from([127, 0, 0, 1]), [7; 16]);
        let mut echo = request(v4, &token);
        assert_eq!(checksum(&echo), 0, "a packet with its checksum sums up to nothing");
        assert!(!answers(v4, &echo, &token), "a request is no answer");
        echo[0] = 0;
        assert!(answers(v4, &echo, &token));
        assert!(!answers(v4, &echo, &[8; 16]));
        let raw = [&[0x45; 1][..], &[0; 19], &echo].concat();
        assert!(answers(v4, &raw, &token));
    }

    #[test]
    fn checksums() {
        // The example of RFC 1071.
        assert_eq!(checksum(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]), !0xddf2);
    }

    /// Cut anywhere it is no answer; of IPv6 it has another number.
    #[test]
    fn only_whole_answers_count() {
        let (v4, v6, token) = (IpAddr::from([127, 0, 0, 1]), IpAddr::from(std::net::Ipv6Addr::LOCALHOST), [9; 16]);
        let mut echo = request(v4, &token);
        echo[0] = 0;
        let wrapped = [&[0x45; 20][..], &echo].concat();
        assert!(answers(v4, &wrapped, &token));
        for length in 0..wrapped.len() {
            assert!(!answers(v4, &wrapped[..length], &token));
        }
        echo[0] = 129;
        assert!(answers(v6, &echo, &token));
        echo[1] = 1;
        assert!(!answers(v6, &echo, &token));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = answers(IpAddr::from([127, 0, 0, 1]), &bytes, &[1; 16]);
            let _ = checksum(&bytes);
        }
    }
}
