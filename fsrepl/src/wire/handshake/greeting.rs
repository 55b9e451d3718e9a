//! The two messages in the clear that open a connection.
//!
//! Both have one size and one layout in every version of the protocol, so that two programs that
//! cannot talk can still say why.

use zerocopy::little_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// First bytes of what a connector sends.
pub const CONNECTOR: [u8; 8] = *b"UNDSTDYc";
/// First bytes of what an acceptor answers.
pub const ACCEPTOR: [u8; 8] = *b"UNDSTDYa";

/// `mode`: frames are not protected.
pub const INSECURE: u8 = 0;
/// `mode`: keys are needed.
pub const KEYED: u8 = 1;

/// `verdict` of the acceptor: go on.
pub const PROCEED: u8 = 0;
/// The version ranges do not meet.
pub const VERSION: u8 = 1;
/// One end has keys, the other runs without.
pub const MODE: u8 = 2;
/// The acceptor does not have the key.
pub const KEY: u8 = 3;
/// The channel is none the acceptor knows.
pub const CHANNEL: u8 = 4;

/// What either end says first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Greeting {
    pub magic: [u8; 8],
    /// Oldest and newest protocol version the sender speaks.
    pub oldest: U16,
    pub newest: U16,
    /// `INSECURE` or `KEYED`, the sender's own.
    pub mode: u8,
    pub channel: u8,
    /// 0 from a connector.
    pub verdict: u8,
    pub reserved: u8,
    /// The key the connector chose.
    pub key_id: [u8; 16],
    /// Ephemeral X25519 key of the sender; random bytes without keys.
    pub public: [u8; 32],
}

/// Size of a greeting on the wire.
pub const SIZE: usize = 64;
const _: () = assert!(size_of::<Greeting>() == SIZE);

/// Versions a program speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Versions {
    pub oldest: u16,
    pub newest: u16,
}

impl Versions {
    /// What the sender of a greeting speaks.
    pub fn of(greeting: &Greeting) -> Self {
        Versions { oldest: greeting.oldest.get(), newest: greeting.newest.get() }
    }

    /// The newest version both speak.
    pub fn common(self, other: Versions) -> Option<u16> {
        let newest = self.newest.min(other.newest);
        (newest >= self.oldest.max(other.oldest)).then_some(newest)
    }
}

impl std::fmt::Display for Versions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.oldest == self.newest { write!(f, "{}", self.newest) } else { write!(f, "{} to {}", self.oldest, self.newest) }
    }
}
