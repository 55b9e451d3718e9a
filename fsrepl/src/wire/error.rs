//! What ends a connection.

use std::io;

/// Why a frame cannot be sent or received.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// A length field that no frame can have.
    #[error("the peer announced a frame of {length} bytes: between {least} and {most} are possible")]
    Length { length: usize, least: usize, most: usize },
    /// Tampered, replayed, reordered, or sealed with another key.
    #[error("a frame failed authentication: altered, replayed or out of order")]
    Forged,
    /// The header's lengths do not add up to the frame's.
    #[error("a frame's parts do not add up: body {body}, payload {payload}, together {together}")]
    Parts { body: usize, payload: usize, together: usize },
    /// The caller wants to send more than one frame may hold.
    #[error("too long for one frame: {what} of {length} bytes, at most {most}")]
    TooLong { what: &'static str, length: usize, most: usize },
    /// Frame numbers are used up; a nonce must never be used twice.
    #[error("this connection has used up its frame numbers: connect again")]
    Exhausted,
    /// The stream ended between two frames.
    #[error("the peer closed the connection")]
    Closed,
    /// The stream ended inside a frame.
    #[error("the connection ended inside a frame")]
    Truncated,
    /// An earlier error already ended this connection.
    #[error("this connection failed earlier: connect again")]
    Failed,
    /// The socket's own error.
    #[error("the connection failed: {0}")]
    Io(#[from] io::Error),
}

impl WireError {
    /// True for "nothing there yet" of a socket with a timeout: the connection is still good.
    pub fn is_timeout(&self) -> bool {
        matches!(self, WireError::Io(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut))
    }
}
