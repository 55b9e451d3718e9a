//! What requests and answers on the control channel say. MessagePack with names, so that fields can be added; a variant that this
//! program does not know is answered with [`Message::Error`], never guessed.

use crate::quorum::agreement::Word;
use crate::quorum::{Answer, PeerQuestion};
use crate::replica::Generation;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Of the envelope. Raised when what is inside would be misread by an older program.
pub const VERSION: u16 = 1;

/// One request or answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Message {
    /// May the asking node begin a generation of this module without the asked one?
    Ask {
        /// The module's name.
        module: String,
        /// As what.
        question: PeerQuestion,
    },
    /// To [`Message::Ask`].
    Answer {
        /// The generation that was asked for.
        next: Generation,
        /// Yes or no.
        answer: Answer,
    },
    /// About where the right to go on is, in a session of a generation.
    Word {
        /// The module's name.
        module: String,
        /// Of the pair.
        generation: Generation,
        /// Its session.
        session: u64,
        /// What is said.
        word: Word,
    },
    /// All that a node shows of itself.
    Facts {
        /// Grows with each change.
        version: u64,
        /// Version of its program.
        program: String,
        /// Digest of its `cluster.toml`.
        config_digest: String,
        /// Per module, in JSON: what is shown of it.
        modules: BTreeMap<String, String>,
        /// Digests of its modules' folders.
        digests: BTreeMap<String, String>,
    },
    /// An operator's request, carried out there.
    Operator {
        /// As on the local socket.
        verb: String,
        /// In JSON.
        args: String,
    },
    /// To [`Message::Operator`], in JSON.
    Result(String),
    /// To [`Message::Operator`]: it was not carried out.
    Failure {
        /// The contract's exit code.
        exit: u8,
        /// What failed.
        what: String,
        /// Why.
        why: String,
        /// What to do next.
        cure: String,
    },
    /// Taken.
    Done,
    /// The request was not carried out.
    Error {
        /// Stable.
        code: String,
        /// In the operator's words.
        reason: String,
    },
}

/// Why bytes are no message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Undecodable {
    /// Another version of the envelope.
    #[error("message version {0} is not spoken here ({VERSION} is): upgrade the older node")]
    Version(u16),
    /// No message, or of a kind that this program does not know.
    #[error("a message that this program does not know: upgrade the older node ({0})")]
    Unknown(String),
}

impl Undecodable {
    /// Stable.
    pub fn code(&self) -> &'static str {
        match self {
            Undecodable::Version(_) => "version",
            Undecodable::Unknown(_) => "unknown_message",
        }
    }
}

impl Message {
    /// A failure.
    pub fn error(code: impl Into<String>, reason: impl Into<String>) -> Message {
        Message::Error { code: code.into(), reason: reason.into() }
    }

    /// For the wire: the version (2 bytes, little endian), then the message.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = VERSION.to_le_bytes().to_vec();
        bytes.extend(rmp_serde::to_vec_named(self).expect("plain data becomes MessagePack"));
        bytes
    }

    /// From the wire.
    pub fn decode(bytes: &[u8]) -> Result<Message, Undecodable> {
        let Some((version, body)) = bytes.split_first_chunk() else { return Err(Undecodable::Unknown("too short".into())) };
        match u16::from_le_bytes(*version) {
            VERSION => rmp_serde::from_slice(body).map_err(|why| Undecodable::Unknown(why.to_string())),
            other => Err(Undecodable::Version(other)),
        }
    }

    /// Answers a request that came as bytes: what cannot be understood is answered with an error.
    pub fn answer(request: &[u8], answer: impl FnOnce(Message) -> Message) -> Vec<u8> {
        match Message::decode(request) {
            Ok(message) => answer(message),
            Err(why) => Message::error(why.code(), why.to_string()),
        }
        .encode()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use uuid::Uuid;

    #[test]
    fn messages_travel_and_unknown_ones_are_answered_with_an_error() {
        let message = Message::Answer { next: Uuid::from_u128(7), answer: Answer::Yes { abandoned: vec![Uuid::from_u128(8)] } };
        assert_eq!(Message::decode(&message.encode()), Ok(message.clone()));
        let unknown = [&VERSION.to_le_bytes()[..], &rmp_serde::to_vec_named(&("Fancy", 1)).expect("encoded")].concat();
        let newer = [&9u16.to_le_bytes()[..], &message.encode()[2..]].concat();
        for (bytes, expected) in [(unknown, "unknown_message"), (newer, "version"), (vec![], "unknown_message")] {
            let answer = Message::decode(&Message::answer(&bytes, |_| panic!("not understood"))).expect("an answer");
            assert!(matches!(answer, Message::Error { code, .. } if code == expected), "{expected}");
        }
        let answer = Message::answer(&message.encode(), |message| message);
        assert_eq!(Message::decode(&answer), Ok(message));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..400), ours in any::<bool>()) {
            if ours && bytes.len() > 2 {
                bytes[..2].copy_from_slice(&VERSION.to_le_bytes());
            }
            let _ = Message::decode(&bytes);
        }
    }
}
