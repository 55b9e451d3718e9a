//! What operators order.

use super::{Row, rows_of};
use crate::failover::action::Action::{
    After, CreateSet, FencePeer, Leave, Overrule, PromoteEngine, Refuse, RemoveAddresses, StopAcknowledging, StopApplication, StopAsking,
    ThenStop,
};
use crate::failover::action::Timer::{Offer, Stop};
use crate::failover::phase::Phase::{
    Alone, Asking, Fencing, HandOffer, HandSeal, HandStop, Joining, Leaving, Prim, Promoting, Restarting, Second, Starting, StopApp,
    StopSeal, Stopped, Waiting,
};

const SERVES: &[crate::failover::Phase] = &[Starting, Alone, Prim, Restarting];

pub(super) const ROWS: &[Row] = rows_of![
    &[Stopped], Start, ALWAYS => Some(Waiting), [], "started: looks for {peer}", "starting";

    &[Waiting], Stop, ALWAYS => Some(Stopped), [], "stopped by the operator", "stopped";
    &[Waiting], StopAll, ALWAYS => Some(Stopped), [], "stopped by the operator", "stopped";
    &[Asking], Stop, ALWAYS => Some(Stopped), [StopAsking], "stopped by the operator", "stopped";
    &[Asking], StopAll, ALWAYS => Some(Stopped), [StopAsking], "stopped by the operator", "stopped";
    &[Joining, Second], Stop, ALWAYS => Some(Leaving), [Leave, After(Offer)], "leaves: {peer} goes on alone", "leaving";
    &[Joining, Second], StopAll, ALWAYS => Some(Leaving), [After(Stop)], "waits for {peer} to stop", "leaving";
    &[Promoting], Stop, ALWAYS => Some(Fencing), [ThenStop, StopAcknowledging, RemoveAddresses, StopApplication, After(Stop)],
        "stopped by the operator", "stopping";
    &[Promoting], StopAll, ALWAYS => Some(Fencing), [ThenStop, StopAcknowledging, RemoveAddresses, StopApplication, After(Stop)],
        "stopped by the operator", "stopping";
    &[Prim], Stop, PEER_READY => Some(HandStop), [ThenStop, StopApplication, After(Stop)],
        "stopped by the operator: {peer} takes over", "handing_over";
    SERVES, Stop, ALWAYS => Some(StopApp), [StopApplication, After(Stop)], "stopped by the operator", "stopping";
    SERVES, StopAll, ALWAYS => Some(StopApp), [StopApplication, After(Stop)], "stopped by the operator", "stopping";
    &[HandStop, HandSeal, HandOffer, Fencing], Stop, ALWAYS => None, [ThenStop], "stopped by the operator", "stopping";
    &[HandStop, HandSeal, HandOffer, Fencing], StopAll, ALWAYS => None, [ThenStop], "stopped by the operator", "stopping";

    &[Prim], Swap, PEER_READY => Some(HandStop), [StopApplication, After(Stop)], "swap: the application stops", "swap";
    &[Stopped, Waiting, Asking, Promoting, Starting, Alone, Prim, Restarting, Joining, Second, HandStop, HandSeal, HandOffer, Fencing, StopApp,
        StopSeal, Leaving],
        Swap, ALWAYS => None, [Refuse], "no swap: this node is not a primary with a ready secondary", "swap_not_ready";

    &[Alone, Prim], Restart, ALWAYS => Some(Restarting), [StopApplication, After(Stop)], "restart by the operator", "restart";

    &[Stopped, Waiting], Promote, ACCEPT_FIRST => Some(Promoting), [CreateSet, FencePeer, PromoteEngine],
        "first start: the operator named this side", "first_start";
    &[Alone, Prim], Promote, ACCEPT_SPLIT_SERVING => None, [Overrule], "the operator chose this history", "split_accepted";
    &[Stopped, Waiting, Asking], Promote, PEER_HAS_IT => None, [Refuse], "no promotion: {peer} serves; stop it there, or swap", "peer_serves";
    &[Joining, Second], Promote, ALWAYS => None, [Refuse], "no promotion: this node follows {peer}; swap, or stop it there first", "follows";
    SERVES, Promote, ALWAYS => None, [Refuse], "no promotion: this node serves already", "serves";
    &[Stopped], Promote, ALWAYS => None, [Refuse], "no promotion: the module is stopped; start it first", "stopped";
    &[Waiting, Asking], Promote, WORD_FITS => Some(Promoting), [StopAsking, Overrule, FencePeer, PromoteEngine],
        "the operator accepts: {word}", "accepted";
    &[Waiting], Promote, NO_WORD_NEEDED => Some(Asking), [crate::failover::Action::Seal, crate::failover::Action::Ask],
        "promoted by the operator: asks {quorum}", "promoting";
    &[Waiting, Asking], Promote, ALWAYS => None, [Refuse], "no promotion without a word: what is lost is {word}", "word_needed";
];
