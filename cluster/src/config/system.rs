//! What this machine is like, as far as a configuration depends on it. Thin: what the kernel's tables mean is decided by
//! functions of their text.

use fsrepl::node::mounts;
use rustix::process::{Gid, Uid};
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

/// How often a port that nobody seems to hold is tried,
const TRIES: u32 = 5;
/// and how long is waited in between.
const PAUSE: Duration = Duration::from_millis(50);

/// Whether this machine has the address.
pub(super) fn is_local(address: IpAddr) -> bool {
    !matches!(UdpSocket::bind((address, 0)), Err(error) if error.kind() == std::io::ErrorKind::AddrNotAvailable)
}

/// Whether a port is in use.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Held {
    /// It can be bound, or that cannot be told here.
    Free,
    /// By the process of that name, if that can be seen.
    By(Option<String>),
}

pub(super) fn port(at: SocketAddr, udp: bool) -> Held {
    let bind = || if udp { UdpSocket::bind(at).map(drop) } else { TcpListener::bind(at).map(drop) };
    for _ in 0..TRIES {
        match bind() {
            Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {}
            _ => return Held::Free,
        }
        if let Some(name) = holder(at, udp) {
            return Held::By(Some(name));
        }
        // Held by nobody who can be seen: a child on its way to another program holds what its parent has let go.
        std::thread::sleep(PAUSE);
    }
    Held::By(None)
}

/// Name of the process with a socket on that port.
fn holder(at: SocketAddr, udp: bool) -> Option<String> {
    let tables = if udp { ["udp", "udp6"] } else { ["tcp", "tcp6"] };
    let text: String = tables.iter().filter_map(|table| fs::read_to_string(format!("/proc/thread-self/net/{table}")).ok()).collect();
    let sockets = sockets(&text, at.port(), udp);
    let processes = fs::read_dir("/proc").ok()?.flatten();
    for process in processes.filter(|entry| entry.file_name().to_string_lossy().bytes().all(|byte| byte.is_ascii_digit())) {
        let Ok(descriptors) = fs::read_dir(process.path().join("fd")) else { continue };
        let holds =
            descriptors.flatten().any(|fd| fs::read_link(fd.path()).is_ok_and(|to| sockets.iter().any(|socket| to == Path::new(socket))));
        if holds {
            return fs::read_to_string(process.path().join("comm")).ok().map(|name| name.trim_end().to_owned());
        }
    }
    None
}

/// Sockets bound to a port (TCP: that listen) in a table such as /proc/net/tcp, as /proc/PID/fd names them.
fn sockets(table: &str, port: u16, udp: bool) -> Vec<String> {
    let socket = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (_, local) = fields.get(1)?.rsplit_once(':')?;
        let bound = u16::from_str_radix(local, 16).ok()? == port && (udp || *fields.get(3)? == "0A");
        bound.then(|| fields.get(9).map(|inode| format!("socket:[{inode}]")))?
    };
    table.lines().filter_map(socket).collect()
}

/// A network that an interface is in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Interface {
    pub(super) name: String,
    network: IpAddr,
    prefix: u8,
}

impl Interface {
    /// Whether an address is in this network.
    pub(super) fn reaches(&self, address: IpAddr) -> bool {
        match (self.network, address) {
            (IpAddr::V4(ours), IpAddr::V4(theirs)) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(self.prefix.min(32))).unwrap_or(0);
                ours.to_bits() & mask == theirs.to_bits() & mask
            }
            (IpAddr::V6(ours), IpAddr::V6(theirs)) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(self.prefix.min(128))).unwrap_or(0);
                ours.to_bits() & mask == theirs.to_bits() & mask
            }
            _ => false,
        }
    }
}

/// The networks that interfaces of this machine are in.
pub(super) fn interfaces() -> Vec<Interface> {
    let read = |file| fs::read_to_string(file).unwrap_or_default();
    let mut all = ipv4(&read("/proc/thread-self/net/route"));
    all.extend(ipv6(&read("/proc/thread-self/net/if_inet6")));
    all
}

/// Routes without a gateway: Iface Destination Gateway Flags RefCnt Use Metric Mask, numbers in memory's order.
fn ipv4(routes: &str) -> Vec<Interface> {
    let number = |field: Option<&&str>| u32::from_str_radix(field?, 16).ok().map(u32::from_be);
    let route = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (to, gateway, mask) = (number(fields.get(1))?, number(fields.get(2))?, number(fields.get(7))?);
        let network = IpAddr::V4(Ipv4Addr::from_bits(to));
        (gateway == 0 && mask != 0).then(|| Interface { name: fields[0].into(), network, prefix: mask.leading_ones() as u8 })
    };
    routes.lines().skip(1).filter_map(route).collect()
}

/// Addresses: 32 digits, index, prefix, scope, flags, name. Link-local networks are everywhere and tell nothing.
fn ipv6(addresses: &str) -> Vec<Interface> {
    let address = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let address = Ipv6Addr::from_bits(u128::from_str_radix(fields.first()?, 16).ok()?);
        let prefix = u8::from_str_radix(fields.get(2)?, 16).ok().filter(|prefix| *prefix <= 128)?;
        let told = !address.is_unicast_link_local() && !address.is_loopback();
        told.then(|| Some(Interface { name: (*fields.get(5)?).into(), network: IpAddr::V6(address), prefix }))?
    };
    addresses.lines().filter_map(address).collect()
}

/// Whether there is an interface of that name in this network namespace.
pub(super) fn has_interface(name: &str) -> bool {
    let devices = fs::read_to_string("/proc/thread-self/net/dev").unwrap_or_default();
    devices.lines().any(|line| line.split_once(':').is_some_and(|(device, _)| device.trim() == name))
}

/// Type of the file system that a path is on, with its subtype; what is mounted last counts.
pub(super) fn file_system(path: &Path) -> Option<String> {
    let path = mounts::resolve(path).ok()?;
    let mounts = mounts::list().ok()?;
    let above = mounts.iter().filter(|mount| path.starts_with(&mount.point));
    above.max_by_key(|mount| mount.point.components().count()).map(|mount| mount.kind.clone())
}

/// Not local, or not keeping handles over a reboot.
pub(super) fn is_unsuited(kind: &str) -> bool {
    let word = kind.split('.').next().unwrap_or(kind);
    matches!(word, "fuse" | "fuseblk" | "nfs" | "nfs4" | "cifs" | "smb3" | "9p" | "virtiofs" | "ceph" | "afs" | "proc" | "sysfs" | "vfat")
}

/// Why a file cannot be run by root.
pub(super) fn not_executable(path: &Path) -> Option<String> {
    match fs::metadata(path) {
        Ok(metadata) if !metadata.is_file() => Some("is no regular file".into()),
        Ok(metadata) if metadata.mode() & 0o111 == 0 => Some("is not executable".into()),
        Ok(_) => None,
        Err(error) => Some(format!("cannot be used ({error})")),
    }
}

/// Name of a user, from the local file or wherever the machine looks users up.
pub(super) fn user(uid: u32) -> Option<String> {
    account("passwd", Uid::from_raw(uid).as_raw())
}

/// Name of a group.
pub(super) fn group(gid: u32) -> Option<String> {
    account("group", Gid::from_raw(gid).as_raw())
}

fn account(table: &str, id: u32) -> Option<String> {
    let local = fs::read_to_string(format!("/etc/{table}")).unwrap_or_default();
    let find = |text: &str| accounts(text).find(|(_, other)| *other == id).map(|(name, _)| name);
    find(&local).or_else(|| {
        let asked = Command::new("getent").args([table, &id.to_string()]).stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
        find(&String::from_utf8_lossy(&asked.stdout))
    })
}

/// Names and numbers of a table such as /etc/passwd.
pub(super) fn accounts(text: &str) -> impl Iterator<Item = (String, u32)> {
    text.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let (name, id) = (fields.next()?, fields.nth(1)?);
        (!name.is_empty()).then_some((name.to_owned(), id.parse().ok()?))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_of_interfaces() {
        let routes = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n\
                      eth0\t00000000\t0100000A\t0003\t0\t0\t0\t00000000\t0\t0\t0\n\
                      eth0\t0000000A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n\
                      bad line\n";
        let addresses = "00000000000000000000000000000001 01 80 10 80       lo\n\
                         fd000000000000000000000000000005 02 40 00 80     eth1\n\
                         fe800000000000000000000000000005 02 40 20 80     eth1\n";
        let (v4, v6) = (ipv4(routes), ipv6(addresses));
        assert_eq!((v4.len(), v6.len()), (1, 1));
        for (interface, address, expected) in [
            (&v4[0], "10.0.0.100", true),
            (&v4[0], "10.0.1.100", false),
            (&v4[0], "fd00::1", false),
            (&v6[0], "fd00::64", true),
            (&v6[0], "fd00:1::64", false),
        ] {
            assert_eq!(interface.reaches(address.parse().unwrap()), expected, "{address}");
        }
        assert_eq!((v4[0].name.as_str(), v6[0].name.as_str()), ("eth0", "eth1"));
    }

    #[test]
    fn sockets_of_a_table() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n   \
                     0: 0100007F:1CE8 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4242 1 0000 100\n   \
                     1: 0100007F:1CE8 0100007F:D431 01 00000000:00000000 00:00000000 00000000     0        0 4243 1 0000 20\n";
        assert_eq!(sockets(table, 7400, false), ["socket:[4242]"]);
        assert_eq!(sockets(table, 7401, false), Vec::<String>::new());
    }

    #[test]
    fn users_and_groups() {
        assert_eq!(user(0).as_deref(), Some("root"));
        assert_eq!(group(0).as_deref(), Some("root"));
        assert_eq!(user(3_999_999_999), None);
    }
}
