//! Serving: from the grant to the moment when it is over.

use super::{Row, rows_of};
use crate::failover::action::Action::{
    AddAddresses, After, AnswerErrors, Count, KillApplication, Offer, RecordOutdated, RemoveAddresses, Rest, StartApplication,
    StopAcknowledging, StopApplication, StopEngine,
};
use crate::failover::action::Timer::{Offer as ForOffer, Settle, Start, Stop};
use crate::failover::phase::Phase::{
    Alone, Fencing, HandOffer, HandSeal, HandStop, Prim, Promoting, Restarting, Starting, StopApp, Stopped, Waiting,
};

const SERVES: &[crate::failover::Phase] = &[Starting, Alone, Prim, Restarting];
const LEADS: &[crate::failover::Phase] = &[Starting, Alone, Prim, Restarting, HandStop, HandSeal, StopApp];

pub(super) const ROWS: &[Row] = rows_of![
    // May no longer serve, in the prescribed order: no acknowledgement, no address, no pending I/O, no application.
    LEADS, Refused, ALWAYS => Some(Fencing), [StopAcknowledging, RemoveAddresses, AnswerErrors, RecordOutdated, StopApplication, After(Stop)],
        "may no longer serve: {why}", "fenced";
    LEADS, HeldTooLong, ALWAYS => Some(Fencing), [StopAcknowledging, RemoveAddresses, AnswerErrors, StopApplication, After(Stop)],
        "{peer} and {quorum} are both away: nothing may be acknowledged", "held_too_long";
    LEADS, Look, SUPERSEDED => Some(Fencing), [StopAcknowledging, RemoveAddresses, AnswerErrors, RecordOutdated, StopApplication, After(Stop)],
        "{peer} has gone on with newer data", "superseded";
    &[Promoting], Look, SUPERSEDED => Some(Fencing), [StopAcknowledging, RecordOutdated, StopApplication, After(Stop)],
        "{peer} has gone on with newer data", "superseded";
    LEADS, Look, LOSES_SPLIT => Some(Fencing), [StopAcknowledging, RemoveAddresses, AnswerErrors, StopApplication, After(Stop)],
        "both went on alone: {peer} led before and goes on, own changes are kept apart", "split_lost";
    &[Alone], Look, BOTH_SERVE => None, [], "both nodes serve, each its own history: promote one with --accept split", "split_serving";
    SERVES, CheckWait, ALWAYS => Some(Fencing), [RemoveAddresses, StopApplication, After(Stop)],
        "check {check} fails: nothing is served", "check_waits";
    &[Fencing], AppStopped, STOP_DUE => Some(Stopped), [StopEngine], "stopped: {why}", "stopped";
    &[Fencing], AppStopped, ALWAYS => Some(Waiting), [StopEngine], "the application is stopped", "fenced";
    // What waits for a reply that is held cannot be killed.
    &[Fencing], Timeout, ALWAYS => None, [AnswerErrors, KillApplication, After(Stop)], "the application does not stop: it is killed", "killing";

    &[Promoting], EngineUp, ALWAYS => Some(Starting), [AddAddresses, StartApplication, After(Start)], "the application starts", "starting_application";
    &[Promoting], EngineDied, ALWAYS => Some(Fencing), [Count, Rest, StopAcknowledging, RemoveAddresses, KillApplication, After(Stop)],
        "the engine does not start: {why}", "engine_failed";

    // An engine that died leaves nothing that could write: the peer may have it at once.
    SERVES, EngineDied, FAILOVER_READY => Some(HandOffer), [Count, RemoveAddresses, KillApplication, Offer, After(ForOffer)],
        "the engine died ({why}): {peer} takes over", "engine_died";
    LEADS, EngineDied, ALWAYS => Some(Fencing), [Count, Rest, StopAcknowledging, RemoveAddresses, KillApplication, After(Stop)],
        "the engine died: {why}", "engine_died";

    // Told to end by a daemon that is no more.
    SERVES, Sealed, ALWAYS => Some(Fencing), [RemoveAddresses, KillApplication, After(Stop)], "the engine has ended", "engine_ended";

    &[Starting], AppStarted, IN_SYNC => Some(Prim), [After(Settle)], "the application runs, in sync with {peer}", "in_sync";
    &[Starting], AppStarted, ALWAYS => Some(Alone), [], "the application runs, without a secondary", "alone";
    &[Starting], Timeout, RESTART_LEFT => Some(Restarting), [Count, StopApplication, After(Stop)],
        "the application did not start in time: once more", "restart";
    &[Starting], Timeout, ALWAYS => Some(StopApp), [Count, StopApplication, After(Stop)],
        "the application did not start in time, too often: stops", "exhausted";
    &[Starting, Alone, Prim], AppFailed, RESTART_LEFT => Some(Restarting), [Count, StopApplication, After(Stop)],
        "the application failed ({why}): restart in place", "restart";
    &[Starting, Prim], AppFailed, FAILOVER_READY => Some(HandStop), [Count, StopApplication, After(Stop)],
        "the application failed too often ({why}): {peer} takes over", "application_failed";
    &[Starting, Alone, Prim], AppFailed, ALWAYS => Some(StopApp), [Count, StopApplication, After(Stop)],
        "the application failed too often ({why}): stops", "exhausted";
    &[Prim, Starting], CheckFailover, FAILOVER_READY => Some(HandStop), [StopApplication, After(Stop)],
        "check {check} fails: {peer} takes over", "check_failover";
    &[Alone, Prim, Starting], CheckFailover, RESTART_LEFT => Some(Restarting), [Count, StopApplication, After(Stop)],
        "check {check} fails, and no secondary is ready: restart in place", "restart";
    &[Alone, Prim, Starting], CheckFailover, ALWAYS => Some(StopApp), [Count, StopApplication, After(Stop)],
        "check {check} fails too often: stops", "exhausted";
    &[Alone, Prim, Starting], CheckStop, ALWAYS => Some(StopApp), [StopApplication, After(Stop)], "check {check} fails: stops", "check_stop";
    &[Restarting], AppStopped, ALWAYS => Some(Starting), [StartApplication, After(Start)], "the application starts again", "starting_application";
    &[Restarting], Timeout, ALWAYS => None, [KillApplication, After(Stop)], "the application does not stop: it is killed", "killing";

    &[Alone], InSync, ALWAYS => Some(Prim), [After(Settle)], "in sync with {peer}", "in_sync";
    &[Prim], Holding, ALWAYS => None, [], "{peer} is lost ({why}): replies are held, asks {quorum}", "holding";
    &[Prim], InSync, ALWAYS => None, [], "in sync with {peer}", "in_sync";
    &[Prim], Degraded, ALWAYS => Some(Alone), [], "goes on without {peer}: {why}", "degraded";
    &[Prim], Timeout, PREFERRED_READY => Some(HandStop), [StopApplication, After(Stop)], "returns to {peer}, the preferred node", "failback";
    &[Prim], Timeout, ALWAYS => None, [After(Settle)], "in sync with {peer}", "in_sync";
];
