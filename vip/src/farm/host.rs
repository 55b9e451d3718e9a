//! This host's part: finding interfaces, putting the farm's addresses there, sending announcements.
//!
//! The address is put on with a prefix of its own length and, for IPv6, as one that is not preferred: the host
//! never chooses it as the source of its own connections, whose answers would go to whoever answers ARP.

use super::rules::Local;
use super::settings::VirtualAddress;
use crate::address::Address;
use crate::announce;
use futures_util::TryStreamExt;
use pnet_base::MacAddr;
use pnet_datalink::{Channel, Config, NetworkInterface};
use rtnetlink::packet_route::address::{AddressAttribute, AddressHeaderFlags, CacheInfo};
use std::future::Future;
use std::io;
use std::net::IpAddr;

/// What failed.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// No interface to put it on.
    #[error("the address {ip} belongs to no interface of this host: {why}")]
    NoInterface {
        /// The address.
        ip: IpAddr,
        /// What to do.
        why: String,
    },
    /// The routing socket.
    #[error("{what}: {why}")]
    Kernel {
        /// What was asked.
        what: String,
        /// The kernel's word.
        why: String,
    },
    /// Sending frames.
    #[error("{ip} cannot be announced on {interface}: {why}")]
    Announce {
        /// The address.
        ip: IpAddr,
        /// Where.
        interface: String,
        /// Why.
        why: io::Error,
    },
}

/// Finds the interface of an address, its MAC address, and an address of the host itself there. `ours` are all
/// virtual addresses: none of them is the host's own.
pub fn find(address: &VirtualAddress, ours: &[IpAddr]) -> Result<Local, HostError> {
    let interfaces = pnet_datalink::interfaces();
    let no = |why: String| HostError::NoInterface { ip: address.ip, why };
    let interface = match &address.interface {
        Some(name) => {
            interfaces.iter().find(|interface| interface.name == *name).ok_or_else(|| no(format!("there is no interface {name}")))?
        }
        None => interfaces
            .iter()
            .find(|interface| own(interface, address.ip, ours).iter().any(|own| same_network(*own, address.ip, address.prefix)))
            .ok_or_else(|| no("no interface has an address in its subnet; name one with `interface`".to_owned()))?,
    };
    let mac = interface.mac.filter(|mac| !mac.is_zero()).ok_or_else(|| no(format!("{} has no MAC address", interface.name)))?;
    let own = own(interface, address.ip, ours);
    let node = own.iter().find(|own| same_network(**own, address.ip, address.prefix)).or(own.first()).copied();
    let node = node.ok_or_else(|| {
        no(format!("{} has no address of its own of the same family, which the node needs to ask for clients", interface.name))
    })?;
    Ok(Local { ip: address.ip, interface: interface.name.clone(), mac: mac.octets(), node })
}

/// The host's own addresses there, of the family of `ip`.
fn own(interface: &NetworkInterface, ip: IpAddr, ours: &[IpAddr]) -> Vec<IpAddr> {
    let all = interface.ips.iter().map(|network| network.ip());
    all.filter(|own| own.is_ipv4() == ip.is_ipv4() && !ours.contains(own)).collect()
}

fn same_network(a: IpAddr, b: IpAddr, prefix: u8) -> bool {
    let bits = |ip: IpAddr| match ip {
        IpAddr::V4(ip) => u128::from(u32::from(ip)) << 96,
        IpAddr::V6(ip) => u128::from(ip),
    };
    let mask = if prefix == 0 { 0 } else { u128::MAX << (128 - u32::from(prefix)) };
    a.is_ipv4() == b.is_ipv4() && bits(a) & mask == bits(b) & mask
}

/// Puts it on its interface.
pub fn add(local: &Local) -> Result<(), HostError> {
    blocking(place(local))?.map_err(|why| HostError::Kernel { what: format!("{} cannot be put on {}", local.ip, local.interface), why })
}

/// Takes it off. One that is not there is no error.
pub fn remove(local: &Local) -> Result<(), HostError> {
    let whole = Address { ip: local.ip, prefix: whole(local.ip), interface: local.interface.clone() };
    let failed = |why: String| HostError::Kernel { what: format!("{} cannot be taken off {}", local.ip, local.interface), why };
    blocking(async move { whole.remove().await.map_err(|why| why.to_string()) })?.map_err(failed)
}

fn whole(ip: IpAddr) -> u8 {
    if ip.is_ipv4() { 32 } else { 128 }
}

async fn place(local: &Local) -> Result<(), String> {
    let (connection, handle, _) = rtnetlink::new_connection().map_err(|why| why.to_string())?;
    let serving = tokio::spawn(connection);
    let done = async {
        let mut links = std::pin::pin!(handle.link().get().match_name(local.interface.clone()).execute());
        let link = links.try_next().await.map_err(|why| why.to_string())?.ok_or("there is no such interface")?;
        let mut request = handle.address().add(link.header.index, local.ip, whole(local.ip)).replace();
        if local.ip.is_ipv6() {
            let message = request.message_mut();
            message.header.flags.insert(AddressHeaderFlags::Nodad);
            let mut times = CacheInfo::default();
            (times.ifa_preferred, times.ifa_valid) = (0, u32::MAX);
            message.attributes.push(AddressAttribute::CacheInfo(times));
        }
        request.execute().await.map_err(|why| why.to_string())
    };
    let done = done.await;
    serving.abort();
    done
}

/// Runs it on a thread of its own, so that it works wherever the caller stands, also inside a runtime.
fn blocking<T: Send>(work: impl Future<Output = T> + Send) -> Result<T, HostError> {
    let failed = |why: String| HostError::Kernel { what: "no runtime for the routing socket".to_owned(), why };
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|why| why.to_string())?;
            Ok(runtime.block_on(work))
        });
        thread.join().unwrap_or_else(|_| Err("its thread panicked".to_owned())).map_err(failed)
    })
}

/// Tells the network once that the address is here.
pub fn announce(local: &Local) -> Result<(), HostError> {
    let failed = |why: io::Error| HostError::Announce { ip: local.ip, interface: local.interface.clone(), why };
    let interfaces = pnet_datalink::interfaces();
    let interface = interfaces.into_iter().find(|interface| interface.name == local.interface);
    let interface = interface.ok_or_else(|| failed(io::ErrorKind::NotFound.into()))?;
    // Opened for each time: a packet socket that stays open is given every frame that arrives.
    let channel = pnet_datalink::channel(&interface, Config::default()).map_err(failed)?;
    let Channel::Ethernet(mut sender, _) = channel else { return Err(failed(io::ErrorKind::Unsupported.into())) };
    let mac = MacAddr::from(local.mac);
    for frame in announce::frames(local.ip, mac) {
        sender.send_to(&frame, None).unwrap_or_else(|| Err(io::ErrorKind::OutOfMemory.into())).map_err(failed)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subnets_are_compared_by_their_prefix() {
        let same = |a: &str, b: &str, prefix| same_network(a.parse().unwrap(), b.parse().unwrap(), prefix);
        assert!(same("10.0.0.1", "10.0.0.100", 24));
        assert!(!same("10.0.1.1", "10.0.0.100", 24));
        assert!(same("fd00::1", "fd00::64", 64));
        assert!(!same("fd00:0:0:1::1", "fd00::64", 64));
        assert!(!same("0.0.0.0", "::", 0));
    }
}
