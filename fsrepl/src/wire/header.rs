//! The fixed part of every frame.
//!
//! Everything a write needs is in these 64 bytes, so that the common operations carry no encoded
//! body. What the fields mean depends on `kind`, which this layer does not interpret.

use zerocopy::little_endian::{I64, U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Little endian, without padding, readable at any address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Header {
    pub kind: u8,
    pub flags: u8,
    /// Sent as 0, ignored when received.
    pub reserved: U16,
    /// Set by `Sealer::seal`.
    pub body_len: U32,
    /// Set by `Sealer::seal`.
    pub payload_len: U32,
    pub aux: U32,
    pub seq: U64,
    pub after: U64,
    pub object: U64,
    pub offset: U64,
    pub mtime_sec: I64,
    pub mtime_nsec: U32,
    pub aux2: U32,
}

/// Size of a header on the wire.
pub const HEADER: usize = 64;
const _: () = assert!(size_of::<Header>() == HEADER);

impl Header {
    /// A header of this kind, everything else 0.
    pub fn new(kind: u8) -> Self {
        Header { kind, ..Header::default() }
    }

    /// Place in the sequence, and the highest place acknowledged when this was issued.
    #[must_use]
    pub fn order(mut self, seq: u64, after: u64) -> Self {
        self.seq = seq.into();
        self.after = after.into();
        self
    }

    /// The object and the offset in it.
    #[must_use]
    pub fn at(mut self, object: u64, offset: u64) -> Self {
        self.object = object.into();
        self.offset = offset.into();
        self
    }

    /// The modification time the primary decided.
    #[must_use]
    pub fn mtime(mut self, sec: i64, nsec: u32) -> Self {
        self.mtime_sec = sec.into();
        self.mtime_nsec = nsec.into();
        self
    }

    /// Kind-specific flag bits.
    #[must_use]
    pub fn flags(mut self, flags: u8) -> Self {
        self.flags = flags;
        self
    }

    /// The two kind-specific numbers.
    #[must_use]
    pub fn aux(mut self, aux: u32, aux2: u32) -> Self {
        self.aux = aux.into();
        self.aux2 = aux2.into();
        self
    }

    /// Bytes of the body, as the header says.
    pub fn body_len(&self) -> usize {
        self.body_len.get() as usize
    }

    /// Bytes of the payload, as the header says.
    pub fn payload_len(&self) -> usize {
        self.payload_len.get() as usize
    }
}
