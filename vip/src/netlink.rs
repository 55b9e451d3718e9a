//! The kernel's routing socket.

use crate::address::AddressError;
use crate::interface::{Assigned, Interface, Snapshot};
use futures_util::TryStreamExt;
use pnet_base::MacAddr;
use rtnetlink::Handle;
use rtnetlink::packet_route::address::{AddressAttribute, AddressFlags, AddressHeaderFlags, AddressMessage};
use rtnetlink::packet_route::link::{LinkAttribute, LinkFlags, LinkLayerType, LinkMessage};
use rustix::io::Errno;
use std::net::IpAddr;

/// A routing socket, served by a task while this lives.
pub(crate) struct Netlink {
    pub(crate) handle: Handle,
    serving: tokio::task::JoinHandle<()>,
}

impl Netlink {
    pub(crate) fn open() -> Result<Netlink, AddressError> {
        let (connection, handle, _) = rtnetlink::new_connection()?;
        Ok(Netlink { handle, serving: tokio::spawn(connection) })
    }

    pub(crate) async fn index(&self, interface: &str) -> Result<u32, AddressError> {
        let mut found = std::pin::pin!(self.handle.link().get().match_name(interface).execute());
        match found.try_next().await {
            Ok(Some(link)) => Ok(link.header.index),
            Ok(None) => Err(AddressError::NoInterface(interface.to_owned())),
            Err(why) if is(&why, Errno::NODEV) => Err(AddressError::NoInterface(interface.to_owned())),
            Err(why) => Err(why.into()),
        }
    }

    /// All interfaces and all their addresses, as they are now.
    pub(crate) async fn snapshot(&self) -> Result<Snapshot, AddressError> {
        let mut interfaces = Vec::new();
        let mut links = std::pin::pin!(self.handle.link().get().execute());
        while let Some(link) = links.try_next().await? {
            interfaces.extend(interface(&link));
        }
        let mut addresses = Vec::new();
        let mut found = std::pin::pin!(self.handle.address().get().execute());
        while let Some(message) = found.try_next().await? {
            addresses.extend(assigned(&message));
        }
        Ok(Snapshot { interfaces, addresses })
    }
}

impl Drop for Netlink {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// Whether the kernel answered with `errno`.
pub(crate) fn is(error: &rtnetlink::Error, errno: Errno) -> bool {
    matches!(error, rtnetlink::Error::NetlinkError(why) if why.to_io().raw_os_error() == Some(errno.raw_os_error()))
}

fn interface(link: &LinkMessage) -> Option<Interface> {
    let name = link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::IfName(name) => Some(name.clone()),
        _ => None,
    })?;
    let flags = link.header.flags;
    let mac = link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::Address(bytes) => <[u8; 6]>::try_from(bytes.as_slice()).ok().map(MacAddr::from),
        _ => None,
    });
    let ethernet = link.header.link_layer_type == LinkLayerType::Ether && !flags.contains(LinkFlags::Noarp);
    Some(Interface {
        name,
        index: link.header.index,
        mac: mac.filter(|_| ethernet),
        up: flags.contains(LinkFlags::Up),
        carrier: flags.contains(LinkFlags::LowerUp),
        loopback: flags.contains(LinkFlags::Loopback),
    })
}

fn assigned(message: &AddressMessage) -> Option<Assigned> {
    let (mut address, mut local, mut broadcast, mut flags) = (None, None, None, AddressFlags::empty());
    for attribute in &message.attributes {
        match attribute {
            AddressAttribute::Address(ip) => address = Some(*ip),
            AddressAttribute::Local(ip) => local = Some(*ip),
            AddressAttribute::Broadcast(ip) => broadcast = Some(*ip),
            AddressAttribute::Flags(all) => flags = *all,
            _ => {}
        }
    }
    Some(Assigned {
        // On a point-to-point link `Address` is the other end's.
        ip: local.or(address)?,
        prefix: message.header.prefix_len,
        index: message.header.index,
        secondary: message.header.flags.contains(AddressHeaderFlags::Secondary) && address.is_some_and(|ip: IpAddr| ip.is_ipv4()),
        usable: !flags.intersects(AddressFlags::Tentative | AddressFlags::Dadfailed),
        broadcast,
    })
}
