//! The keys that nodes of one pair share.

/// How a connection is protected.
#[derive(Clone, Debug)]
pub enum Auth {
    /// Framing only: anybody who reaches the port is believed.
    Insecure,
}
