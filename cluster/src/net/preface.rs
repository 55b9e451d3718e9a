//! The first bytes of every connection to the one TCP port of a node. They say who is to take the connection over, and
//! nothing else: what follows is read by that one, so not a byte beyond them may be taken.

use super::limits;
use super::sockets::Timed;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// First bytes.
const MAGIC: [u8; 4] = *b"USTY";
/// Of this layout.
const VERSION: u8 = 1;
/// Bytes before the name.
const FIXED: usize = 8;

/// What a connection is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Preface {
    /// Requests between daemons, engines and tools.
    Control,
    /// An engine's connection to the other node's engine of this module.
    Replication {
        /// The module.
        module: String,
    },
}

/// Why a connection is closed.
#[derive(Debug, thiserror::Error)]
pub enum PrefaceError {
    /// Not of ours.
    #[error("it does not begin as a connection of this program")]
    Stranger,
    /// Of another version.
    #[error("version {0} of the connection's beginning is not spoken here: upgrade the older node")]
    Version(u8),
    /// The parts contradict each other, or a name is none.
    #[error("the connection's beginning is no sound one: {0}")]
    Malformed(&'static str),
    /// Nothing was said at all.
    #[error("it was closed before anything was said")]
    Silent,
    /// Too late, or broken off.
    #[error("it broke off at its beginning: {0}")]
    Io(#[from] io::Error),
}

impl Preface {
    /// For the wire. A name longer than [`limits::NAME`] or without a byte is an error of the caller.
    pub fn encode(&self) -> io::Result<Vec<u8>> {
        let (kind, name) = match self {
            Preface::Control => (1, ""),
            Preface::Replication { module } => (2, module.as_str()),
        };
        if name.len() > limits::NAME || kind == 2 && !sound(name) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{name:?} is no name of a module")));
        }
        let mut bytes = Vec::with_capacity(FIXED + name.len());
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&[VERSION, kind]);
        bytes.extend_from_slice(&(name.len() as u16).to_le_bytes());
        bytes.extend_from_slice(name.as_bytes());
        Ok(bytes)
    }

    /// Says it on a fresh connection.
    pub fn write(&self, stream: &TcpStream, timeout: Duration) -> io::Result<()> {
        let before = stream.write_timeout()?;
        Timed { stream, deadline: Instant::now() + timeout }.write_all(&self.encode()?)?;
        stream.set_write_timeout(before)
    }

    /// Reads it from a fresh connection, in blocking mode, and leaves the connection's timeouts as they were.
    pub fn read(stream: &TcpStream, timeout: Duration) -> Result<Preface, PrefaceError> {
        let before = stream.read_timeout()?;
        let preface = Preface::read_from(&mut Timed { stream, deadline: Instant::now() + timeout })?;
        stream.set_read_timeout(before)?;
        Ok(preface)
    }

    fn read_from(source: &mut impl Read) -> Result<Preface, PrefaceError> {
        let mut fixed = [0; FIXED];
        // Byte by byte at first: whoever says something else shall not be waited for.
        for at in 0..MAGIC.len() {
            match source.read_exact(&mut fixed[at..=at]) {
                Err(error) if at == 0 && error.kind() == io::ErrorKind::UnexpectedEof => return Err(PrefaceError::Silent),
                other => other?,
            }
            if fixed[at] != MAGIC[at] {
                return Err(PrefaceError::Stranger);
            }
        }
        source.read_exact(&mut fixed[MAGIC.len()..])?;
        let [_, _, _, _, version, kind, low, high] = fixed;
        if version != VERSION {
            return Err(PrefaceError::Version(version));
        }
        let length = usize::from(u16::from_le_bytes([low, high]));
        match (kind, length) {
            (1, 0) => Ok(Preface::Control),
            (1, _) => Err(PrefaceError::Malformed("a control connection with a module")),
            (2, 1..=limits::NAME) => {
                let mut name = vec![0; length];
                source.read_exact(&mut name)?;
                match String::from_utf8(name) {
                    Ok(module) if sound(&module) => Ok(Preface::Replication { module }),
                    _ => Err(PrefaceError::Malformed("no name of a module")),
                }
            }
            (2, _) => Err(PrefaceError::Malformed("the length of a name")),
            _ => Err(PrefaceError::Malformed("an unknown kind of connection: upgrade the older node")),
        }
    }
}

/// A folder's name: one component of a path, fit for a log.
fn sound(name: &str) -> bool {
    !name.is_empty() && name != "." && name != ".." && !name.chars().any(|c| c == '/' || c.is_control())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(bytes: &[u8]) -> (Result<Preface, PrefaceError>, usize) {
        let mut source = bytes;
        let preface = Preface::read_from(&mut source);
        (preface, bytes.len() - source.len())
    }

    #[test]
    fn both_kinds_are_read_to_their_last_byte_and_no_further() {
        for preface in [Preface::Control, Preface::Replication { module: "postgres ü".into() }] {
            let mut bytes = preface.encode().expect("sound");
            let length = bytes.len();
            bytes.extend_from_slice(b"the handshake");
            let (read, taken) = read(&bytes);
            assert_eq!((read.expect("sound"), taken), (preface, length));
        }
    }

    #[test]
    fn nonsense_is_refused_in_words() {
        let told = |bytes: &[u8]| read(bytes).0.expect_err("refused").to_string();
        assert!(told(b"GET / HTTP/1.1").contains("does not begin"));
        assert!(told(b"USTY\x09\x01\0\0").contains("version 9"));
        assert!(told(b"USTY\x01\x07\0\0").contains("unknown kind"));
        assert!(told(b"USTY\x01\x01\x01\0x").contains("control connection with"));
        assert!(told(b"USTY\x01\x02\0\0").contains("length"));
        assert!(told(b"USTY\x01\x02\xff\xff").contains("length"));
        for name in ["..", "a/b", "a\0b", "a\nb"] {
            let mut bytes = b"USTY\x01\x02".to_vec();
            bytes.extend_from_slice(&(name.len() as u16).to_le_bytes());
            bytes.extend_from_slice(name.as_bytes());
            assert!(told(&bytes).contains("no name"), "{name:?}");
        }
        assert!(matches!(read(b"").0, Err(PrefaceError::Silent)));
        assert!(Preface::Replication { module: "a/b".into() }.encode().is_err());
        assert!(Preface::Replication { module: "a".repeat(256) }.encode().is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_panic_or_take_more_than_a_preface(mut bytes in proptest::collection::vec(any::<u8>(), 0..600), ours in any::<bool>()) {
            if ours && bytes.len() >= FIXED {
                bytes[..6].copy_from_slice(b"USTY\x01\x02");
                bytes[7] = 0;
            }
            let (_, taken) = read(&bytes);
            prop_assert!(taken <= FIXED + limits::NAME);
        }
    }
}
