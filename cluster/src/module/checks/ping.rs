//! One echo request and its answer, IPv4 and IPv6.

use crate::module::limits;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use std::io::{self, ErrorKind, Read};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

const HEADER: usize = 8;
/// Bytes that an answer must bring back.
const NONCE: usize = 16;

/// Asks `address` until it answers, at most for `timeout`. How long the answer took.
///
/// # Errors
/// In words: no answer, no way there, no permission.
pub fn ping(address: IpAddr, timeout: Duration) -> Result<Duration, String> {
    let begun = Instant::now();
    let fail = |error: &io::Error| match error.kind() {
        ErrorKind::PermissionDenied => format!("{address} cannot be asked: no permission for ICMP (needs CAP_NET_RAW)"),
        _ => format!("{address} cannot be reached: {error}"),
    };
    let (socket, raw) = open(address).map_err(|error| fail(&error))?;
    let nonce = *uuid::Uuid::new_v4().as_bytes();
    let mut last = None;
    for sequence in 0_u16.. {
        let left = timeout.saturating_sub(begun.elapsed());
        if left.is_zero() {
            break;
        }
        match ask(&socket, address, raw, sequence, &nonce, left.min(limits::ECHO_AGAIN)) {
            Ok(true) => return Ok(begun.elapsed()),
            Ok(false) => last = None,
            Err(error) => {
                // A way may come back; nothing is gained by asking faster.
                last = Some(fail(&error));
                std::thread::sleep(limits::ECHO_AGAIN.min(timeout.saturating_sub(begun.elapsed())));
            }
        }
    }
    Err(last.unwrap_or_else(|| format!("{address} does not answer within {}", humantime::format_duration(timeout))))
}

/// A socket of the kind that is allowed, and whether it is a raw one.
fn open(address: IpAddr) -> io::Result<(Socket, bool)> {
    let (domain, protocol) = match address {
        IpAddr::V4(_) => (Domain::IPV4, Protocol::ICMPV4),
        IpAddr::V6(_) => (Domain::IPV6, Protocol::ICMPV6),
    };
    let (socket, raw) = match Socket::new(domain, Type::DGRAM, Some(protocol)) {
        Ok(socket) => (socket, false),
        // Only for groups in net.ipv4.ping_group_range.
        Err(_) => (Socket::new(domain, Type::RAW, Some(protocol))?, true),
    };
    // Answers of others are left to others.
    socket.connect(&SockAddr::from(SocketAddr::new(address, 0)))?;
    Ok((socket, raw))
}

/// Sends one request; whether its answer came within `patience`.
fn ask(socket: &Socket, address: IpAddr, raw: bool, sequence: u16, nonce: &[u8; NONCE], patience: Duration) -> io::Result<bool> {
    socket.send(&request(address, sequence, nonce))?;
    let end = Instant::now() + patience;
    let mut buffer = [0; 1500];
    loop {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(false);
        }
        socket.set_read_timeout(Some(left))?;
        match (&*socket).read(&mut buffer) {
            Ok(length) if answers(address, raw, &buffer[..length], nonce) => return Ok(true),
            Ok(_) => {}
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted) => {}
            Err(error) => return Err(error),
        }
    }
}

fn request(address: IpAddr, sequence: u16, nonce: &[u8; NONCE]) -> Vec<u8> {
    let kind = if address.is_ipv4() { 8 } else { 128 };
    let mut packet = vec![kind, 0, 0, 0, nonce[0], nonce[1]];
    packet.extend(sequence.to_be_bytes());
    packet.extend(nonce);
    if address.is_ipv4() {
        // The kernel does it for IPv6, where addresses are part of the sum.
        let sum = checksum(&packet);
        packet[2..4].copy_from_slice(&sum.to_be_bytes());
    }
    packet
}

/// Whether a packet is an answer to a request with this nonce. The identifier is no help: the kernel replaces it.
fn answers(address: IpAddr, raw: bool, packet: &[u8], nonce: &[u8; NONCE]) -> bool {
    let message = match (address, raw, packet.first()) {
        // Raw IPv4 sockets see the IP header, of 4-byte words.
        (IpAddr::V4(_), true, Some(first)) => packet.get(usize::from(first & 0x0f) * 4..).unwrap_or_default(),
        _ => packet,
    };
    let kind = if address.is_ipv4() { 0 } else { 129 };
    message.len() >= HEADER && message[0] == kind && message[1] == 0 && message[HEADER..].starts_with(nonce)
}

/// The Internet checksum (RFC 1071).
fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0)));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const V4: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
    const V6: IpAddr = IpAddr::V6(std::net::Ipv6Addr::LOCALHOST);

    #[test]
    fn checksums() {
        // The example of RFC 1071.
        assert_eq!(checksum(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]), !0xddf2);
        assert_eq!(checksum(&request(V4, 7, &[3; NONCE])), 0);
    }

    #[test]
    fn only_answers_to_this_request_count() {
        let nonce = [9; NONCE];
        let mut answer = request(V4, 1, &nonce);
        assert!(!answers(V4, false, &answer, &nonce), "the request itself");
        answer[0] = 0;
        assert!(answers(V4, false, &answer, &nonce));
        assert!(!answers(V4, false, &answer, &[8; NONCE]));
        assert!(!answers(V4, false, &answer[..HEADER + 3], &nonce));
        let wrapped = [vec![0x45; 20], answer.clone()].concat();
        assert!(answers(V4, true, &wrapped, &nonce));
        for length in 0..wrapped.len() {
            assert!(!answers(V4, true, &wrapped[..length], &nonce));
        }
        answer[0] = 129;
        assert!(answers(V6, true, &answer, &nonce));
    }

    #[test]
    fn loopback_answers() {
        ping(V4, Duration::from_secs(30)).unwrap();
        if std::net::UdpSocket::bind((V6, 0)).is_ok() {
            ping(V6, Duration::from_secs(30)).unwrap();
        }
    }
}
