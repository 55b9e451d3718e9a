//! What travels between nodes: keys, handshake, sealed frames.
//!
//! `handshake` turns a fresh TCP stream and a shared key into a `seal::Sealer` and a
//! `seal::Opener`; `reader` finds and opens the frames in what a socket delivers. What the frames
//! mean is decided elsewhere: this layer knows lengths, keys and order, no operations.
//! The bytes are written down in `docs/wire.md`.

pub mod datagram;
pub mod error;
pub mod handshake;
pub mod header;
pub mod keys;
pub mod reader;
pub mod seal;

#[cfg(test)]
mod tests;

pub use error::WireError;
pub use handshake::{Channel, Established, HandshakeError, accept, connect};
pub use header::Header;
pub use keys::{Auth, Key, KeyError, KeyRing};
pub use reader::{FrameReader, Recv};
pub use seal::{Frame, Opener, Sealer};
