//! Packet sockets of one interface and one protocol: whole Ethernet frames, ours out and the network's in.

use crate::interface::Interface;
use pnet_datalink::{Channel, ChannelType, Config, NetworkInterface};
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};
use socket2::SockFilter;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, IntoRawFd, OwnedFd};

/// What a socket is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// ARP.
    Arp,
    /// IPv6; of what arrives, neighbour solicitations and advertisements.
    Neighbor,
}

/// One packet socket. What this node sends is not received.
#[derive(Debug)]
pub struct PacketSocket {
    fd: OwnedFd,
}

impl PacketSocket {
    /// On `interface`. Needs CAP_NET_RAW.
    pub fn open(interface: &Interface, kind: Kind) -> io::Result<PacketSocket> {
        // Without a protocol nothing arrives before the filter is in place and the interface chosen.
        let fd = rustix::net::socket_with(AddressFamily::PACKET, SocketType::RAW, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None)?;
        if kind == Kind::Neighbor {
            socket2::SockRef::from(&fd).attach_filter(&neighbor_messages())?;
        }
        bind(&fd, interface, kind)?;
        Ok(PacketSocket { fd })
    }

    /// Sends one frame.
    pub fn send(&self, frame: &[u8]) -> io::Result<()> {
        rustix::net::send(&self.fd, frame, SendFlags::empty())?;
        Ok(())
    }

    /// The next frame, cut to the buffer; None when there is none now.
    pub fn receive<'a>(&self, buffer: &'a mut [u8]) -> io::Result<Option<&'a [u8]>> {
        match rustix::net::recv(&self.fd, &mut *buffer, RecvFlags::empty()) {
            Ok((length, _)) => Ok(Some(&buffer[..length])),
            Err(Errno::AGAIN | Errno::INTR) => Ok(None),
            Err(why) => Err(why.into()),
        }
    }
}

impl AsFd for PacketSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// The binding belongs to the socket, not to the descriptor: `pnet_datalink` binds a second one and closes it.
fn bind(fd: &OwnedFd, interface: &Interface, kind: Kind) -> io::Result<()> {
    let second = fd.try_clone()?;
    let protocol = match kind {
        Kind::Arp => 0x0806,
        Kind::Neighbor => 0x86dd,
    };
    let place = NetworkInterface {
        name: interface.name.clone(),
        description: String::new(),
        index: interface.index,
        mac: interface.mac,
        ips: Vec::new(),
        flags: 0,
    };
    let config = Config {
        channel_type: ChannelType::Layer3(protocol),
        promiscuous: false,
        socket_fd: Some(second.into_raw_fd()),
        ..Config::default()
    };
    match pnet_datalink::channel(&place, config)? {
        Channel::Ethernet(..) => Ok(()),
        _ => Err(io::Error::other("not an Ethernet channel")),
    }
}

/// In the kernel's filter language, offsets from the Ethernet header: next header ICMPv6, type 135 or 136.
fn neighbor_messages() -> [SockFilter; 7] {
    const LOAD_BYTE: u16 = 0x30;
    const EQUAL: u16 = 0x15; // skips so many if so, so many if not
    const RETURN: u16 = 0x06;
    [
        SockFilter::new(LOAD_BYTE, 0, 0, 20),
        SockFilter::new(EQUAL, 0, 4, 58),
        SockFilter::new(LOAD_BYTE, 0, 0, 54),
        SockFilter::new(EQUAL, 1, 0, 135),
        SockFilter::new(EQUAL, 0, 1, 136),
        SockFilter::new(RETURN, 0, 0, u32::MAX),
        SockFilter::new(RETURN, 0, 0, 0),
    ]
}
