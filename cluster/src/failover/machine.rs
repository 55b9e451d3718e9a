//! Keeps what is known, finds the row, tells what to do.

use super::action::Action;
use super::event::{Command, Event, OnFailure, Trigger};
use super::guard;
use super::phase::{Phase, State};
use super::policy::Policy;
use super::table::{self, Row};
use super::view::{Facts, View};
use crate::heartbeat::Presence;
use crate::replica::Data;
use crate::{Moment, NodeId};
use std::sync::Arc;

/// Rows that one event may lead through. More would be rows that chase each other.
const MOST_STEPS: usize = 8;

/// One row that was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// From where.
    pub from: Phase,
    /// To where.
    pub to: Phase,
    /// The state that is shown now.
    pub state: State,
    /// What to do, in this order.
    pub actions: Vec<Action>,
    /// Why, in the operator's words.
    pub reason: String,
    /// The same for machines, stable.
    pub reason_code: &'static str,
}

impl Step {
    /// The command was refused.
    pub fn refused(&self) -> bool {
        self.actions.contains(&Action::Refuse)
    }
}

/// The machine of one module on one node.
#[derive(Clone, Debug)]
pub struct Machine {
    rows: Arc<[Row]>,
    peer_name: String,
    view: View,
    deadline: Option<Moment>,
    reason: String,
    code: &'static str,
}

impl Machine {
    /// A module that is stopped. `peer_name` is for sentences.
    pub fn new(node: NodeId, peer_name: &str, policy: Policy, now: Moment) -> Machine {
        Machine::with_rows(table::rows().into(), node, peer_name, policy, now)
    }

    /// With another table: tests try known-bad ones.
    pub fn with_rows(rows: Arc<[Row]>, node: NodeId, peer_name: &str, policy: Policy, now: Moment) -> Machine {
        let view = View::new(node, policy, now);
        Machine { rows, peer_name: peer_name.to_owned(), view, deadline: None, reason: "stopped".to_owned(), code: "stopped" }
    }

    /// A daemon that starts anew finds the module as it is: the engine and the application went on without it.
    pub fn found(&mut self, phase: Phase, in_sync: bool, reason: &str, code: &'static str) {
        self.view.phase = phase;
        self.view.in_sync = in_sync;
        self.view.replication = in_sync || phase == Phase::Joining;
        self.view.live = phase == Phase::Second;
        self.reason = reason.to_owned();
        self.code = code;
        self.deadline = match phase {
            Phase::Prim => Some(self.view.now + self.view.policy.profile.settle),
            Phase::Starting => Some(self.view.now + self.view.policy.start_timeout),
            _ => None,
        };
    }

    /// Where it is.
    pub fn phase(&self) -> Phase {
        self.view.phase
    }

    /// What is known.
    pub fn view(&self) -> &View {
        &self.view
    }

    /// What the peer is to be told.
    pub fn facts(&self) -> Facts {
        self.view.facts()
    }

    /// Why it is where it is, and the stable code of that.
    pub fn reason(&self) -> (&str, &'static str) {
        (&self.reason, self.code)
    }

    /// Takes in what happened at `now`.
    pub fn on(&mut self, now: Moment, event: Event) -> Vec<Step> {
        self.view.now = now;
        let mut steps = Vec::new();
        if let Some(trigger) = self.note(event) {
            self.fire(trigger, &mut steps);
        }
        if self.deadline.is_some_and(|deadline| now >= deadline) {
            self.deadline = None;
            self.fire(Trigger::Timeout, &mut steps);
        }
        while steps.len() < MOST_STEPS {
            let phase = self.view.phase;
            self.fire(Trigger::Look, &mut steps);
            if self.view.phase == phase {
                break;
            }
        }
        self.view.accept = None;
        steps
    }

    /// Keeps what an event says, and names it for the table.
    fn note(&mut self, event: Event) -> Option<Trigger> {
        let view = &mut self.view;
        match event {
            Event::Tick => None,
            Event::Replica(replica) => {
                view.live &= replica.data == Data::Uptodate;
                view.replica = replica;
                None
            }
            Event::Peer(facts) => {
                view.peer = Some(facts);
                None
            }
            Event::Presence(presence) => {
                view.presence = presence;
                None
            }
            Event::Steady(steady) => {
                view.steady = steady;
                None
            }
            Event::Replication(there) => {
                let lost = view.replication && !there;
                view.replication = there;
                view.in_sync &= there;
                lost.then_some(Trigger::ReplicationLost)
            }
            Event::InSync => {
                view.in_sync = true;
                view.replication = true;
                view.live = !view.phase.leads();
                Some(Trigger::InSync)
            }
            Event::Holding(why) => {
                view.in_sync = false;
                view.replication = false;
                view.why = why;
                Some(Trigger::Holding)
            }
            Event::Degraded => {
                view.in_sync = false;
                Some(Trigger::Degraded)
            }
            Event::Refused(why) => self.why(why, Trigger::Refused),
            Event::HeldTooLong => Some(Trigger::HeldTooLong),
            Event::EngineUp => Some(Trigger::EngineUp),
            Event::EngineDied(why) => {
                view.replication = false;
                view.live = false;
                self.why(why, Trigger::EngineDied)
            }
            Event::FollowRefused(why) => self.why(why, Trigger::FollowRefused),
            Event::Sealed => Some(Trigger::Sealed),
            Event::Granted => Some(Trigger::Granted),
            Event::Consented => Some(Trigger::Consented),
            Event::PeerClean => Some(Trigger::PeerClean),
            Event::AppStarted => Some(Trigger::AppStarted),
            Event::AppFailed(why) => self.why(why, Trigger::AppFailed),
            Event::AppStopped => Some(Trigger::AppStopped),
            Event::CheckFailed(name, wants) => {
                let trigger = match wants {
                    OnFailure::Failover => Trigger::CheckFailover,
                    OnFailure::Stop => Trigger::CheckStop,
                    OnFailure::Wait => Trigger::CheckWait,
                };
                if wants == OnFailure::Wait {
                    view.check = Some(name.clone());
                }
                self.why(name, trigger)
            }
            Event::ChecksWell => {
                view.check = None;
                None
            }
            Event::Command(command) => self.command(command),
        }
    }

    fn why(&mut self, why: String, trigger: Trigger) -> Option<Trigger> {
        self.view.why = why;
        Some(trigger)
    }

    fn command(&mut self, command: Command) -> Option<Trigger> {
        let view = &mut self.view;
        match command {
            Command::Start => {
                view.then_stop = false;
                view.stops_all = false;
                Some(Trigger::Start)
            }
            Command::Stop => Some(Trigger::Stop),
            Command::StopAll => {
                view.stops_all = true;
                Some(Trigger::StopAll)
            }
            Command::Swap => Some(Trigger::Swap),
            Command::Promote(accept) => {
                view.accept = accept;
                Some(Trigger::Promote)
            }
            Command::Failover(on) => {
                view.policy.failover = on;
                None
            }
            Command::Restart => Some(Trigger::Restart),
            Command::Reset => {
                view.ladder.reset();
                None
            }
        }
    }

    fn fire(&mut self, trigger: Trigger, steps: &mut Vec<Step>) {
        let fits = |row: &&Row| row.on == trigger && row.from.contains(&self.view.phase) && (row.when.test)(&self.view);
        let Some(&row) = self.rows.iter().find(fits) else {
            // An engine that died was in sync until the peer is told otherwise by what follows.
            return;
        };
        let from = self.view.phase;
        let to = row.to.unwrap_or(from);
        // What only says again what is known is no step.
        if to == from && row.code == self.code && row.actions.iter().all(|action| action.internal()) {
            self.internal(row.actions);
            return;
        }
        let reason = self.words(row.because);
        if !row.actions.contains(&Action::Refuse) {
            self.reason.clone_from(&reason);
            self.code = row.code;
        }
        if to != from {
            self.enter(to);
        }
        self.internal(row.actions);
        let actions = row.actions.iter().copied().filter(|action| !action.internal()).collect();
        steps.push(Step { from, to, state: to.state(self.view.in_sync), actions, reason, reason_code: row.code });
    }

    fn enter(&mut self, to: Phase) {
        let view = &mut self.view;
        if to == Phase::Waiting || to == Phase::Stopped || to == Phase::HandOffer || to == Phase::StopSeal {
            // The engine is gone or about to.
            view.in_sync = false;
            view.replication = false;
        }
        if to == Phase::Joining && view.phase == Phase::Waiting {
            view.live = false;
        }
        if to == Phase::Stopped || to == Phase::Waiting {
            view.then_stop = false;
        }
        view.phase = to;
        self.deadline = None;
    }

    fn internal(&mut self, actions: &[Action]) {
        let now = self.view.now;
        for action in actions {
            match action {
                Action::Count => self.view.ladder.count(now),
                Action::Rest => self.view.rest_until = now + self.view.policy.rest(),
                Action::ThenStop => self.view.then_stop = true,
                Action::After(timer) => self.deadline = Some(now + self.view.policy.time(*timer)),
                _ => {}
            }
        }
    }

    fn words(&self, template: &str) -> String {
        let view = &self.view;
        let word = view.accept.or_else(|| view.needed()).map_or("nothing", |accept| accept.word());
        let check = view.check.as_deref().unwrap_or(&view.why);
        template
            .replace("{peer}", &self.peer_name)
            .replace("{quorum}", view.quorum().replace("node", &self.peer_name).as_str())
            .replace("{why}", &view.why)
            .replace("{word}", word)
            .replace("{check}", check)
    }

    /// Whether a guard holds now: for `can_fail_over` and dry runs.
    pub fn holds(&self, guard: guard::Guard) -> bool {
        (guard.test)(&self.view)
    }

    /// Whether the peer is heard.
    pub fn presence(&self) -> Presence {
        self.view.presence
    }
}
