//! What travels between nodes: keys, handshake, sealed frames.

pub mod keys;
