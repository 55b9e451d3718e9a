//! Following.

use super::{Row, rows_of};
use crate::failover::action::Action::{Ask, Rest, Seal, StopEngine};
use crate::failover::phase::Phase::{Asking, Joining, Leaving, Second, Stopped, Waiting};

const FOLLOWS: &[crate::failover::Phase] = &[Joining, Second];

pub(super) const ROWS: &[Row] = rows_of![
    &[Joining], InSync, ALWAYS => Some(Second), [], "in sync with {peer}", "in_sync";
    &[Second], ReplicationLost, ALWAYS => Some(Joining), [], "the session with {peer} is over", "replication_lost";
    // The engine has ended that session for good: another one follows what comes.
    FOLLOWS, Consented, ALWAYS => Some(Waiting), [StopEngine], "gave way: {peer} goes on", "gave_way";
    FOLLOWS, EngineDied, ALWAYS => Some(Waiting), [StopEngine, Rest], "the engine died: {why}", "engine_died";
    FOLLOWS, Sealed, ALWAYS => Some(Waiting), [StopEngine], "the engine has ended", "engine_ended";
    &[Joining], FollowRefused, ALWAYS => Some(Waiting), [StopEngine, Rest], "not taken as secondary: {why}", "follow_refused";
    FOLLOWS, Look, ALL_LOST_MAY_LEAD => Some(Asking), [Seal, Ask], "{peer} is lost: asks {quorum}", "asking";
    FOLLOWS, Look, ALL_LOST => Some(Waiting), [StopEngine], "{peer} is lost", "peer_lost";
    &[Joining], Look, IDLE_I_LEAD => Some(Asking), [Seal, Ask], "takes over from {peer}", "taking_over";
    // Nothing comes of following; who waits says why, and can be promoted.
    &[Joining], Look, IDLE => Some(Waiting), [StopEngine], "{peer} does not serve any more", "peer_idle";

    &[Leaving], Consented, ALWAYS => Some(Stopped), [StopEngine], "stopped: {peer} goes on alone", "stopped";
    &[Leaving], PeerClean, ALWAYS => Some(Stopped), [StopEngine], "stopped: both are equal and clean", "stopped";
    &[Leaving], EngineDied, ALWAYS => Some(Stopped), [StopEngine], "stopped", "stopped";
    &[Leaving], Timeout, ALWAYS => Some(Stopped), [StopEngine], "stopped: {peer} did not answer", "stopped";
];
