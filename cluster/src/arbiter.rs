//! Asking whether this node may go on without the other, in the real world: [`Ask`] decides what to ask and what the answers mean, this
//! carries questions over every network and waits.

use crate::net::{Client, Identity, Keys, Message};
use crate::quorum::{Ask, AskEvent, AskSend, Granter, Kind, PeerQuestion, Verdict as Answered};
use crate::replica::{Generation, Party};
use crate::witness::WitnessClient;
use crate::{NodeId, config, heartbeat::Profile};
use crossbeam::channel::{Sender, unbounded};
use fsrepl::wire::{KeyError, KeyRing};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use uuid::Uuid;

pub use crate::ping::ping;

/// One question over one network waits for its answer at least so long: the peer has to write to its disk first.
const CALL: Duration = Duration::from_secs(1);
/// Bounds of the time between two looks at the clock.
const TICK: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(50));

/// Who decides, and how it is reached.
#[derive(Clone, Debug)]
pub enum Quorum {
    /// Nobody.
    None,
    /// Our witness.
    Witness {
        /// Where.
        address: SocketAddr,
        /// Of the witness' key file.
        keys: Keys,
    },
    /// An address that answers pings.
    Tiebreaker {
        /// Usually the router.
        address: IpAddr,
    },
}

impl Quorum {
    /// As configured; reads the witness' key file.
    pub fn of(configured: Option<&config::Quorum>) -> Result<Quorum, KeyError> {
        Ok(match configured {
            None => Quorum::None,
            Some(config::Quorum::Tiebreaker { address }) => Quorum::Tiebreaker { address: *address },
            Some(config::Quorum::Witness { address, key_file }) => {
                Quorum::Witness { address: *address, keys: KeyRing::load(key_file)?.into() }
            }
        })
    }

    /// Which kind.
    pub fn kind(&self) -> Kind {
        match self {
            Quorum::None => Kind::None,
            Quorum::Witness { .. } => Kind::Witness,
            Quorum::Tiebreaker { .. } => Kind::Tiebreaker,
        }
    }
}

/// Who asks, for what, and whom.
#[derive(Clone, Debug)]
pub struct Settings {
    /// This node.
    pub me: Identity,
    /// The other one.
    pub peer: NodeId,
    /// Where the other node's daemon listens, in order of networks.
    pub peer_addresses: Vec<SocketAddr>,
    /// Of the cluster.
    pub keys: Keys,
    /// The module's name.
    pub module: String,
    /// Who decides when the peer does not answer.
    pub quorum: Quorum,
    /// Times.
    pub profile: Profile,
}

/// The end of a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Begin the generation.
    Granted {
        /// Who says so.
        by: Granter,
        /// Given up by the peer for it: to be remembered as past.
        superseded: Vec<Generation>,
    },
    /// Another history has won.
    Refused {
        /// In the operator's words.
        reason: String,
    },
    /// Nobody has answered for [`Profile::hold`]: held replies get an error; the question may be asked again.
    HeldTooLong,
    /// The caller did not want to wait any longer.
    Cancelled,
}

/// Asks for one module. Many threads may share it.
pub struct ClusterArbiter {
    module: String,
    profile: Profile,
    kind: Kind,
    /// One for each network: all are asked at once.
    peers: Vec<Arc<Client>>,
    quorum: Decider,
}

enum Decider {
    Nobody,
    Witness(Arc<WitnessClient>),
    Tiebreaker(IpAddr),
}

impl ClusterArbiter {
    /// Nothing is connected before the first question.
    pub fn new(settings: Settings) -> ClusterArbiter {
        let Settings { me, peer, peer_addresses, keys, module, quorum, profile } = settings;
        let client = |address| Arc::new(Client::new(me.clone(), Some(peer), vec![address], keys.clone()));
        let kind = quorum.kind();
        let quorum = match quorum {
            Quorum::None => Decider::Nobody,
            Quorum::Witness { address, keys } => Decider::Witness(Arc::new(WitnessClient::new(address, keys))),
            Quorum::Tiebreaker { address } => Decider::Tiebreaker(address),
        };
        ClusterArbiter { module, profile, kind, peers: peer_addresses.into_iter().map(client).collect(), quorum }
    }

    /// The way to the witness, for what is asked of it while all is well.
    pub fn witness(&self) -> Option<&Arc<WitnessClient>> {
        match &self.quorum {
            Decider::Witness(witness) => Some(witness),
            _ => None,
        }
    }

    /// Asks for the right to begin `next`, the intent that `party` has on its disk, on the replicated set `set`, until there is an answer or
    /// `cancelled` says so.
    pub fn decide(&self, set: Uuid, party: Party, next: Generation, cancelled: &dyn Fn() -> bool) -> Verdict {
        let question = PeerQuestion { from: party, next };
        let start = Instant::now();
        let (tell, hear) = unbounded();
        let round = Round::new(self, set, tell);
        let mut ask = Ask::new(self.kind, self.profile, question.clone(), Duration::ZERO);
        let tick = (self.profile.patience / 4).clamp(TICK.0, TICK.1);
        let pause = self.profile.patience.max(self.profile.pulse * 3);
        let (mut event, mut before) = (AskEvent::Tick, Duration::ZERO);
        loop {
            let now = start.elapsed();
            if now.saturating_sub(before) > pause {
                // This process did not run: that others have not answered meanwhile means nothing.
                ask = Ask::new(self.kind, self.profile, question.clone(), now);
            }
            before = now;
            let (sends, verdict) = ask.step(now, event);
            if let Some(verdict) = verdict {
                return verdict.into();
            }
            sends.into_iter().for_each(|send| round.send(send));
            if cancelled() {
                return Verdict::Cancelled;
            }
            if now >= self.profile.hold {
                return Verdict::HeldTooLong;
            }
            event = hear.recv_timeout(tick).unwrap_or(AskEvent::Tick);
        }
    }
}

impl From<Answered> for Verdict {
    fn from(answered: Answered) -> Verdict {
        match answered {
            Answered::Granted { by, superseded } => Verdict::Granted { by, superseded },
            Answered::Refused { reason } => Verdict::Refused { reason: reason.into() },
        }
    }
}

/// The questions of one decision. Its answers go to that decision only, so that a late one meets no other.
struct Round<'a> {
    arbiter: &'a ClusterArbiter,
    set: Uuid,
    tell: Sender<AskEvent>,
    /// Per network, then the quorum: whether a question is under way there. A second one would only wait behind it.
    busy: Vec<Arc<AtomicBool>>,
    timeout: Duration,
}

impl<'a> Round<'a> {
    fn new(arbiter: &'a ClusterArbiter, set: Uuid, tell: Sender<AskEvent>) -> Round<'a> {
        let busy = (0..=arbiter.peers.len()).map(|_| Arc::default()).collect();
        Round { arbiter, set, tell, busy, timeout: CALL.max(arbiter.profile.resend * 4) }
    }

    fn send(&self, send: AskSend) {
        let (timeout, set) = (self.timeout, self.set);
        let quorum = self.arbiter.peers.len();
        match (send, &self.arbiter.quorum) {
            (AskSend::Peer(question), _) => {
                let message = Arc::new(Message::Ask { module: self.arbiter.module.clone(), question });
                for (network, peer) in self.arbiter.peers.iter().enumerate() {
                    let (peer, message) = (peer.clone(), message.clone());
                    self.launch(network, move || ask_peer(&peer, &message, timeout));
                }
            }
            (AskSend::Witness(request), Decider::Witness(witness)) => {
                let witness = witness.clone();
                self.launch(quorum, move || match witness.ask(set, &request, timeout) {
                    Ok(reply) => Some(AskEvent::Witness(reply)),
                    Err(error) => {
                        tracing::debug!(%error, "the witness did not answer");
                        None
                    }
                });
            }
            (AskSend::Ping, Decider::Tiebreaker(address)) => {
                let address = *address;
                self.launch(quorum, move || match ping(address, timeout) {
                    Ok(answered) => answered.then_some(AskEvent::Pong),
                    Err(error) => {
                        tracing::warn!(%error, %address, "the tiebreaker cannot be pinged");
                        None
                    }
                });
            }
            (AskSend::Witness(_) | AskSend::Ping, _) => {}
        }
    }

    fn launch(&self, place: usize, work: impl FnOnce() -> Option<AskEvent> + Send + 'static) {
        let (busy, tell) = (self.busy[place].clone(), self.tell.clone());
        if busy.swap(true, Ordering::SeqCst) {
            return;
        }
        let freed = busy.clone();
        let run = move || {
            let event = work();
            busy.store(false, Ordering::SeqCst);
            // Nobody hears it when the decision has been made.
            event.map(|event| tell.send(event));
        };
        if let Err(error) = std::thread::Builder::new().name("ask".into()).spawn(run) {
            freed.store(false, Ordering::SeqCst);
            tracing::warn!(%error, "no thread for a question");
        }
    }
}

fn ask_peer(peer: &Client, message: &Message, timeout: Duration) -> Option<AskEvent> {
    match peer.ask(message, timeout) {
        Ok(Message::Answer { next, answer }) => Some(AskEvent::Peer(next, answer)),
        Ok(Message::Error { code, reason }) => {
            tracing::warn!(code, "the peer could not answer: {reason}");
            None
        }
        Ok(_) => None,
        Err(error) => {
            tracing::debug!(%error, "the peer did not answer");
            None
        }
    }
}

#[cfg(test)]
#[path = "arbiter_tests.rs"]
mod tests;
