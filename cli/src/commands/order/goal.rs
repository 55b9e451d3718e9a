//! When an order has been carried out: a function of what was before and what is now.

use crate::model::{Module, OnNode};
use cluster::module::events::Entry;
use std::time::Duration;

/// After a stop, so long for the other node to serve; after a swap, so long for the former primary to follow.
const SECOND_STEP: Duration = Duration::from_secs(30);

/// Reasons of a node that waits and that nothing but an operator, or the other node's return, will end.
const STUCK: [&str; 14] = [
    "first_start",
    "split",
    "unrelated",
    "unusable",
    "exhausted",
    "failover_off",
    "peer_unwilling",
    "outdated",
    "inconsistent",
    "right_at_peer",
    "power_cut",
    "secondary_waits",
    "refused",
    "check_waits",
];

/// What was ordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    Start,
    Stop,
    Restart,
    Swap,
    Promote,
}

impl Order {
    /// The daemon's word.
    pub fn verb(self) -> &'static str {
        match self {
            Order::Start => "start",
            Order::Stop => "stop",
            Order::Restart => "restart",
            Order::Swap => "swap",
            Order::Promote => "promote",
        }
    }
}

/// How far it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// On the way.
    NotYet,
    /// Done.
    Arrived,
    /// Nothing moves, for this reason; final when it stays so for a while.
    Stuck(String),
    /// It came to another end.
    Failed(String),
}

/// An order, and what there was before it.
#[derive(Clone, Debug)]
pub struct Goal {
    /// What was ordered.
    pub order: Order,
    /// Nodes that have got the order.
    pub targets: Vec<String>,
    /// The module before.
    pub before: Module,
}

impl Goal {
    /// `events`: of all nodes, since the order. `waited`: since the order.
    pub fn judge(&self, now: &Module, events: &[Entry], waited: Duration) -> Verdict {
        let mut all = self.targets.iter().map(|name| match now.on(name).filter(|on| on.reachable) {
            Some(on) => self.one(on, now, events, waited),
            None => Verdict::NotYet,
        });
        let mut whole = Verdict::Arrived;
        for verdict in &mut all {
            whole = match (whole, verdict) {
                (Verdict::Failed(why), _) | (_, Verdict::Failed(why)) => return Verdict::Failed(why),
                (Verdict::Stuck(why), _) | (_, Verdict::Stuck(why)) => Verdict::Stuck(why),
                (Verdict::NotYet, _) | (_, Verdict::NotYet) => Verdict::NotYet,
                (Verdict::Arrived, Verdict::Arrived) => Verdict::Arrived,
            };
        }
        match whole {
            // While any node is on the way, the others may have to wait for it.
            Verdict::Stuck(_) if now.nodes.iter().any(OnNode::is_moving) => Verdict::NotYet,
            whole => whole,
        }
    }

    fn one(&self, on: &OnNode, now: &Module, events: &[Entry], waited: Duration) -> Verdict {
        match self.order {
            Order::Start if on.state == "SECOND" || on.serves() => Verdict::Arrived,
            Order::Promote if on.serves() => Verdict::Arrived,
            Order::Start | Order::Promote => self.on_the_way(on),
            Order::Stop => self.stop(on, now, waited),
            Order::Restart if on.serves() && self.has_moved(on) => Verdict::Arrived,
            Order::Restart => match now.leader().filter(|leader| now.is_mirror() && leader.node != on.node) {
                Some(leader) => Verdict::Failed(format!("it failed on {}, and {} took over", on.node, leader.node)),
                None => self.on_the_way(on),
            },
            Order::Swap => self.swap(on, now, events, waited),
        }
    }

    /// Not as it was before the order.
    fn has_moved(&self, on: &OnNode) -> bool {
        self.before.on(&on.node).is_none_or(|before| before.since != on.since)
    }

    fn on_the_way(&self, on: &OnNode) -> Verdict {
        let why = || format!("{} on {}: {}", on.state, on.node, on.reason);
        match on.state.as_str() {
            _ if on.is_moving() => Verdict::NotYet,
            "STOP" if self.has_moved(on) => Verdict::Failed(why()),
            "WAIT" if STUCK.contains(&on.reason_code.as_str()) => Verdict::Stuck(why()),
            _ => Verdict::NotYet,
        }
    }

    fn stop(&self, on: &OnNode, now: &Module, waited: Duration) -> Verdict {
        if on.state != "STOP" {
            return Verdict::NotYet;
        }
        let led = self.before.on(&on.node).is_some_and(OnNode::leads);
        let hands_over = self.before.is_mirror() && self.targets.len() == 1 && led && self.before.can_fail_over.now;
        let taken = now.other(&on.node).is_none_or(OnNode::serves);
        if hands_over && !taken && waited < SECOND_STEP { Verdict::NotYet } else { Verdict::Arrived }
    }

    /// `on` is the node that led before.
    fn swap(&self, on: &OnNode, now: &Module, events: &[Entry], waited: Duration) -> Verdict {
        let taken = now.other(&on.node).is_some_and(OnNode::serves);
        if taken {
            let follows = on.state == "SECOND" && on.is_ready();
            return if follows || waited >= SECOND_STEP { Verdict::Arrived } else { Verdict::NotYet };
        }
        let given_up = events.iter().rev().find(|event| event.node == on.node && event.reason_code == "handover_given_up");
        match given_up {
            Some(event) if on.serves() => Verdict::Failed(event.reason.clone()),
            _ if on.state == "STOP" && self.has_moved(on) => Verdict::Failed(on.reason.clone()),
            _ => Verdict::NotYet,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn module(nodes: &[(&str, &str, &str, &str, &str)]) -> Module {
        let nodes: Vec<Value> = nodes
            .iter()
            .map(|(node, state, readiness, code, since)| {
                json!({ "node": node, "state": state, "readiness": readiness, "reason": "r", "reason_code": code,
                        "since": since, "reachable": true })
            })
            .collect();
        serde_json::from_value(json!({ "name": "db", "kind": "mirror", "nodes": nodes, "can_fail_over": { "now": true } }))
            .expect("a module")
    }

    fn goal(order: Order, targets: &[&str], before: &Module) -> Goal {
        Goal { order, targets: targets.iter().map(ToString::to_string).collect(), before: before.clone() }
    }

    fn event(node: &str, code: &str) -> Entry {
        serde_json::from_value(json!({ "schema": 1, "seq": 1, "time": "t", "node": node, "module": "db", "kind": "state",
                                       "reason": "given up: the other node is not ready", "reason_code": code }))
        .expect("an event")
    }

    const NOW: Duration = Duration::ZERO;

    #[test]
    fn a_start_arrives_when_all_that_were_told_have() {
        let before = module(&[("a", "STOP", "not_ready", "stopped", "1"), ("b", "STOP", "not_ready", "stopped", "1")]);
        let both = goal(Order::Start, &["a", "b"], &before);
        assert_eq!(both.judge(&before, &[], NOW), Verdict::NotYet, "the order has not been taken in");
        let on_the_way =
            module(&[("a", "ALONE", "transient", "starting_application", "2"), ("b", "WAIT", "not_ready", "peer_unwilling", "2")]);
        assert_eq!(both.judge(&on_the_way, &[], NOW), Verdict::NotYet, "the other node is on the way");
        let there = module(&[("a", "ALONE", "ready", "alone", "3"), ("b", "SECOND", "transient", "joining", "3")]);
        assert_eq!(both.judge(&there, &[], NOW), Verdict::Arrived);
    }

    #[test]
    fn a_start_that_needs_an_operator_says_so() {
        let before = module(&[("a", "STOP", "not_ready", "stopped", "1"), ("b", "STOP", "not_ready", "stopped", "1")]);
        let first = module(&[("a", "WAIT", "not_ready", "first_start", "2"), ("b", "WAIT", "not_ready", "first_start", "2")]);
        assert_eq!(goal(Order::Start, &["a", "b"], &before).judge(&first, &[], NOW), Verdict::Stuck("WAIT on a: r".into()));
        let gave_up = module(&[("a", "STOP", "not_ready", "exhausted", "2"), ("b", "WAIT", "not_ready", "looking", "2")]);
        assert_eq!(goal(Order::Start, &["a"], &before).judge(&gave_up, &[], NOW), Verdict::Failed("STOP on a: r".into()));
    }

    #[test]
    fn a_stop_of_the_primary_waits_for_the_other_but_not_for_ever() {
        let before = module(&[("a", "PRIM", "ready", "in_sync", "1"), ("b", "SECOND", "ready", "in_sync", "1")]);
        let here = goal(Order::Stop, &["a"], &before);
        let half = module(&[("a", "STOP", "not_ready", "stopped", "2"), ("b", "ALONE", "transient", "starting_application", "2")]);
        assert_eq!(here.judge(&half, &[], NOW), Verdict::NotYet);
        assert_eq!(here.judge(&half, &[], SECOND_STEP), Verdict::Arrived);
        let everywhere = goal(Order::Stop, &["a", "b"], &before);
        let stopped = module(&[("a", "STOP", "not_ready", "stopped", "2"), ("b", "STOP", "not_ready", "stopped", "2")]);
        assert_eq!(everywhere.judge(&half, &[], NOW), Verdict::NotYet);
        assert_eq!(everywhere.judge(&stopped, &[], NOW), Verdict::Arrived);
    }

    #[test]
    fn a_restart_is_over_when_it_serves_again_and_not_before_it_began() {
        let before = module(&[("a", "PRIM", "ready", "in_sync", "1"), ("b", "SECOND", "ready", "in_sync", "1")]);
        let restart = goal(Order::Restart, &["a"], &before);
        assert_eq!(restart.judge(&before, &[], NOW), Verdict::NotYet);
        let again = module(&[("a", "PRIM", "ready", "in_sync", "2"), ("b", "SECOND", "ready", "in_sync", "1")]);
        assert_eq!(restart.judge(&again, &[], NOW), Verdict::Arrived);
        let moved = module(&[("a", "SECOND", "ready", "in_sync", "2"), ("b", "PRIM", "ready", "in_sync", "2")]);
        assert_eq!(restart.judge(&moved, &[], NOW), Verdict::Failed("it failed on a, and b took over".into()));
    }

    #[test]
    fn a_swap_ends_in_sync_or_is_given_up() {
        let before = module(&[("a", "PRIM", "ready", "in_sync", "1"), ("b", "SECOND", "ready", "in_sync", "1")]);
        let swap = goal(Order::Swap, &["a"], &before);
        assert_eq!(swap.judge(&before, &[], NOW), Verdict::NotYet);
        let taken = module(&[("a", "WAIT", "not_ready", "handed_over", "2"), ("b", "ALONE", "ready", "alone", "2")]);
        assert_eq!(swap.judge(&taken, &[], NOW), Verdict::NotYet);
        assert_eq!(swap.judge(&taken, &[], SECOND_STEP), Verdict::Arrived, "at least the other one serves");
        let done = module(&[("a", "SECOND", "ready", "in_sync", "3"), ("b", "PRIM", "ready", "in_sync", "3")]);
        assert_eq!(swap.judge(&done, &[], NOW), Verdict::Arrived);
        let back = module(&[("a", "PRIM", "ready", "in_sync", "3"), ("b", "SECOND", "ready", "in_sync", "1")]);
        let given_up = [event("a", "swap"), event("a", "handover_given_up")];
        assert_eq!(swap.judge(&back, &given_up, NOW), Verdict::Failed("given up: the other node is not ready".into()));
    }

    #[test]
    fn a_promotion_that_the_quorum_refuses_is_stuck() {
        let before = module(&[("a", "WAIT", "not_ready", "outdated", "1"), ("b", "STOP", "not_ready", "stopped", "1")]);
        let promote = goal(Order::Promote, &["a"], &before);
        let asks = module(&[("a", "WAIT", "transient", "asking", "2"), ("b", "STOP", "not_ready", "stopped", "1")]);
        assert_eq!(promote.judge(&asks, &[], NOW), Verdict::NotYet);
        let refused = module(&[("a", "WAIT", "not_ready", "refused", "3"), ("b", "STOP", "not_ready", "stopped", "1")]);
        assert_eq!(promote.judge(&refused, &[], NOW), Verdict::Stuck("WAIT on a: r".into()));
        let serves = module(&[("a", "ALONE", "ready", "alone", "4"), ("b", "STOP", "not_ready", "stopped", "1")]);
        assert_eq!(promote.judge(&serves, &[], NOW), Verdict::Arrived);
    }
}
