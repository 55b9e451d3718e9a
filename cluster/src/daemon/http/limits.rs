//! Bounds of what is answered over HTTP.

use std::time::Duration;

/// Connections at once to the public port, on all addresses together.
pub const PUBLIC: usize = 512;
/// Of those, by one client: one that does not end its requests leaves places to the others.
pub const PUBLIC_EACH: usize = 128;
/// Connections at once to the protected port.
pub const PROTECTED: usize = 64;
/// Of those, by one client.
pub const PROTECTED_EACH: usize = 16;
/// For a request's head, from the first byte that could come.
pub const HEAD_TIME: Duration = Duration::from_secs(5);
/// Bytes of a request's head.
pub const HEAD_BYTES: usize = 16 << 10;
/// For TLS' handshake.
pub const HANDSHAKE: Duration = Duration::from_secs(5);
/// For an answer that asks others: metrics and status.
pub const ANSWER: Duration = Duration::from_secs(10);
/// A connection carries one request and ends after this, wherever it is: longer than all of the above together.
pub const LIFE: Duration = Duration::from_secs(30);
/// Answers at once that ask others.
pub const ASKING: usize = 2;
/// Threads for those, beside one that a stuck question holds.
pub const THREADS: usize = ASKING + 2;
/// For an engine's figures: it answers from memory, or it is stuck.
pub const ENGINE: Duration = Duration::from_secs(1);
/// Between looks at certificate, key and token.
pub const RENEW: Duration = Duration::from_secs(30);
/// Bytes of a file with certificates, with a key, with a token.
pub const FILE: u64 = 1 << 20;
/// Characters of a token: fewer can be guessed.
pub const TOKEN_LEAST: usize = 16;
/// More do not fit into a request's head.
pub const TOKEN_MOST: usize = 1024;
