//! One datagram: a header in the clear, then bytes under authenticated encryption.
//!
//! Each start of a sender has a key of its own, derived from the shared key and a random salt, so that its counter of
//! datagrams can begin at 0 and no nonce is ever used twice. The header is authenticated, and with it for whom the datagram is. Replay
//! is not recognised here: what is inside has numbers of its own.

use super::keys::{Key, KeyRing};
use super::seal::expand;
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::{hkdf, rand};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use zerocopy::little_endian::{U16, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// First bytes; the last one is the version.
const MAGIC: [u8; 8] = *b"USTYbt\0\x01";
/// Bytes in front of what is sealed.
pub const HEADER: usize = 52;
/// Bytes behind it.
pub const TAG: usize = 16;
/// Most bytes of one datagram: below the least MTU that IPv6 and usual tunnels leave, so that none is fragmented.
pub const MOST: usize = 1452;
/// Senders' keys that an opener remembers: the last starts of the nodes of a cluster. Only what authenticated is remembered.
const REMEMBERED: usize = 64;

/// In the clear.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Header {
    magic: [u8; 8],
    kind: u8,
    reserved: u8,
    to: U16,
    key_id: [u8; 16],
    salt: [u8; 16],
    counter: U64,
}

const _: () = assert!(size_of::<Header>() == HEADER);

/// Why a datagram is not sealed or opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DatagramError {
    /// Nothing of ours, or of another version.
    #[error("not a datagram of this protocol")]
    Stranger,
    /// The sender uses a key that is not in this node's file.
    #[error("sealed with a key that this node does not have: give all nodes the same key file")]
    UnknownKey,
    /// Altered, or sealed with another secret.
    #[error("a datagram failed authentication")]
    Forged,
    /// Sent to another node.
    #[error("a datagram for another node")]
    Misdirected,
    /// More than one datagram holds.
    #[error("too long for one datagram: {0} bytes")]
    TooLong(usize),
    /// The counter is used up, or the system gave no random bytes.
    #[error("no fresh number for a datagram")]
    Exhausted,
}

fn sending_key(key: &Key, salt: &[u8; 16]) -> LessSafeKey {
    let prk = hkdf::Salt::new(hkdf::HKDF_SHA256, key.secret()).extract(salt);
    let secret = expand(&prk, &[b"understudy datagrams aes-256-gcm"]);
    LessSafeKey::new(UnboundKey::new(&AES_256_GCM, secret.as_ref()).expect("AES-256 takes 32 bytes"))
}

fn nonce(counter: u64) -> Nonce {
    let mut nonce = [0; 12];
    nonce[4..].copy_from_slice(&counter.to_le_bytes());
    Nonce::assume_unique_for_key(nonce)
}

/// Seals what one start of one node sends.
pub struct DatagramSealer {
    key_id: [u8; 16],
    salt: [u8; 16],
    key: LessSafeKey,
    counter: AtomicU64,
}

impl DatagramSealer {
    /// Uses the first key of the ring.
    pub fn new(ring: &KeyRing) -> Result<Self, DatagramError> {
        let mut salt = [0; 16];
        rand::fill(&mut salt).map_err(|_| DatagramError::Exhausted)?;
        let first = ring.first();
        Ok(DatagramSealer { key_id: first.id, salt, key: sending_key(first, &salt), counter: AtomicU64::new(0) })
    }

    /// A sealed datagram of `kind` for the node `to`.
    pub fn seal(&self, kind: u8, to: u16, plain: &[u8]) -> Result<Vec<u8>, DatagramError> {
        if HEADER + plain.len() + TAG > MOST {
            return Err(DatagramError::TooLong(plain.len()));
        }
        // Half of the numbers are never reached, so that no other thread can have wrapped around meanwhile.
        let counter = self.counter.fetch_add(1, Ordering::Relaxed);
        if counter > u64::MAX / 2 {
            return Err(DatagramError::Exhausted);
        }
        let (key_id, salt) = (self.key_id, self.salt);
        let header = Header { magic: MAGIC, kind, reserved: 0, to: to.into(), key_id, salt, counter: counter.into() };
        let mut out = Vec::with_capacity(HEADER + plain.len() + TAG);
        out.extend_from_slice(header.as_bytes());
        out.extend_from_slice(plain);
        let tag = self
            .key
            .seal_in_place_separate_tag(nonce(counter), Aad::from(header.as_bytes()), &mut out[HEADER..])
            .map_err(|_| DatagramError::Exhausted)?;
        out.extend_from_slice(tag.as_ref());
        Ok(out)
    }
}

/// Opens what arrives at one node.
pub struct DatagramOpener {
    ring: KeyRing,
    remembered: VecDeque<([u8; 16], [u8; 16], LessSafeKey)>,
}

impl DatagramOpener {
    /// Accepts all keys of the ring.
    pub fn new(ring: KeyRing) -> Self {
        DatagramOpener { ring, remembered: VecDeque::new() }
    }

    /// From now on accepts the keys of another ring.
    pub fn replace(&mut self, ring: KeyRing) {
        self.remembered.clear();
        self.ring = ring;
    }

    /// Kind and content of a datagram that was sent to the node `me`, opened in place.
    pub fn open<'a>(&mut self, me: u16, datagram: &'a mut [u8]) -> Result<(u8, &'a [u8]), DatagramError> {
        let Some((start, sealed)) = datagram.split_at_mut_checked(HEADER) else { return Err(DatagramError::Stranger) };
        let header = Header::read_from_bytes(start).map_err(|_| DatagramError::Stranger)?;
        if header.magic != MAGIC || sealed.len() < TAG || HEADER + sealed.len() > MOST {
            return Err(DatagramError::Stranger);
        }
        if header.to.get() != me {
            return Err(DatagramError::Misdirected);
        }
        let known = self.remembered.iter().find(|(id, salt, _)| *id == header.key_id && *salt == header.salt);
        let fresh = match known {
            Some(_) => None,
            None => Some(sending_key(self.ring.find(&header.key_id).ok_or(DatagramError::UnknownKey)?, &header.salt)),
        };
        let key = fresh.as_ref().or(known.map(|(_, _, key)| key)).ok_or(DatagramError::UnknownKey)?;
        let plain =
            key.open_in_place(nonce(header.counter.get()), Aad::from(header.as_bytes()), sealed).map_err(|_| DatagramError::Forged)?;
        if let Some(key) = fresh {
            if self.remembered.len() == REMEMBERED {
                self.remembered.pop_front();
            }
            self.remembered.push_back((header.key_id, header.salt, key));
        }
        Ok((header.kind, plain))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key(number: u8) -> Key {
        Key::new([number; 16], [number; 32])
    }

    fn ring(numbers: &[u8]) -> KeyRing {
        KeyRing::new(numbers.iter().copied().map(key).collect()).expect("a ring")
    }

    #[test]
    fn what_is_sealed_opens_at_its_node_and_nowhere_else() {
        let sealer = DatagramSealer::new(&ring(&[1])).expect("random");
        let mut opener = DatagramOpener::new(ring(&[1]));
        for text in ["one", "two", ""] {
            let mut sealed = sealer.seal(7, 2, text.as_bytes()).expect("short");
            assert_eq!(opener.open(3, &mut sealed.clone()), Err(DatagramError::Misdirected));
            assert_eq!(opener.open(2, &mut sealed), Ok((7, text.as_bytes())));
        }
        assert_eq!(sealer.seal(7, 2, &[0; MOST]), Err(DatagramError::TooLong(MOST)));
    }

    #[test]
    fn every_altered_byte_is_noticed() {
        let sealed = DatagramSealer::new(&ring(&[1])).expect("random").seal(1, 2, b"a beat").expect("short");
        let mut opener = DatagramOpener::new(ring(&[1]));
        for at in 0..sealed.len() {
            let mut altered = sealed.clone();
            altered[at] ^= 1;
            assert!(opener.open(2, &mut altered).is_err(), "byte {at}");
        }
        for length in 0..sealed.len() {
            assert!(opener.open(2, &mut sealed[..length].to_vec()).is_err(), "cut at {length}");
        }
        assert!(opener.open(2, &mut sealed.clone()).is_ok());
    }

    #[test]
    fn keys_rotate_one_step_at_a_time() {
        let mut opener = DatagramOpener::new(ring(&[1, 2]));
        for first in [1, 2] {
            let mut sealed = DatagramSealer::new(&ring(&[first])).expect("random").seal(1, 2, b"x").expect("short");
            assert!(opener.open(2, &mut sealed).is_ok());
        }
        opener.replace(ring(&[2]));
        let mut old = DatagramSealer::new(&ring(&[1])).expect("random").seal(1, 2, b"x").expect("short");
        assert_eq!(opener.open(2, &mut old), Err(DatagramError::UnknownKey));
        let other = KeyRing::new(vec![Key::new([2; 16], [9; 32])]).expect("a ring");
        let mut forged = DatagramSealer::new(&other).expect("random").seal(1, 2, b"x").expect("short");
        assert_eq!(opener.open(2, &mut forged), Err(DatagramError::Forged));
    }

    #[test]
    fn many_starts_of_senders_are_remembered_within_bounds() {
        let mut opener = DatagramOpener::new(ring(&[1]));
        for _ in 0..REMEMBERED + 10 {
            let mut sealed = DatagramSealer::new(&ring(&[1])).expect("random").seal(1, 2, b"x").expect("short");
            assert!(opener.open(2, &mut sealed).is_ok());
        }
        assert_eq!(opener.remembered.len(), REMEMBERED);
    }

    proptest! {
        #[test]
        fn no_bytes_open_or_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..2000), ours in any::<bool>()) {
            if ours && bytes.len() > 32 {
                bytes[..8].copy_from_slice(&MAGIC);
                bytes[10..12].copy_from_slice(&[2, 0]);
                bytes[12..28].copy_from_slice(&[1; 16]);
            }
            prop_assert!(DatagramOpener::new(ring(&[1])).open(2, &mut bytes).is_err());
        }
    }
}
