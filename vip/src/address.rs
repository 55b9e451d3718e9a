//! Addresses of interfaces, through rtnetlink. Adding one that is there and removing one that is not are
//! no errors: who asks wants a state, and after a crash may not know the present one.

use futures_util::TryStreamExt;
use rtnetlink::packet_route::address::{AddressHeaderFlags, AddressMessage};
use rtnetlink::{AddressMessageBuilder, Handle};
use rustix::io::Errno;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

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
    /// a takeover may, and fails while the kernel of a dead node still answers. The kernel announces
    /// nothing: see [`crate::announce`].
    pub async fn add(&self) -> Result<(), AddressError> {
        let netlink = Netlink::open()?;
        let index = netlink.index(&self.interface).await?;
        let mut request = netlink.handle.address().add(index, self.ip, self.prefix);
        if self.ip.is_ipv6() {
            request.message_mut().header.flags.insert(AddressHeaderFlags::Nodad);
        }
        unless(Errno::EXIST, request.execute().await)
    }

    /// Takes it off its interface.
    pub async fn remove(&self) -> Result<(), AddressError> {
        let netlink = Netlink::open()?;
        let index = netlink.index(&self.interface).await?;
        let message = self.message(index);
        unless(Errno::ADDRNOTAVAIL, netlink.handle.address().del(message).execute().await)
    }

    fn message(&self, index: u32) -> AddressMessage {
        match self.ip {
            IpAddr::V4(ip) => AddressMessageBuilder::<Ipv4Addr>::new().index(index).address(ip, self.prefix).build(),
            IpAddr::V6(ip) => AddressMessageBuilder::<Ipv6Addr>::new().index(index).address(ip, self.prefix).build(),
        }
    }
}

fn is(error: &rtnetlink::Error, errno: Errno) -> bool {
    matches!(error, rtnetlink::Error::NetlinkError(why) if why.to_io().raw_os_error() == Some(errno.raw_os_error()))
}

fn unless(harmless: Errno, outcome: Result<(), rtnetlink::Error>) -> Result<(), AddressError> {
    match outcome {
        Err(why) if is(&why, harmless) => Ok(()),
        other => Ok(other?),
    }
}

/// A routing socket, served by a task while this lives.
struct Netlink {
    handle: Handle,
    serving: tokio::task::JoinHandle<()>,
}

impl Netlink {
    fn open() -> Result<Netlink, AddressError> {
        let (connection, handle, _) = rtnetlink::new_connection()?;
        Ok(Netlink { handle, serving: tokio::spawn(connection) })
    }

    async fn index(&self, interface: &str) -> Result<u32, AddressError> {
        let mut found = std::pin::pin!(self.handle.link().get().match_name(interface).execute());
        match found.try_next().await {
            Ok(Some(link)) => Ok(link.header.index),
            Ok(None) => Err(AddressError::NoInterface(interface.to_owned())),
            Err(why) if is(&why, Errno::NODEV) => Err(AddressError::NoInterface(interface.to_owned())),
            Err(why) => Err(why.into()),
        }
    }
}

impl Drop for Netlink {
    fn drop(&mut self) {
        self.serving.abort();
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
            address.remove().await.unwrap();
            address.remove().await.unwrap();
            assert!(present(&netlink, address.ip).await.is_none(), "{ip} is still there");
        }
        control(&netlink).await;
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
