//! From a shared key and an ephemeral agreement to the keys of one connection.
//!
//! The shared key is the salt and the agreement the secret of one HKDF extraction, so both are
//! needed; every output is bound to both greetings and to who uses it for what.

use super::greeting::Greeting;
use crate::wire::seal::expand;
use aws_lc_rs::agreement::{self, EphemeralPrivateKey, UnparsedPublicKey, X25519};
use aws_lc_rs::rand::{self, SystemRandom};
use aws_lc_rs::{constant_time, digest, hkdf};
use zerocopy::IntoBytes;
use zeroize::Zeroizing;

/// Which end of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Connector,
    Acceptor,
}

impl End {
    fn label(self) -> &'static [u8] {
        match self {
            End::Connector => b"connector",
            End::Acceptor => b"acceptor",
        }
    }
}

/// Our half of the agreement.
pub struct Ephemeral {
    /// `None` without keys.
    private: Option<EphemeralPrivateKey>,
    pub public: [u8; 32],
}

impl Ephemeral {
    /// A fresh half; without keys only a random number, so that no two connections look alike.
    pub fn new(keyed: bool) -> Option<Self> {
        let mut public = [0; 32];
        if !keyed {
            rand::fill(&mut public).ok()?;
            return Some(Ephemeral { private: None, public });
        }
        let private = EphemeralPrivateKey::generate(&X25519, &SystemRandom::new()).ok()?;
        public.copy_from_slice(private.compute_public_key().ok()?.as_ref());
        Some(Ephemeral { private: Some(private), public })
    }

    /// The secret both ends reach; `None` when the peer's half is no usable one.
    fn agree(self, peer: &[u8; 32]) -> Option<Zeroizing<[u8; 32]>> {
        let mut shared = Zeroizing::new([0; 32]);
        if let Some(private) = self.private {
            agreement::agree_ephemeral(private, UnparsedPublicKey::new(&X25519, peer), (), |secret| {
                shared.copy_from_slice(secret);
                Ok(())
            })
            .ok()?;
        }
        Some(shared)
    }
}

/// Everything one connection derives.
pub struct Schedule {
    prk: hkdf::Prk,
    transcript: digest::Digest,
}

impl Schedule {
    /// `secret` is the shared key, zeros without one; `peer` the other end's half.
    pub fn new(secret: &[u8; 32], ours: Ephemeral, peer: &[u8; 32], connector: &Greeting, acceptor: &Greeting) -> Option<Self> {
        let shared = ours.agree(peer)?;
        let mut transcript = digest::Context::new(&digest::SHA256);
        transcript.update(b"understudy handshake 1");
        transcript.update(connector.as_bytes());
        transcript.update(acceptor.as_bytes());
        Some(Schedule { prk: hkdf::Salt::new(hkdf::HKDF_SHA256, secret).extract(shared.as_ref()), transcript: transcript.finish() })
    }

    /// What only an end that has the key can say.
    pub fn proof(&self, end: End) -> Zeroizing<[u8; 32]> {
        expand(&self.prk, &[b"understudy proof ", end.label(), self.transcript.as_ref()])
    }

    /// Whether `said` is the proof of `end`.
    pub fn proves(&self, end: End, said: &[u8; 32]) -> bool {
        constant_time::verify_slices_are_equal(self.proof(end).as_ref(), said).is_ok()
    }

    /// What the frames that `end` sends are sealed with.
    pub fn frames(&self, end: End, channel: u8) -> Zeroizing<[u8; 32]> {
        expand(&self.prk, &[b"understudy frames ", end.label(), &[channel], self.transcript.as_ref()])
    }
}
