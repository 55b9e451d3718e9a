//! What the shell does, in the order of the row.

/// One thing to do. Those that take time are answered by an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Start the engine as secondary and take what the primary sends (→ in sync, engine died, follow refused).
    Follow,
    /// The same; what only this node has is kept as a tree and given up.
    FollowKeeping,
    /// Close the session as one who leaves: the primary asks for consent at once instead of waiting for silence.
    Leave,
    /// End the engine. Done when the action returns.
    StopEngine,
    /// Take and acknowledge nothing any more, drain, unmount or end the session, flush (→ sealed).
    Seal,
    /// Record the intent and ask (→ granted, refused).
    Ask,
    /// Ask no more. The intent stays on disk.
    StopAsking,
    /// Run the command that makes sure the other node is off, if one is configured.
    FencePeer,
    /// Record the new generation, then start the engine as primary (→ engine up, engine died).
    PromoteEngine,
    /// The very first start: make the set and its first generation.
    CreateSet,
    /// The operator has accepted what is lost: overrule the quorum's record, and let the new generation supersede what is
    /// known of the peer's.
    Overrule,
    /// This node's data has lost: record it as outdated.
    RecordOutdated,
    /// Put the virtual addresses on and announce them.
    AddAddresses,
    /// Take the virtual addresses away.
    RemoveAddresses,
    /// Start the application (→ started, failed).
    StartApplication,
    /// Stop the application (→ stopped).
    StopApplication,
    /// Kill what did not stop, and what holds the directories (→ stopped).
    KillApplication,
    /// Answer nothing that the application asks for.
    StopAcknowledging,
    /// Answer everything with EIO, so that what waits can be killed.
    AnswerErrors,
    /// Tell the peer that it may take over. The facts say so as well.
    Offer,
    /// Tell the operator that the command is refused, with the row's reason.
    Refuse,
    /// Count a failure of the application.
    Count,
    /// Do nothing for a moment, so that what fails at once is not tried at once.
    Rest,
    /// When this is over, stay stopped.
    ThenStop,
    /// Start the phase's clock.
    After(Timer),
}

/// How long a phase may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timer {
    /// `start_timeout`.
    Start,
    /// `stop_timeout`.
    Stop,
    /// For draining: what flows at the end of a stop is the last seconds' writes.
    Seal,
    /// For the peer to take what it is offered.
    Offer,
    /// Until the preferred node is returned to.
    Settle,
}

impl Action {
    /// Done by the machine itself.
    pub fn internal(self) -> bool {
        matches!(self, Action::Count | Action::Rest | Action::ThenStop | Action::After(_))
    }

    /// For the document.
    pub fn words(self) -> &'static str {
        match self {
            Action::Follow => "follow",
            Action::FollowKeeping => "follow, keep own changes",
            Action::Leave => "leave",
            Action::StopEngine => "stop engine",
            Action::Seal => "seal",
            Action::Ask => "ask",
            Action::StopAsking => "stop asking",
            Action::FencePeer => "fence peer",
            Action::PromoteEngine => "promote engine",
            Action::CreateSet => "create set",
            Action::Overrule => "overrule",
            Action::RecordOutdated => "record outdated",
            Action::AddAddresses => "add addresses",
            Action::RemoveAddresses => "remove addresses",
            Action::StartApplication => "start application",
            Action::StopApplication => "stop application",
            Action::KillApplication => "kill application",
            Action::StopAcknowledging => "stop acknowledging",
            Action::AnswerErrors => "answer EIO",
            Action::Offer => "offer",
            Action::Refuse => "refuse command",
            Action::Count => "count",
            Action::Rest => "rest",
            Action::ThenStop => "then stop",
            Action::After(Timer::Start) => "clock: start",
            Action::After(Timer::Stop) => "clock: stop",
            Action::After(Timer::Seal) => "clock: seal",
            Action::After(Timer::Offer) => "clock: offer",
            Action::After(Timer::Settle) => "clock: settle",
        }
    }
}
