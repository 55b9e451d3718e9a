//! What a module wants, what it has, and what is refused before the kernel is asked.

use super::VipError;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

/// What happens when an address is lost: somebody deleted it, or its interface went down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnLoss {
    /// It is put back, as soon as that can be done, and announced anew.
    #[default]
    Restore,
    /// It is only reported: the module has failed.
    Fail,
}

/// An address that a module wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The address.
    pub ip: IpAddr,
    /// Length of its network's prefix.
    pub prefix: u8,
    /// Its interface; None: the one that has an address in the same network.
    pub interface: Option<String>,
    /// When it is lost.
    pub on_loss: OnLoss,
    /// Reset its TCP connections when it is given up, so that clients notice.
    pub reset_connections: bool,
}

/// An address that is on an interface through us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// Whose it is.
    pub module: String,
    /// The address.
    pub ip: IpAddr,
    /// Length of its network's prefix.
    pub prefix: u8,
    /// Where it is.
    pub interface: String,
    /// It is announced; false on interfaces that are no Ethernet.
    pub announced: bool,
    /// Not there now, for this reason.
    pub lost: Option<Reason>,
}

/// Why an address is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Somebody deleted it.
    Deleted,
    /// Its interface was switched off.
    InterfaceDown,
    /// Its interface has nothing at the other end.
    NoCarrier,
    /// Its interface is gone.
    InterfaceGone,
}

impl Reason {
    /// Stable, for JSON.
    pub fn code(self) -> &'static str {
        match self {
            Reason::Deleted => "address_deleted",
            Reason::InterfaceDown => "interface_down",
            Reason::NoCarrier => "no_carrier",
            Reason::InterfaceGone => "interface_gone",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Reason::Deleted => "somebody deleted it",
            Reason::InterfaceDown => "its interface is down",
            Reason::NoCarrier => "its interface has no carrier",
            Reason::InterfaceGone => "its interface is gone",
        })
    }
}

/// `10.0.0.100/24`, `fd00::64/64`.
impl FromStr for Wanted {
    type Err = VipError;

    fn from_str(text: &str) -> Result<Wanted, VipError> {
        let bad = |why: &str| VipError::Bad { address: text.to_owned(), why: why.to_owned() };
        let (ip, prefix) = text
            .split_once('/')
            .ok_or_else(|| bad("the length of its network's prefix is missing: write ADDRESS/LENGTH, as 10.0.0.100/24"))?;
        let ip = ip.parse().map_err(|_| bad("what stands before the slash is no IP address"))?;
        let digits = !prefix.is_empty() && prefix.bytes().all(|byte| byte.is_ascii_digit());
        let prefix = prefix.parse().ok().filter(|_| digits).ok_or_else(|| bad("what stands behind the slash is no length of a prefix"))?;
        let wanted = Wanted { ip, prefix, interface: None, on_loss: OnLoss::default(), reset_connections: false };
        wanted.check()?;
        Ok(wanted)
    }
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.ip, self.prefix)
    }
}

impl Wanted {
    /// Refuses what no interface can have as a virtual address.
    pub fn check(&self) -> Result<(), VipError> {
        match self.fault() {
            Some(why) => Err(VipError::Bad { address: self.to_string(), why }),
            None => Ok(()),
        }
    }

    fn fault(&self) -> Option<String> {
        let bits = if self.ip.is_ipv4() { 32 } else { 128 };
        if !(1..=bits).contains(&self.prefix) {
            return Some(format!("a prefix of its kind has 1 to {bits} bits"));
        }
        if self.ip.is_unspecified() || self.ip.is_multicast() || self.ip.is_loopback() {
            return Some("it is unspecified, multicast or loopback: choose an address of the network that clients use".into());
        }
        let why = match self.ip {
            IpAddr::V4(ip) if ip.is_broadcast() => "it is the broadcast address",
            IpAddr::V4(ip) if self.prefix < 31 && ip.to_bits() << self.prefix == 0 => "it is the address of the network itself",
            IpAddr::V4(ip) if self.prefix < 31 && ip.to_bits() | u32::MAX << (32 - self.prefix) == u32::MAX => {
                "it is the network's broadcast address"
            }
            IpAddr::V6(ip) if ip.to_ipv4_mapped().is_some() => "write an IPv4 address as one",
            IpAddr::V6(ip) if self.interface.is_none() && link_local(ip) => {
                "a link-local address is on every interface: name the interface"
            }
            _ => return None,
        };
        Some(why.into())
    }
}

fn link_local(ip: Ipv6Addr) -> bool {
    ip.is_unicast_link_local()
}

/// Refuses a list that names an address twice.
pub(super) fn check_all(module: &str, wanted: &[Wanted]) -> Result<(), VipError> {
    for (number, one) in wanted.iter().enumerate() {
        one.check()?;
        if wanted[..number].iter().any(|other| other.ip == one.ip) {
            return Err(VipError::Bad { address: one.to_string(), why: format!("module {module} names it twice") });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn good_ones() {
        for text in ["10.0.0.100/24", "10.0.0.100/32", "10.0.0.0/31", "10.0.0.255/23", "fd00::64/64", "fd00::64/128", "2001:db8::/64"] {
            assert_eq!(text.parse::<Wanted>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn bad_ones_say_why() {
        for (text, why) in [
            ("10.0.0.100", "ADDRESS/LENGTH"),
            ("service/24", "no IP address"),
            ("10.0.0.100/", "no length"),
            ("10.0.0.100/+24", "no length"),
            ("10.0.0.100/999", "no length"),
            ("10.0.0.100/33", "1 to 32"),
            ("10.0.0.100/0", "1 to 32"),
            ("fd00::64/129", "1 to 128"),
            ("0.0.0.0/24", "unspecified"),
            ("224.0.0.1/24", "multicast"),
            ("127.0.0.1/8", "loopback"),
            ("::1/128", "loopback"),
            ("255.255.255.255/32", "broadcast"),
            ("10.0.0.255/24", "broadcast"),
            ("10.0.0.0/24", "network itself"),
            ("::ffff:10.0.0.1/120", "IPv4"),
            ("fe80::1/64", "name the interface"),
        ] {
            let told = text.parse::<Wanted>().unwrap_err().to_string();
            assert!(told.contains(why) && told.contains(text), "{text}: {told}");
        }
    }

    #[test]
    fn twice_is_refused() {
        let one: Wanted = "10.0.0.100/24".parse().unwrap();
        assert!(check_all("pg", &[one.clone(), one]).unwrap_err().to_string().contains("twice"));
    }
}
