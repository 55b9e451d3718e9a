//! States of the contract, and the phases inside them.

use serde::{Deserialize, Serialize};

/// State of a mirror module on a node, in the words of the contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum State {
    /// Not started.
    Stop,
    /// Started, and serves nothing.
    Wait,
    /// Serves without a secondary that has everything.
    Alone,
    /// Serves, and the secondary has everything.
    Prim,
    /// Follows a primary.
    Second,
}

impl State {
    /// As it is printed.
    pub fn word(self) -> &'static str {
        match self {
            State::Stop => "STOP",
            State::Wait => "WAIT",
            State::Alone => "ALONE",
            State::Prim => "PRIM",
            State::Second => "SECOND",
        }
    }
}

/// Whether a state is what it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Readiness {
    /// As it should be.
    Ready,
    /// On the way.
    Transient,
    /// Needs something from outside.
    NotReady,
}

/// Where the machine is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Phase {
    /// Not started.
    Stopped,
    /// Looks for its role.
    Waiting,
    /// Wants to lead; the question is out.
    Asking,
    /// May lead; the engine is being started as primary.
    Promoting,
    /// The application is being started.
    Starting,
    /// Serves alone.
    Alone,
    /// Serves in sync.
    Prim,
    /// The application is being stopped, to start again here.
    Restarting,
    /// Follows, and does not have everything yet.
    Joining,
    /// Follows, and has everything.
    Second,
    /// Handing over: the application stops.
    HandStop,
    /// Handing over: the engine takes nothing any more and drains.
    HandSeal,
    /// Handing over: the peer is to take it.
    HandOffer,
    /// May no longer serve.
    Fencing,
    /// Stopping: the application.
    StopApp,
    /// Stopping: the engine drains.
    StopSeal,
    /// Stopping as secondary: the primary is told.
    Leaving,
}

impl Phase {
    /// All of them, in the order of the document.
    pub const ALL: [Phase; 17] = [
        Phase::Stopped,
        Phase::Waiting,
        Phase::Asking,
        Phase::Promoting,
        Phase::Starting,
        Phase::Alone,
        Phase::Prim,
        Phase::Restarting,
        Phase::Joining,
        Phase::Second,
        Phase::HandStop,
        Phase::HandSeal,
        Phase::HandOffer,
        Phase::Fencing,
        Phase::StopApp,
        Phase::StopSeal,
        Phase::Leaving,
    ];

    /// The state that is shown. `in_sync` of a primary tells PRIM from ALONE where both are possible.
    pub fn state(self, in_sync: bool) -> State {
        match self {
            Phase::Stopped => State::Stop,
            Phase::Waiting | Phase::Asking | Phase::Promoting | Phase::Fencing | Phase::HandOffer | Phase::StopSeal => State::Wait,
            Phase::Alone => State::Alone,
            Phase::Prim => State::Prim,
            Phase::Starting | Phase::Restarting | Phase::HandStop | Phase::HandSeal | Phase::StopApp if in_sync => State::Prim,
            Phase::Starting | Phase::Restarting | Phase::HandStop | Phase::HandSeal | Phase::StopApp => State::Alone,
            Phase::Joining | Phase::Second | Phase::Leaving => State::Second,
        }
    }

    /// How it stands. Waiting is told from being stuck by whether anything is missing.
    pub fn readiness(self) -> Readiness {
        match self {
            Phase::Prim | Phase::Second | Phase::Alone => Readiness::Ready,
            Phase::Stopped | Phase::Waiting => Readiness::NotReady,
            _ => Readiness::Transient,
        }
    }

    /// The engine is, or is becoming, a primary that takes operations.
    pub fn leads(self) -> bool {
        use Phase::{Alone, HandSeal, HandStop, Prim, Promoting, Restarting, Starting, StopApp};
        matches!(self, Promoting | Starting | Alone | Prim | Restarting | HandStop | HandSeal | StopApp)
    }

    /// On the way to stop, or handing over: would not take the lead.
    pub fn departing(self) -> bool {
        use Phase::{HandOffer, HandSeal, HandStop, Leaving, StopApp, StopSeal, Stopped};
        matches!(self, Stopped | HandStop | HandSeal | HandOffer | StopApp | StopSeal | Leaving)
    }
}
