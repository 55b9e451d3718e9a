//! Looking for a role, and asking for the lead.

use super::{Row, rows_of};
use crate::failover::action::Action::{Ask, FencePeer, Follow, FollowKeeping, PromoteEngine, RecordOutdated, Rest, Seal, StopAsking};
use crate::failover::phase::Phase::{Asking, Joining, Promoting, Waiting};

pub(super) const ROWS: &[Row] = rows_of![
    &[Waiting], Look, RESTING => None, [], "tries again soon", "resting";
    &[Waiting], CheckWait, ALWAYS => None, [], "check {check} fails: nothing is served", "check_waits";
    &[Waiting], Look, PEER_SERVES => Some(Joining), [Follow], "follows {peer}", "joining";
    &[Waiting], Look, PEER_SERVES_SPLIT => Some(Joining), [FollowKeeping],
        "both went on alone: {peer} serves, own changes are kept apart", "split_lost";
    &[Waiting], Look, NOBODY_UNRELATED => None, [], "the data here and at {peer} never were one", "unrelated";
    &[Waiting], Look, PEER_SERVES_OTHER => None, [], "{peer} serves other data than this node has: an operator has to choose", "split";
    &[Waiting], Look, CHECK_FAILS => None, [], "check {check} fails: nothing is served", "check_waits";
    &[Waiting], Look, NOBODY_FIRST => None, [], "no data yet: promote the good side with --accept first", "first_start";
    &[Waiting], Look, NOBODY_SPLIT => None, [], "both went on alone: promote one side with --accept split", "split";
    &[Waiting], Look, EXHAUSTED => None, [], "the application failed too often here", "exhausted";
    &[Waiting], Look, I_LEAD => Some(Asking), [Seal, Ask], "leads: asks {peer}", "asking";
    &[Waiting], Look, PEER_LEADS => None, [], "waits for {peer} to lead", "peer_leads";
    &[Waiting], Look, NOBODY_UNWILLING => None, [], "the node that has everything is stopped or has given up", "peer_unwilling";
    &[Waiting], Look, NOBODY_UNUSABLE => None, [], "the newest data is incomplete: promote with --accept to use what there is", "unusable";
    &[Waiting], Look, PEER_UNKNOWN => None, [], "looks for {peer}", "looking";
    &[Waiting], Look, LOST_INCONSISTENT => None, [], "half a copy: waits for {peer}", "inconsistent";
    &[Waiting], Look, LOST_OUTDATED => None, [], "outdated: {peer} went on alone, waits for it", "outdated";
    &[Waiting], Look, LOST_RIGHT_AT_PEER => None, [], "{peer} may have gone on alone: waits for it", "right_at_peer";
    &[Waiting], Look, LOST_POWER_CUT => None, [], "lost its memory: {peer} may have what is missing here, waits for it", "power_cut";
    &[Waiting], Look, LOST_FAILOVER_OFF => None, [], "{peer} is lost, and automatic failover is off", "failover_off";
    &[Waiting], Look, LOST_SECONDARY => None, [], "was secondary last: {peer} may have gone on alone, waits for it", "secondary_waits";
    &[Waiting], Look, LOST_MAY_LEAD => Some(Asking), [Seal, Ask], "{peer} is lost: asks {quorum}", "asking";

    &[Asking], Granted, ALWAYS => Some(Promoting), [FencePeer, PromoteEngine], "granted: becomes primary", "promoting";
    &[Asking], Refused, ALWAYS => Some(Waiting), [StopAsking, RecordOutdated, Rest], "refused: {why}", "refused";
    // Who gave way rests: the peer is about to begin, and would hear of a rival.
    &[Asking], Consented, ALWAYS => Some(Waiting), [StopAsking, Rest], "gave way: {peer} goes on", "gave_way";
    &[Asking], Look, CHECK_FAILS => Some(Waiting), [StopAsking], "check {check} fails: nothing is served", "check_waits";
    &[Asking], Look, PEER_SERVES => Some(Waiting), [StopAsking], "{peer} serves", "peer_serves";
    &[Asking], Look, PEER_SERVES_SPLIT => Some(Waiting), [StopAsking], "{peer} serves", "peer_serves";
    &[Asking], Look, PEER_LEADS_STILL => Some(Waiting), [StopAsking], "{peer} is back and leads", "peer_leads";
];
