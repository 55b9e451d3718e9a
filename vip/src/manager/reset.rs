//! Ends the TCP connections of an address: both ends notice, the other one by a RST. Through the kernel's socket
//! diagnosis (what `ss -K` uses).

use rustix::io::Errno;
use rustix::net::netlink::{SOCK_DIAG, SocketAddrNetlink};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, bind, recv, sendto, socket_with};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

/// The removal of an address does not wait longer for its connections.
pub(super) const RESET_BOUND: Duration = Duration::from_millis(200);
/// For one answer of the kernel.
const BUFFER: usize = 64 << 10;

const BY_FAMILY: u16 = 20;
const DESTROY: u16 = 21;
const ERROR: u16 = 2;
const DONE: u16 = 3;
const REQUEST: u16 = 1;
const ACKNOWLEDGE: u16 = 4;
const DUMP: u16 = 0x300;
const TCP: u8 = 6;
const INET: u8 = 2;
const INET6: u8 = 10;
/// Every state in which there is a peer: not closed, TIME-WAIT or listening.
const CONNECTED: u32 = 0xfff & !(1 << 6 | 1 << 7 | 1 << 10);

const HEADER: usize = 16;
/// `struct inet_diag_msg`: family, state, timer, retransmissions, then the socket's id.
const ID_OFFSET: usize = 4;
/// `struct inet_diag_sockid`: ports, source, destination, interface, cookie.
const ID: usize = 48;
const SOURCE: std::ops::Range<usize> = 4..20;

type Id = [u8; ID];

/// Ends the connections whose local address is `ip`; gives their number. A listening socket stays.
pub(super) fn connections(ip: IpAddr, bound: Duration) -> Result<usize, String> {
    let deadline = Instant::now() + bound;
    // A socket for IPv6 that speaks IPv4 is listed with the former.
    let families: &[u8] = if ip.is_ipv4() { &[INET, INET6] } else { &[INET6] };
    let mut ended = 0;
    for family in families {
        let diagnosis = Diagnosis::open().map_err(|why| format!("no socket diagnosis: {why}"))?;
        let found = diagnosis.list(*family, ip).map_err(|why| format!("cannot list connections: {why}"))?;
        for id in found {
            if Instant::now() > deadline {
                return Err(format!("{ended} connections were reset, for more there was no time"));
            }
            match diagnosis.destroy(*family, &id) {
                Ok(()) => ended += 1,
                Err(Errno::NOENT) => {}
                Err(Errno::OPNOTSUPP) => return Err("the kernel was built without INET_DIAG_DESTROY".into()),
                Err(why) => return Err(format!("cannot reset a connection: {why}")),
            }
        }
    }
    Ok(ended)
}

struct Diagnosis {
    fd: OwnedFd,
}

impl Diagnosis {
    fn open() -> Result<Diagnosis, Errno> {
        let fd = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, Some(SOCK_DIAG))?;
        bind(&fd, &SocketAddrNetlink::new(0, 0))?;
        // The kernel answers at once; should it not, the caller goes on.
        rustix::net::sockopt::set_socket_timeout(&fd, rustix::net::sockopt::Timeout::Recv, Some(RESET_BOUND))?;
        Ok(Diagnosis { fd })
    }

    fn ask(&self, kind: u16, flags: u16, family: u8, id: &Id) -> Result<(), Errno> {
        sendto(&self.fd, &request(kind, flags, family, id), SendFlags::empty(), &SocketAddrNetlink::new(0, 0))?;
        Ok(())
    }

    fn list(&self, family: u8, ip: IpAddr) -> Result<Vec<Id>, Errno> {
        self.ask(BY_FAMILY, REQUEST | DUMP, family, &[0; ID])?;
        let mut found = Vec::new();
        let mut buffer = vec![0; BUFFER];
        loop {
            let (_, length) = recv(&self.fd, &mut buffer[..], RecvFlags::empty())?;
            for (kind, body) in messages(&buffer[..length.min(BUFFER)]) {
                match kind {
                    DONE => return Ok(found),
                    ERROR => return Err(errno(body).err().unwrap_or(Errno::IO)),
                    BY_FAMILY => found.extend(id(body).filter(|id| source(family, id) == ip)),
                    _ => {}
                }
            }
        }
    }

    fn destroy(&self, family: u8, id: &Id) -> Result<(), Errno> {
        self.ask(DESTROY, REQUEST | ACKNOWLEDGE, family, id)?;
        let mut buffer = [0; 1024];
        let (_, length) = recv(&self.fd, &mut buffer[..], RecvFlags::empty())?;
        match messages(&buffer[..length.min(1024)]).next() {
            Some((ERROR, body)) => errno(body),
            _ => Err(Errno::IO),
        }
    }
}

/// Header and `struct inet_diag_req_v2`.
fn request(kind: u16, flags: u16, family: u8, id: &Id) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER + 8 + ID);
    bytes.extend_from_slice(&((HEADER + 8 + ID) as u32).to_ne_bytes());
    bytes.extend_from_slice(&kind.to_ne_bytes());
    bytes.extend_from_slice(&flags.to_ne_bytes());
    bytes.extend_from_slice(&[0; 8]); // sequence, port
    bytes.extend_from_slice(&[family, TCP, 0, 0]);
    bytes.extend_from_slice(&CONNECTED.to_ne_bytes());
    bytes.extend_from_slice(id);
    bytes
}

/// Kind and body of each message; ends at what is not whole.
fn messages(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = u32::from_ne_bytes(bytes.get(..4)?.try_into().ok()?) as usize;
        let kind = u16::from_ne_bytes(bytes.get(4..6)?.try_into().ok()?);
        let body = bytes.get(HEADER..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, body))
    })
}

fn errno(body: &[u8]) -> Result<(), Errno> {
    match body.get(..4).and_then(|code| code.try_into().ok()).map(i32::from_ne_bytes) {
        Some(0) => Ok(()),
        Some(code @ -4095..0) => Err(Errno::from_raw_os_error(-code)),
        _ => Err(Errno::IO),
    }
}

fn id(body: &[u8]) -> Option<Id> {
    body.get(ID_OFFSET..ID_OFFSET + ID)?.try_into().ok()
}

fn source(family: u8, id: &Id) -> IpAddr {
    let bytes: [u8; 16] = id[SOURCE].try_into().expect("sixteen bytes");
    match family {
        INET => Ipv4Addr::new(bytes[0], bytes[1], bytes[2], bytes[3]).into(),
        _ => Ipv6Addr::from(bytes).to_canonical(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_request_is_as_long_as_it_says() {
        let bytes = request(DESTROY, REQUEST | ACKNOWLEDGE, INET, &[7; ID]);
        assert_eq!(bytes.len(), 72);
        assert_eq!(bytes[..4], 72_u32.to_ne_bytes());
        assert_eq!(messages(&bytes).collect::<Vec<_>>(), [(DESTROY, &bytes[HEADER..])]);
        assert_eq!(CONNECTED, 0b1011_0011_1111, "established, SYN and FIN states, CLOSE-WAIT, LAST-ACK, CLOSING");
    }

    proptest! {
        #[test]
        fn nothing_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            for (_, body) in messages(&bytes) {
                let _ = (errno(body), id(body).map(|id| source(INET6, &id)));
            }
        }
    }
}
