//! Giving the lead away in order, and stopping. Until the peer has recorded that it goes on, and this node that it does not,
//! everything can be taken back.

use super::{Row, rows_of};
use crate::failover::action::Action::{
    After, KillApplication, Offer, RecordOutdated, RemoveAddresses, Rest, Seal, StartApplication, StopEngine,
};
use crate::failover::action::Timer::{Offer as ForOffer, Seal as ForSeal, Start, Stop};
use crate::failover::phase::Phase::{Fencing, HandOffer, HandSeal, HandStop, Starting, StopApp, StopSeal, Stopped, Waiting};

pub(super) const ROWS: &[Row] = rows_of![
    &[HandStop], AppStopped, GIVEN_UP => Some(Starting), [StartApplication, After(Start)],
        "given up: {peer} is not ready any more; the application starts again here", "handover_given_up";
    &[HandStop], AppStopped, ALWAYS => Some(HandSeal), [RemoveAddresses, Seal, After(ForSeal)], "the last writes reach both disks", "sealing";
    &[HandStop], Timeout, ALWAYS => None, [KillApplication, After(Stop)], "the application does not stop: it is killed", "killing";
    &[HandSeal], Sealed, ALWAYS => Some(HandOffer), [Offer, After(ForOffer)], "offered to {peer}", "offered";
    &[HandSeal], Timeout, ALWAYS => Some(Fencing), [RemoveAddresses, KillApplication, After(Stop)],
        "given up: the engine does not come to an end", "handover_given_up";
    &[HandOffer], Consented, THEN_STOP => Some(Stopped), [StopEngine], "stopped: {peer} goes on", "stopped";
    &[HandOffer], Consented, ALWAYS => Some(Waiting), [StopEngine, Rest], "{peer} goes on", "handed_over";
    &[HandOffer], Look, SUPERSEDED => Some(Waiting), [StopEngine], "{peer} goes on", "handed_over";
    &[HandOffer], Timeout, THEN_STOP => Some(Stopped), [StopEngine], "stopped: {peer} did not take over", "stopped";
    &[HandOffer], Timeout, STOP_DUE => Some(Stopped), [StopEngine], "stopped: failed too often, and {peer} did not take over", "exhausted";
    &[HandOffer], Timeout, ALWAYS => Some(Waiting), [StopEngine], "{peer} did not take over", "handover_given_up";

    &[StopApp], AppStopped, ALWAYS => Some(StopSeal), [RemoveAddresses, Seal, After(ForSeal)], "the last writes reach the disks", "sealing";
    &[StopApp], Timeout, ALWAYS => None, [KillApplication, After(Stop)], "the application does not stop: it is killed", "killing";
    &[StopSeal], Sealed, ALWAYS => Some(Stopped), [StopEngine], "stopped", "stopped";
    &[StopSeal], Refused, ALWAYS => Some(Stopped), [RecordOutdated, StopEngine], "stopped: {why}", "stopped";
    &[StopSeal], EngineDied, ALWAYS => Some(Stopped), [StopEngine], "stopped", "stopped";
    &[StopSeal], Timeout, ALWAYS => Some(Stopped), [StopEngine], "stopped: the engine did not come to an end", "stopped";
];
