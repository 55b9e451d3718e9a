//! Conditions of the table, each with its words.

use super::event::Accept;
use super::view::{Hindrance, View};
use crate::heartbeat::Presence;
use crate::replica::{Leader, Nobody, Relation};

/// A condition on what is known.
#[derive(Clone, Copy, Debug)]
pub struct Guard {
    /// For the document.
    pub words: &'static str,
    /// Whether it holds.
    pub test: fn(&View) -> bool,
}

macro_rules! guards {
    ($($name:ident $words:literal $test:expr;)*) => {
        $(#[doc = concat!("Condition: ", $words)] pub const $name: Guard = Guard { words: $words, test: $test };)*
    };
}

fn behind(view: &View) -> bool {
    matches!(view.relation(), Some(Relation::Behind | Relation::Same | Relation::Empty))
}

fn lost(view: &View) -> bool {
    view.presence == Presence::Lost
}

fn hinders(view: &View, hindrance: Hindrance) -> bool {
    lost(view) && view.hindrance() == Some(hindrance)
}

fn restart_left(view: &View) -> bool {
    view.ladder.within(view.now, view.policy.restart_window) < view.policy.max_restarts
}

fn ready(view: &View) -> bool {
    view.in_sync && view.peer_ready()
}

guards! {
    ALWAYS "" |_| true;
    RESTING "resting" |view| view.now < view.rest_until;
    CHECK_FAILS "a check wants nothing served" |view| view.check.is_some();
    EXHAUSTED "failed too often" View::exhausted;
    PEER_SERVES "peer serves, data continues ours" |view| view.serving().is_some() && behind(view);
    PEER_SERVES_SPLIT "peer serves another history, resolved by rule" |view| {
        view.serving().is_some() && view.policy.resolves() && matches!(view.relation(), Some(Relation::Parted { .. }))
    };
    PEER_SERVES_OTHER "peer serves, data do not fit" |view| view.serving().is_some() && !behind(view);
    I_LEAD "peer heard, this node leads" |view| view.leader() == Some(Leader::Me);
    PEER_LEADS "peer heard, it leads" |view| view.leader() == Some(Leader::Peer);
    PEER_LEADS_STILL "peer heard, it leads and has not given way" |view| {
        let gave_way = view.heard().and_then(|facts| facts.party.replica.yielded_to);
        view.leader() == Some(Leader::Peer) && (gave_way.is_none() || gave_way != view.replica.intent)
    };
    NOBODY_FIRST "no data anywhere" |view| {
        view.nobody(Nobody::First) || view.heard().is_none() && view.presence != Presence::Unknown && view.replica.current.is_none()
    };
    NOBODY_SPLIT "histories parted" |view| view.nobody(Nobody::Split);
    NOBODY_UNRELATED "unrelated data" |view| view.nobody(Nobody::Unrelated);
    NOBODY_UNWILLING "who has everything does not serve" |view| view.nobody(Nobody::Unwilling);
    NOBODY_UNUSABLE "no usable data" |view| view.nobody(Nobody::Unusable);
    PEER_UNKNOWN "peer not heard yet" |view| view.heard().is_none() && !lost(view);
    LOST_INCONSISTENT "peer lost, half a copy" |view| hinders(view, Hindrance::Inconsistent);
    LOST_OUTDATED "peer lost, outdated" |view| hinders(view, Hindrance::Outdated);
    LOST_RIGHT_AT_PEER "peer lost, agreed that it survives" |view| hinders(view, Hindrance::RightAtPeer);
    LOST_POWER_CUT "peer lost, own memory lost" |view| hinders(view, Hindrance::PowerCut);
    LOST_FAILOVER_OFF "peer lost, failover off" |view| hinders(view, Hindrance::FailoverOff);
    LOST_SECONDARY "peer lost, former secondary, nobody remembers" |view| hinders(view, Hindrance::SecondaryWaits);
    LOST_MAY_LEAD "peer lost, may lead" |view| lost(view) && view.may_lead_alone();
    ALL_LOST "replication and all heartbeats lost" |view| lost(view) && !view.replication;
    ALL_LOST_MAY_LEAD "replication and all heartbeats lost, may lead" |view| lost(view) && !view.replication && view.may_lead_alone();
    IDLE_I_LEAD "no session, peer does not serve, this node leads" |view| {
        !view.replication && view.serving().is_none() && view.leader() == Some(Leader::Me)
    };
    IDLE "no session, peer heard and does not serve" |view| {
        !view.replication && view.heard().is_some() && view.serving().is_none()
    };
    SUPERSEDED "peer has newer data" |view| view.relation() == Some(Relation::Behind);
    LOSES_SPLIT "both serve, by rule the peer's history wins" View::peer_wins_split;
    BOTH_SERVE "both serve, and no rule resolves it" |view| {
        let parted = matches!(view.relation(), Some(Relation::Parted { .. } | Relation::Unrelated));
        parted && view.serving().is_some() && !view.policy.resolves()
    };
    IN_SYNC "in sync" |view| view.in_sync;
    RESTART_LEFT "restarts left" restart_left;
    PEER_READY "secondary ready" ready;
    FAILOVER_READY "secondary ready, failover on" |view| ready(view) && view.policy.failover;
    THEN_STOP "to be stopped" |view| view.then_stop;
    STOP_DUE "to be stopped, or failed too often" |view| view.then_stop || view.exhausted();
    GIVEN_UP "secondary lost, not to be stopped" |view| !ready(view) && !view.then_stop;
    PREFERRED_READY "preferred node ready and steady" |view| {
        let preferred = view.policy.preferred.is_some_and(|node| node != view.node);
        preferred && view.policy.failback && view.policy.failover && view.steady && ready(view)
    };
    ACCEPT_FIRST "accepts: first; no data anywhere, peer serves nothing" |view| {
        let nothing = view.relation().is_none_or(|relation| relation == Relation::Empty);
        view.accept == Some(Accept::First) && view.replica.current.is_none() && view.serving().is_none() && nothing
    };
    ACCEPT_SPLIT_SERVING "accepts: split; both serve" |view| {
        let parted = matches!(view.relation(), Some(Relation::Parted { .. } | Relation::Unrelated));
        parted && view.accept == Some(Accept::Split)
    };
    PEER_HAS_IT "peer serves" |view| view.serving().is_some();
    WORD_FITS "accepts what is lost" |view| {
        let needed = view.needed();
        needed.is_some() && needed != Some(Accept::First) && view.accept == needed
    };
    NO_WORD_NEEDED "nothing is lost" |view| view.needed().is_none();
}
