//! One frame: a length, then header, body and payload under one authenticated encryption.
//!
//! The nonce is the number of the frame on its connection and direction, so it is never sent and a
//! frame that is replayed, dropped or moved does not authenticate. The length is authenticated too.

use super::error::WireError;
use super::header::{HEADER, Header};
use crate::limits;
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::hkdf;
use zerocopy::{FromBytes, IntoBytes};
use zeroize::Zeroizing;

/// The length field in front of a frame.
pub const LENGTH: usize = 4;
/// The authentication tag at its end.
pub const TAG: usize = 16;
/// What a length field may say.
pub const LEAST: usize = HEADER + TAG;
/// What a length field may say.
pub const MOST: usize = limits::FRAME_TOTAL - LENGTH;
const _: () = assert!(MOST == HEADER + limits::FRAME_BODY + limits::FRAME_PAYLOAD + TAG);
const _: () = assert!(MOST <= u32::MAX as usize);

/// What one direction of a connection is sealed with; `None` under `--insecure`.
pub(super) type Secret = Option<Zeroizing<[u8; 32]>>;

/// The keys of one direction: numbers the frames and moves to the next key in time.
struct Keys {
    chain: Option<(Zeroizing<[u8; 32]>, LessSafeKey)>,
    frame: u64,
}

impl Keys {
    fn new(secret: Secret) -> Self {
        Keys {
            chain: secret.map(|s| {
                let key = key_of(&s);
                (s, key)
            }),
            frame: 0,
        }
    }

    /// The key and nonce of the next frame. The number is spent whatever becomes of the frame.
    fn advance(&mut self) -> Result<Option<(&LessSafeKey, Nonce)>, WireError> {
        let number = self.frame;
        self.frame = number.checked_add(1).ok_or(WireError::Exhausted)?;
        let Some((secret, key)) = &mut self.chain else {
            return Ok(None);
        };
        if number != 0 && number.is_multiple_of(limits::FRAMES_PER_KEY) {
            let next = derive(secret, b"understudy next");
            *key = key_of(&next);
            *secret = next;
        }
        let mut nonce = [0; 12];
        nonce[4..].copy_from_slice(&number.to_le_bytes());
        Ok(Some((key, Nonce::assume_unique_for_key(nonce))))
    }
}

fn derive(secret: &[u8; 32], label: &[u8]) -> Zeroizing<[u8; 32]> {
    expand(&hkdf::Prk::new_less_safe(hkdf::HKDF_SHA256, secret), &[label])
}

/// HKDF-Expand to 32 bytes.
pub(super) fn expand(prk: &hkdf::Prk, info: &[&[u8]]) -> Zeroizing<[u8; 32]> {
    let mut out = Zeroizing::new([0; 32]);
    prk.expand(info, hkdf::HKDF_SHA256).and_then(|okm| okm.fill(out.as_mut())).expect("one hash of output is within what HKDF gives");
    out
}

fn key_of(secret: &[u8; 32]) -> LessSafeKey {
    let key = derive(secret, b"understudy aes-256-gcm");
    LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key.as_ref()).expect("AES-256 takes 32 bytes"))
}

/// Seals the frames of one direction of a connection.
pub struct Sealer(Keys);

impl Sealer {
    pub(super) fn new(secret: Secret) -> Self {
        Sealer(Keys::new(secret))
    }

    /// A sealer without protection, the counterpart of `Opener::insecure`.
    pub fn insecure() -> Self {
        Sealer::new(None)
    }

    /// Appends one sealed frame to `out` and sets the lengths in `header`. Frames must be sent in
    /// the order they were sealed in, each once. Nothing is appended when this fails.
    pub fn seal(&mut self, header: &mut Header, body: &[u8], payload: &[u8], out: &mut Vec<u8>) -> Result<(), WireError> {
        within("body", body.len(), limits::FRAME_BODY)?;
        within("payload", payload.len(), limits::FRAME_PAYLOAD)?;
        header.body_len = (body.len() as u32).into();
        header.payload_len = (payload.len() as u32).into();
        let sealing = self.0.advance()?;

        let length = ((HEADER + body.len() + payload.len() + TAG) as u32).to_le_bytes();
        out.reserve(LENGTH + HEADER + body.len() + payload.len() + TAG);
        out.extend_from_slice(&length);
        let start = out.len();
        out.extend_from_slice(header.as_bytes());
        out.extend_from_slice(body);
        out.extend_from_slice(payload);
        match sealing {
            None => out.extend_from_slice(&[0; TAG]),
            Some((key, nonce)) => {
                let tag = key
                    .seal_in_place_separate_tag(nonce, Aad::from(length), &mut out[start..])
                    .expect("AES-GCM seals anything of a frame's size");
                out.extend_from_slice(tag.as_ref());
            }
        }
        Ok(())
    }
}

fn within(what: &'static str, length: usize, most: usize) -> Result<(), WireError> {
    if length > most { Err(WireError::TooLong { what, length, most }) } else { Ok(()) }
}

/// A frame, opened in the buffer it arrived in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    pub header: &'a Header,
    pub body: &'a [u8],
    pub payload: &'a [u8],
}

/// Opens the frames of one direction of a connection.
pub struct Opener(Keys);

impl Opener {
    pub(super) fn new(secret: Secret) -> Self {
        Opener(Keys::new(secret))
    }

    /// An opener that believes everybody.
    pub fn insecure() -> Self {
        Opener::new(None)
    }

    /// What the length field announces, if a frame can be that long.
    pub fn length(field: [u8; LENGTH]) -> Result<usize, WireError> {
        let length = u32::from_le_bytes(field) as usize;
        if (LEAST..=MOST).contains(&length) { Ok(length) } else { Err(WireError::Length { length, least: LEAST, most: MOST }) }
    }

    /// Opens in place the frame that follows a length field. After an error the stream is lost.
    pub fn open<'a>(&mut self, field: [u8; LENGTH], sealed: &'a mut [u8]) -> Result<Frame<'a>, WireError> {
        let length = Opener::length(field)?;
        if length != sealed.len() {
            return Err(WireError::Truncated);
        }
        let plain: &[u8] = match self.0.advance()? {
            Some((key, nonce)) => key.open_in_place(nonce, Aad::from(field), sealed).map_err(|_| WireError::Forged)?,
            None => {
                let (plain, tag) = sealed.split_at(length - TAG);
                if tag != [0; TAG] {
                    return Err(WireError::Forged);
                }
                plain
            }
        };
        split(plain)
    }
}

fn split(plain: &[u8]) -> Result<Frame<'_>, WireError> {
    let parts = |body, payload| WireError::Parts { body, payload, together: plain.len() };
    let (header, rest) = Header::ref_from_prefix(plain).map_err(|_| parts(0, 0))?;
    let (body, payload) = (header.body_len(), header.payload_len());
    if body > limits::FRAME_BODY || payload > limits::FRAME_PAYLOAD || body + payload != rest.len() {
        return Err(parts(body, payload));
    }
    let (body, payload) = rest.split_at(body);
    Ok(Frame { header, body, payload })
}

#[cfg(test)]
impl Sealer {
    /// As if `frame` frames of the present key had been sealed.
    pub(super) fn skip_to(&mut self, frame: u64) {
        self.0.frame = frame;
    }
}

#[cfg(test)]
impl Opener {
    pub(super) fn skip_to(&mut self, frame: u64) {
        self.0.frame = frame;
    }
}
