//! What travels to a witness and back, in the messages of [`crate::net::secure`]: two bytes of version, then MessagePack with names.

use crate::quorum::witness::{Reply, Request};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Raised when what follows would be misread by an older program.
const VERSION: u16 = 1;
/// Bytes of a question: a claim names [`crate::quorum::witness::LINEAGE`] generations at most.
pub const QUESTION: usize = 16 * 1024;

/// A question about one module.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Question {
    /// The replicated set.
    pub module: Uuid,
    /// What is asked.
    pub request: Request,
}

fn encode(body: &impl Serialize) -> Vec<u8> {
    let mut bytes = VERSION.to_le_bytes().to_vec();
    bytes.extend(rmp_serde::to_vec_named(body).expect("plain data becomes MessagePack"));
    bytes
}

fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    let body = bytes.strip_prefix(&VERSION.to_le_bytes())?;
    rmp_serde::from_slice(body).ok()
}

impl Question {
    /// For the wire.
    pub fn encode(&self) -> Vec<u8> {
        encode(self)
    }

    /// From the wire.
    pub fn decode(bytes: &[u8]) -> Option<Question> {
        if bytes.len() > QUESTION { None } else { decode(bytes) }
    }
}

/// For the wire.
pub fn encode_reply(reply: &Reply) -> Vec<u8> {
    encode(reply)
}

/// From the wire.
pub fn decode_reply(bytes: &[u8]) -> Option<Reply> {
    decode(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::NodeId;
    use crate::quorum::witness::LINEAGE;
    use proptest::prelude::*;

    #[test]
    fn the_longest_claim_fits() {
        let lineage = (0..LINEAGE as u128).map(Uuid::from_u128).collect();
        let request = Request::Claim { by: NodeId(1), lineage, next: Uuid::from_u128(7) };
        let question = Question { module: Uuid::from_u128(1), request };
        let bytes = question.encode();
        assert!(bytes.len() < QUESTION / 2);
        assert_eq!(Question::decode(&bytes), Some(question));
        assert_eq!(Question::decode(&[&[9, 9], &bytes[2..]].concat()), None);
        assert_eq!(Question::decode(&vec![0; QUESTION + 1]), None);
        assert_eq!(decode_reply(&encode_reply(&Reply::Blank)), Some(Reply::Blank));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            if bytes.len() > 2 {
                bytes[..2].copy_from_slice(&VERSION.to_le_bytes());
            }
            let _ = (Question::decode(&bytes), decode_reply(&bytes));
        }
    }
}
