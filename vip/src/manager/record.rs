//! Which addresses a daemon has put on interfaces, for the next one when this one dies. Written before an address
//! is added and after it was removed: what is on an interface through us is in here.

use super::VipError;
use crate::address::Address;
use serde::{Deserialize, Serialize};
use std::fs;
use std::io::{self, Write as _};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

const VERSION: u32 = 1;
/// A file that is longer was not written by us.
const LONGEST: u64 = 1 << 20;

/// One address of one module.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Recorded {
    pub(super) module: String,
    pub(super) ip: IpAddr,
    pub(super) prefix: u8,
    pub(super) interface: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct File {
    version: u32,
    /// Addresses do not outlive the kernel that they were given to.
    boot_id: String,
    addresses: Vec<Recorded>,
}

impl Recorded {
    pub(super) fn address(&self) -> Address {
        Address { ip: self.ip, prefix: self.prefix, interface: self.interface.clone() }
    }
}

/// What was recorded since this node's kernel started.
pub(super) fn read(path: &Path) -> Result<Vec<Recorded>, VipError> {
    let failed = |why: &dyn std::fmt::Display| VipError::Record { path: path.to_owned(), why: why.to_string() };
    let text = match fs::metadata(path)
        .and_then(|about| if about.len() > LONGEST { Err(io::ErrorKind::FileTooLarge.into()) } else { fs::read(path) })
    {
        Ok(text) => text,
        Err(why) if why.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(why) => return Err(failed(&why)),
    };
    // It is not flushed, because it is of no use after a power cut; what is left of it then may be empty.
    if text.iter().all(|byte| *byte == 0) {
        return Ok(Vec::new());
    }
    #[derive(Deserialize)]
    struct Head {
        version: u32,
    }
    let head: Head = serde_json::from_slice(&text).map_err(|why| failed(&why))?;
    if head.version != VERSION {
        return Err(failed(&format!("its version is {}, this program knows {VERSION}", head.version)));
    }
    let file: File = serde_json::from_slice(&text).map_err(|why| failed(&why))?;
    Ok(if file.boot_id == boot_id().map_err(|why| failed(&why))? { file.addresses } else { Vec::new() })
}

/// Replaces the file, whole or not at all; without addresses there is none.
pub(super) fn write(path: &Path, addresses: Vec<Recorded>) -> Result<(), VipError> {
    replace(path, addresses).map_err(|why| VipError::Record { path: path.to_owned(), why: why.to_string() })
}

fn replace(path: &Path, addresses: Vec<Recorded>) -> io::Result<()> {
    if addresses.is_empty() {
        return match fs::remove_file(path) {
            Err(why) if why.kind() != io::ErrorKind::NotFound => Err(why),
            _ => Ok(()),
        };
    }
    let text = serde_json::to_vec_pretty(&File { version: VERSION, boot_id: boot_id()?, addresses })?;
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let new = PathBuf::from(name);
    fs::File::create(&new).and_then(|mut file| file.write_all(&text))?;
    fs::rename(&new, path)
}

fn boot_id() -> io::Result<String> {
    Ok(fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one() -> Recorded {
        Recorded { module: "pg".into(), ip: "10.0.0.100".parse().unwrap(), prefix: 24, interface: "eth0".into() }
    }

    #[test]
    fn written_and_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("addresses.json");
        assert_eq!(read(&path).unwrap(), []);
        write(&path, vec![one()]).unwrap();
        assert_eq!(read(&path).unwrap(), [one()]);
        write(&path, Vec::new()).unwrap();
        assert!(!path.exists());
        write(&path, Vec::new()).unwrap();
    }

    #[test]
    fn another_boot_has_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("addresses.json");
        write(&path, vec![one()]).unwrap();
        let text = fs::read_to_string(&path).unwrap().replace(&boot_id().unwrap(), "another");
        fs::write(&path, text).unwrap();
        assert_eq!(read(&path).unwrap(), []);
    }

    #[test]
    fn damage_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("addresses.json");
        for text in ["", "\0\0\0"] {
            fs::write(&path, text).unwrap();
            assert_eq!(read(&path).unwrap(), [], "what a power cut leaves");
        }
        for (text, why) in [("nonsense", "expected"), ("{\"version\":7}", "its version is 7"), ("{\"version\":1}", "boot_id")] {
            fs::write(&path, text).unwrap();
            let told = read(&path).unwrap_err().to_string();
            assert!(told.contains(why) && told.contains("addresses.json"), "{told}");
        }
        assert!(write(Path::new("/nowhere/addresses.json"), vec![one()]).is_err());
    }
}
