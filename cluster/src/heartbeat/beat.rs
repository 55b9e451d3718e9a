//! What is sent at every pulse on every network. Authentication is the shell's: a beat that is not from a key of this
//! cluster never gets here. Its numbers make it worthless a second time.

use crate::NodeId;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Most networks between two nodes.
pub const NETWORKS: usize = 8;
/// Most bytes of one beat.
const SIZE: usize = 1024;

/// One beat.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Beat {
    /// Who speaks.
    pub from: NodeId,
    /// Its boot.
    pub boot: Uuid,
    /// Counts the starts of its daemon; on its disk before the first beat. An earlier one is a replay.
    pub epoch: u64,
    /// Place in this daemon's beats on this network, from 1.
    pub seq: u64,
    /// On which network it was sent.
    pub network: u8,
    /// What it heard of us, per network: the proof that it hears, and that this beat is of now.
    pub heard: Vec<Heard>,
    /// Version of what it tells of its modules, which travels apart: the beat stays small however many there are.
    pub facts: u64,
}

/// The last beat that was heard on a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heard {
    /// The network.
    pub network: u8,
    /// The speaker's epoch.
    pub epoch: u64,
    /// The beat's place.
    pub seq: u64,
}

/// A datagram that is no beat.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no heartbeat of this version")]
pub struct Malformed;

impl Beat {
    /// For the wire.
    pub fn encode(&self) -> Vec<u8> {
        rmp_serde::to_vec(self).expect("plain data becomes MessagePack")
    }

    /// From the wire. Nothing that arrives makes this allocate more than it brought.
    pub fn decode(bytes: &[u8]) -> Result<Beat, Malformed> {
        if bytes.len() > SIZE {
            return Err(Malformed);
        }
        let beat: Beat = rmp_serde::from_slice(bytes).map_err(|_| Malformed)?;
        if beat.heard.len() > NETWORKS || usize::from(beat.network) >= NETWORKS {
            return Err(Malformed);
        }
        Ok(beat)
    }
}
