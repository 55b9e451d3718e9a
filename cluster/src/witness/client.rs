//! Asking a witness.

use super::protocol::{self, Question};
use crate::net::{CallError, Keys, Line, Purpose};
use crate::quorum::witness::{Reply, Request};
use std::net::SocketAddr;
use std::time::Duration;
use uuid::Uuid;

/// The way to one witness. Many threads may share it.
pub struct WitnessClient {
    line: Line,
}

impl WitnessClient {
    /// `keys`: of the witness' key file, not the cluster's.
    pub fn new(address: SocketAddr, keys: Keys) -> WitnessClient {
        WitnessClient { line: Line::new(Purpose::Witness, vec![address], keys) }
    }

    /// Asks about the replicated set `module`, and waits for the answer at most `timeout`. Requests may be repeated: the same one gets the
    /// same answer as long as nothing else was granted.
    pub fn ask(&self, module: Uuid, request: &Request, timeout: Duration) -> Result<Reply, CallError> {
        let question = Question { module, request: request.clone() };
        let answer = self.line.call(&question.encode(), timeout)?;
        protocol::decode_reply(&answer).ok_or_else(|| CallError::Malformed("it is of another version: upgrade the older one".into()))
    }
}
