//! What happens to a module on a node.

use super::view::Facts;
use crate::heartbeat::Presence;
use crate::replica::Replica;

/// One thing that happened, as the shell tells it.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// Time has passed.
    Tick,
    /// This node's data, as recorded.
    Replica(Replica),
    /// What the peer says of itself.
    Peer(Facts),
    /// Whether the peer is heard.
    Presence(Presence),
    /// The peer has been there long enough to be relied on.
    Steady(bool),
    /// The session of the engines exists, or is over.
    Replication(bool),
    /// Both have everything.
    InSync,
    /// The primary's engine has lost the secondary, holds all replies and asks.
    Holding(String),
    /// It was granted: the engine goes on alone.
    Degraded,
    /// Another history has won (the engine's question or this node's).
    Refused(String),
    /// The engine holds replies for longer than an application should hang.
    HeldTooLong,
    /// The engine serves as primary.
    EngineUp,
    /// The engine ended by itself, or could not be started.
    EngineDied(String),
    /// The secondary's engine was refused by the primary, or refuses it.
    FollowRefused(String),
    /// Nothing is taken or acknowledged any more.
    Sealed,
    /// The question was answered with yes.
    Granted,
    /// This node has consented to the peer's going on: it is outdated.
    Consented,
    /// Both have recorded that they are equal and clean.
    PeerClean,
    /// The application runs.
    AppStarted,
    /// It ended by itself or did not start, or a check wants a restart.
    AppFailed(String),
    /// Nothing of it runs any more.
    AppStopped,
    /// A check failed that wants more than a restart.
    CheckFailed(String, OnFailure),
    /// All checks pass again.
    ChecksWell,
    /// The operator.
    Command(Command),
}

/// What a failing check asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnFailure {
    /// Let the other node serve.
    Failover,
    /// Stop here.
    Stop,
    /// Serve nothing until it passes.
    Wait,
}

/// What an operator orders.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Take part.
    Start,
    /// Stop here; the other node takes over if it can.
    Stop,
    /// Stop on both nodes.
    StopAll,
    /// Planned switchover.
    Swap,
    /// Lead, with the word for what is lost.
    Promote(Option<Accept>),
    /// Automatic failover.
    Failover(bool),
    /// The application, in place.
    Restart,
    /// Forget failures.
    Reset,
}

/// The operator's word for what may be lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accept {
    /// This node has the good data at the very first start.
    First,
    /// What the other node acknowledged since.
    Outdated,
    /// Half a copy.
    Inconsistent,
    /// The other one of two histories.
    Split,
}

impl Accept {
    /// As it is typed.
    pub fn word(self) -> &'static str {
        match self {
            Accept::First => "first",
            Accept::Outdated => "outdated",
            Accept::Inconsistent => "inconsistent",
            Accept::Split => "split",
        }
    }
}

/// The events as the table names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Trigger {
    /// Whatever happened: what is known holds now.
    Look,
    /// The phase's clock ran out.
    Timeout,
    /// [`Event::InSync`]
    InSync,
    /// [`Event::Holding`]
    Holding,
    /// [`Event::Degraded`]
    Degraded,
    /// [`Event::Refused`]
    Refused,
    /// [`Event::HeldTooLong`]
    HeldTooLong,
    /// [`Event::EngineUp`]
    EngineUp,
    /// [`Event::EngineDied`]
    EngineDied,
    /// [`Event::FollowRefused`]
    FollowRefused,
    /// [`Event::Sealed`]
    Sealed,
    /// [`Event::Granted`]
    Granted,
    /// [`Event::Consented`]
    Consented,
    /// [`Event::PeerClean`]
    PeerClean,
    /// [`Event::AppStarted`]
    AppStarted,
    /// [`Event::AppFailed`]
    AppFailed,
    /// [`Event::AppStopped`]
    AppStopped,
    /// [`Event::Replication`] is over.
    ReplicationLost,
    /// [`OnFailure::Failover`]
    CheckFailover,
    /// [`OnFailure::Stop`]
    CheckStop,
    /// [`OnFailure::Wait`]
    CheckWait,
    /// [`Command::Start`]
    Start,
    /// [`Command::Stop`]
    Stop,
    /// [`Command::StopAll`]
    StopAll,
    /// [`Command::Swap`]
    Swap,
    /// [`Command::Promote`]
    Promote,
    /// [`Command::Restart`]
    Restart,
}

impl Trigger {
    /// For the document.
    pub fn words(self) -> &'static str {
        match self {
            Trigger::Look => "(holds)",
            Trigger::Timeout => "clock ran out",
            Trigger::InSync => "in sync",
            Trigger::Holding => "secondary lost, replies held",
            Trigger::Degraded => "granted to go on alone",
            Trigger::Refused => "refused",
            Trigger::HeldTooLong => "held too long",
            Trigger::EngineUp => "engine up",
            Trigger::EngineDied => "engine died",
            Trigger::FollowRefused => "session refused",
            Trigger::Sealed => "sealed",
            Trigger::Granted => "granted",
            Trigger::Consented => "consented",
            Trigger::PeerClean => "both clean",
            Trigger::AppStarted => "application started",
            Trigger::AppFailed => "application failed",
            Trigger::AppStopped => "application stopped",
            Trigger::ReplicationLost => "replication lost",
            Trigger::CheckFailover => "check: failover",
            Trigger::CheckStop => "check: stop",
            Trigger::CheckWait => "check: wait",
            Trigger::Start => "start",
            Trigger::Stop => "stop here",
            Trigger::StopAll => "stop everywhere",
            Trigger::Swap => "swap",
            Trigger::Promote => "promote",
            Trigger::Restart => "restart",
        }
    }
}
