//! Addresses of interfaces, through rtnetlink. Adding one that is there and removing one that is not are
//! no errors: who asks wants a state, and after a crash may not know the present one.

use crate::interface::{Assigned, Snapshot, in_network};
use crate::netlink::{Netlink, is};
use futures_util::TryStreamExt;
use rtnetlink::packet_route::address::{AddressAttribute, AddressHeaderFlags, AddressMessage, CacheInfo};
use rtnetlink::packet_route::route::RouteType;
use rtnetlink::{AddressMessageBuilder, RouteMessageBuilder};
use rustix::io::Errno;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant};

/// An address on an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// The address.
    pub ip: IpAddr,
    /// Length of its network's prefix.
    pub prefix: u8,
    /// Name of the interface.
    pub interface: String,
}

/// What failed.
#[derive(Debug, thiserror::Error)]
pub enum AddressError {
    /// The kernel's routing socket.
    #[error("no routing socket: {0}")]
    Socket(#[from] io::Error),
    /// There is no such interface.
    #[error("there is no interface {0}")]
    NoInterface(String),
    /// The kernel refused.
    #[error("the kernel refused: {0}")]
    Kernel(#[from] rtnetlink::Error),
}

impl Address {
    /// Puts it on its interface. An IPv6 address can be used at once: duplicate detection takes longer than
    /// a takeover may, and fails while the kernel of a dead node still answers. This node does not choose it for
    /// connections of its own, which would break when the address moves. The kernel announces nothing: see
    /// [`crate::announce`].
    pub async fn add(&self) -> Result<(), AddressError> {
        let netlink = Netlink::open()?;
        let index = netlink.index(&self.interface).await?;
        self.add_to(&netlink, index).await
    }

    /// Takes it off its interface.
    pub async fn remove(&self) -> Result<(), AddressError> {
        let netlink = Netlink::open()?;
        let index = netlink.index(&self.interface).await?;
        self.remove_from(&netlink, index).await
    }

    pub(crate) async fn add_to(&self, netlink: &Netlink, index: u32) -> Result<(), AddressError> {
        let mut request = netlink.handle.address().add(index, self.ip, self.prefix);
        if self.ip.is_ipv6() {
            let message = request.message_mut();
            message.header.flags.insert(AddressHeaderFlags::Nodad);
            let mut lifetime = CacheInfo::default();
            lifetime.ifa_preferred = 0; // never chosen as the source of a connection that names none
            lifetime.ifa_valid = FOR_EVER;
            message.attributes.push(AddressAttribute::CacheInfo(lifetime));
        }
        unless(Errno::EXIST, request.execute().await)?;
        self.usable(netlink).await;
        Ok(())
    }

    /// The kernel makes an IPv6 address known to its routes a little later, and drops what arrives before: a connection
    /// that begins then waits a second for its second attempt. So nobody is called before.
    async fn usable(&self, netlink: &Netlink) {
        let IpAddr::V6(ip) = self.ip else { return };
        let deadline = Instant::now() + USABLE_BOUND;
        while Instant::now() < deadline {
            let question = RouteMessageBuilder::<Ipv6Addr>::new().destination_prefix(ip, 128).build();
            let answer = std::pin::pin!(netlink.handle.route().get(question).execute()).try_next().await;
            if matches!(answer, Ok(Some(route)) if route.header.kind == RouteType::Local) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        tracing::warn!(interface = self.interface, "{ip} is not in the routes after {USABLE_BOUND:?}");
    }

    /// Other addresses of the interface stay, also those that the kernel would take along.
    pub(crate) async fn remove_from(&self, netlink: &Netlink, index: u32) -> Result<(), AddressError> {
        let before = netlink.snapshot().await?;
        let message = self.message(index);
        unless(Errno::ADDRNOTAVAIL, netlink.handle.address().del(message).execute().await)?;
        for lost in self.in_tow(&before, index) {
            put_back(netlink, lost).await?;
        }
        Ok(())
    }

    /// What goes with this address: removing the first IPv4 address of a network removes the others of that network
    /// (unless `promote_secondaries` is set). This one becomes the first when the server's own was taken off and
    /// put back.
    fn in_tow<'a>(&self, before: &'a Snapshot, index: u32) -> Vec<&'a Assigned> {
        let here = |other: &&Assigned| other.index == index && other.ip.is_ipv4();
        let first = before.addresses.iter().filter(here).any(|other| other.ip == self.ip && !other.secondary);
        let same = |other: &&Assigned| other.ip != self.ip && other.prefix == self.prefix && in_network(self.ip, other.ip, other.prefix);
        if !first {
            return Vec::new();
        }
        before.addresses.iter().filter(here).filter(same).filter(|other| other.secondary).collect()
    }

    fn message(&self, index: u32) -> AddressMessage {
        match self.ip {
            IpAddr::V4(ip) => AddressMessageBuilder::<Ipv4Addr>::new().index(index).address(ip, self.prefix).build(),
            IpAddr::V6(ip) => AddressMessageBuilder::<Ipv6Addr>::new().index(index).address(ip, self.prefix).build(),
        }
    }
}

/// The kernel's word for a lifetime without an end.
const FOR_EVER: u32 = u32::MAX;

/// It takes a few milliseconds, more on a busy machine. Afterwards we go on all the same.
const USABLE_BOUND: Duration = Duration::from_millis(50);

/// Nothing happens when the kernel has kept it.
async fn put_back(netlink: &Netlink, lost: &Assigned) -> Result<(), AddressError> {
    let mut request = netlink.handle.address().add(lost.index, lost.ip, lost.prefix);
    if let Some(broadcast) = lost.broadcast {
        let attributes = &mut request.message_mut().attributes;
        attributes.retain(|attribute| !matches!(attribute, AddressAttribute::Broadcast(_)));
        attributes.push(AddressAttribute::Broadcast(broadcast));
    }
    unless(Errno::EXIST, request.execute().await)
}

fn unless(harmless: Errno, outcome: Result<(), rtnetlink::Error>) -> Result<(), AddressError> {
    match outcome {
        Err(why) if is(&why, harmless) => Ok(()),
        other => Ok(other?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rtnetlink::packet_route::link::LinkFlags;
    use rtnetlink::{LinkUnspec, LinkVeth};
    use std::process::Command;

    const INSIDE: &str = "UNDERSTUDY_TEST_ADDRESS";

    /// The test again, in a process with a network of its own.
    #[test]
    fn addresses_come_and_go() {
        if std::env::var_os(INSIDE).is_some() {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            return runtime.block_on(inside());
        }
        let this = std::env::current_exe().unwrap();
        let mut own = Command::new("unshare");
        own.arg("--net").arg(this).args(["--exact", "address::tests::addresses_come_and_go"]).env(INSIDE, "1");
        let output = own.output().unwrap();
        assert!(output.status.success(), "{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    }

    async fn inside() {
        let netlink = Netlink::open().unwrap();
        cable(&netlink).await;
        for (ip, prefix) in [("10.0.0.100", 24), ("fd00::64", 64)] {
            let address = Address { ip: ip.parse().unwrap(), prefix, interface: "v0".into() };
            address.add().await.unwrap();
            address.add().await.unwrap();
            let found = present(&netlink, address.ip).await.expect("it was added");
            assert_eq!(found.header.prefix_len, prefix);
            assert!(!found.header.flags.contains(AddressHeaderFlags::Tentative), "{ip} cannot be used yet");
            assert_eq!(
                found.header.flags.contains(AddressHeaderFlags::Deprecated),
                found_v6(address.ip),
                "the source of our own connections"
            );
            address.remove().await.unwrap();
            address.remove().await.unwrap();
            assert!(present(&netlink, address.ip).await.is_none(), "{ip} is still there");
        }
        control(&netlink).await;
        neighbours_stay(&netlink).await;
        let nowhere = Address { ip: "10.0.0.100".parse().unwrap(), prefix: 24, interface: "nowhere".into() };
        assert!(matches!(nowhere.add().await, Err(AddressError::NoInterface(name)) if name == "nowhere"));
    }

    /// Without `nodad` the kernel would be asking around first, so its absence was worth looking for.
    async fn control(netlink: &Netlink) {
        let ip: IpAddr = "fd00::65".parse().unwrap();
        let index = netlink.index("v0").await.unwrap();
        netlink.handle.address().add(index, ip, 64).execute().await.unwrap();
        assert!(present(netlink, ip).await.unwrap().header.flags.contains(AddressHeaderFlags::Tentative));
    }

    fn found_v6(ip: IpAddr) -> bool {
        ip.is_ipv6()
    }

    /// The server's own address, which came after ours, is not taken along; the control shows that it would be.
    async fn neighbours_stay(netlink: &Netlink) {
        let ours = Address { ip: "10.0.0.100".parse().unwrap(), prefix: 24, interface: "v0".into() };
        let own = Address { ip: "10.0.0.1".parse().unwrap(), ..ours.clone() };
        let index = netlink.index("v0").await.unwrap();
        std::fs::write("/proc/sys/net/ipv4/conf/v0/promote_secondaries", "0").unwrap();
        ours.add().await.unwrap();
        own.add().await.unwrap();
        netlink.handle.address().del(ours.message(index)).execute().await.unwrap();
        assert!(present(netlink, own.ip).await.is_none(), "the kernel keeps it anyway: this shows nothing");
        ours.add().await.unwrap();
        own.add().await.unwrap();
        ours.remove().await.unwrap();
        assert!(present(netlink, own.ip).await.is_some(), "the server's own address is gone");
        assert!(present(netlink, ours.ip).await.is_none());
    }

    async fn cable(netlink: &Netlink) {
        netlink.handle.link().add(LinkVeth::new("v0", "v1").build()).execute().await.unwrap();
        for name in ["v0", "v1"] {
            let index = netlink.index(name).await.unwrap();
            netlink.handle.link().set(LinkUnspec::new_with_index(index).up().build()).execute().await.unwrap();
        }
        let link = std::pin::pin!(netlink.handle.link().get().match_name("v0").execute()).try_next().await.unwrap().unwrap();
        assert!(link.header.flags.contains(LinkFlags::LowerUp), "both ends are up");
    }

    async fn present(netlink: &Netlink, ip: IpAddr) -> Option<AddressMessage> {
        std::pin::pin!(netlink.handle.address().get().set_address_filter(ip).execute()).try_next().await.unwrap()
    }
}
