//! A service or a farm's server as one table.
//!
//! | state | event | next | because |
//! |---|---|---|---|
//! | Stopped | start | Starting | |
//! | Starting | started | Up | |
//! | Starting, Up | failed, did not start in time | Stopping, then Starting | within the ladder; else then Stopped |
//! | Starting, Up | restart | Stopping, then Starting | the operator |
//! | Starting, Up | stop, a check that wants a stop | Stopping, then Stopped | |
//! | Starting, Up | a check that wants to wait | Stopping, then Waiting | |
//! | Waiting | well | Starting | |
//! | Stopping | stopped | as it was meant | |
//! | Stopping | time out | – | with force, then killed |

use crate::Moment;
use crate::config::Application;
use crate::failover::Ladder;
use std::time::Duration;

/// After force.
const FORCE: Duration = Duration::from_secs(10);
/// What fails at once is not tried at once.
const REST: Duration = Duration::from_secs(1);

/// What happens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    Tick,
    Start,
    Stop,
    Restart,
    Reset,
    /// An earlier daemon's application runs.
    Found,
    AppStarted,
    AppFailed(String),
    AppStopped,
    /// Stop for good, for this reason.
    Give(String),
    /// Serve nothing, for this reason, until all is well.
    Wait(String),
    Well,
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    Start,
    Stop,
    Force,
    Kill,
}

/// One step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    pub state: &'static str,
    pub actions: Vec<Action>,
    pub reason: String,
    pub code: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    Stop,
    Start,
    Wait,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Stopped,
    Waiting,
    /// Until then.
    Resting(Moment),
    Starting,
    Up,
    Stopping(Then, u8),
}

/// The machine of one module on one node.
#[derive(Clone, Debug)]
pub struct Machine {
    phase: Phase,
    deadline: Option<Moment>,
    now: Moment,
    ladder: Ladder,
    start_timeout: Duration,
    stop_timeout: Duration,
    most: usize,
    window: Duration,
    reason: String,
    code: &'static str,
    /// A check wants nothing served.
    waits: Option<String>,
}

impl Machine {
    /// Stopped.
    pub fn new(application: Option<&Application>, now: Moment) -> Machine {
        let hour = Duration::from_secs(3600);
        Machine {
            phase: Phase::Stopped,
            deadline: None,
            now,
            ladder: Ladder::default(),
            start_timeout: application.map_or(hour, |app| app.start_timeout),
            stop_timeout: application.map_or(hour, |app| app.stop_timeout),
            most: application.map_or(3, |app| app.max_restarts),
            window: application.map_or(hour, |app| app.restart_window),
            reason: "stopped".into(),
            code: "stopped",
            waits: None,
        }
    }

    /// The contract's word.
    pub fn state(&self) -> &'static str {
        match self.phase {
            Phase::Stopped => "STOP",
            Phase::Waiting | Phase::Resting(_) => "WAIT",
            Phase::Up => "UP",
            Phase::Starting | Phase::Stopping(..) => "WAIT",
        }
    }

    /// Why.
    pub fn reason(&self) -> (&str, &'static str) {
        (&self.reason, self.code)
    }

    /// Not stopped here.
    pub fn runs(&self) -> bool {
        self.phase != Phase::Stopped
    }

    /// The application runs and is well.
    pub fn serves(&self) -> bool {
        self.phase == Phase::Up
    }

    /// Takes in what happened at `now`.
    pub fn on(&mut self, now: Moment, event: Event) -> Vec<Step> {
        self.now = now;
        let mut steps: Vec<Step> = self.take(event).into_iter().collect();
        if self.deadline.is_some_and(|deadline| now >= deadline) {
            self.deadline = None;
            steps.extend(self.late());
        }
        if let Phase::Resting(until) = self.phase
            && now >= until
        {
            steps.push(self.begin("the application starts again", "restart"));
        }
        steps
    }

    fn take(&mut self, event: Event) -> Option<Step> {
        let runs = matches!(self.phase, Phase::Starting | Phase::Up);
        match event {
            Event::Start if self.phase == Phase::Stopped => Some(match self.waits.clone() {
                Some(why) => self.go(Phase::Waiting, vec![], &why, "check_waits"),
                None => self.begin("the application starts", "starting_application"),
            }),
            Event::Found if self.phase == Phase::Stopped => {
                Some(self.go(Phase::Up, vec![], "found running by a daemon that started anew", "found"))
            }
            Event::Stop => self.stop(),
            Event::Restart if runs => Some(self.end(Then::Start, "restart by the operator", "restart")),
            Event::Reset => {
                self.ladder.reset();
                None
            }
            Event::AppStarted if self.phase == Phase::Starting => Some(self.go(Phase::Up, vec![], "the application runs", "up")),
            Event::AppFailed(why) if runs => Some(self.fail(&why)),
            Event::AppStopped => self.stopped(),
            Event::Give(why) if runs => Some(self.end(Then::Stop, &why, "check_stop")),
            Event::Wait(why) => {
                self.waits = Some(why.clone());
                runs.then(|| self.end(Then::Wait, &why, "check_waits"))
            }
            Event::Well => {
                self.waits = None;
                (self.phase == Phase::Waiting).then(|| self.begin("the application starts", "starting_application"))
            }
            _ => None,
        }
    }

    fn stop(&mut self) -> Option<Step> {
        match self.phase {
            Phase::Starting | Phase::Up => Some(self.end(Then::Stop, "stopped by the operator", "stopping")),
            Phase::Waiting | Phase::Resting(_) => Some(self.go(Phase::Stopped, vec![], "stopped by the operator", "stopped")),
            Phase::Stopping(_, tries) => {
                self.phase = Phase::Stopping(Then::Stop, tries);
                None
            }
            Phase::Stopped => None,
        }
    }

    fn stopped(&mut self) -> Option<Step> {
        let Phase::Stopping(then, _) = self.phase else { return None };
        let (reason, code) = (self.reason.clone(), self.code);
        Some(match then {
            Then::Stop => self.go(Phase::Stopped, vec![], &format!("stopped: {reason}"), if code == "stopping" { "stopped" } else { code }),
            Then::Wait => self.go(Phase::Waiting, vec![], &reason, code),
            Then::Start => self.go(Phase::Resting(self.now + REST), vec![], &reason, code),
        })
    }

    fn fail(&mut self, why: &str) -> Step {
        self.ladder.count(self.now);
        if self.ladder.within(self.now, self.window) > self.most {
            return self.end(Then::Stop, &format!("the application failed too often ({why}): stops"), "exhausted");
        }
        self.end(Then::Start, &format!("the application failed ({why}): restart"), "restart")
    }

    fn late(&mut self) -> Option<Step> {
        match self.phase {
            Phase::Starting => Some(self.fail("it did not start in time")),
            Phase::Stopping(then, tries) => {
                let action = if tries == 0 { Action::Force } else { Action::Kill };
                let step =
                    self.go(Phase::Stopping(then, tries + 1), vec![action], "the application does not stop: it is killed", "killing");
                self.deadline = Some(self.now + FORCE);
                Some(step)
            }
            _ => None,
        }
    }

    fn begin(&mut self, reason: &str, code: &'static str) -> Step {
        let step = self.go(Phase::Starting, vec![Action::Start], reason, code);
        self.deadline = Some(self.now + self.start_timeout);
        step
    }

    fn end(&mut self, then: Then, reason: &str, code: &'static str) -> Step {
        let step = self.go(Phase::Stopping(then, 0), vec![Action::Stop], reason, code);
        self.deadline = Some(self.now + self.stop_timeout);
        step
    }

    fn go(&mut self, to: Phase, actions: Vec<Action>, reason: &str, code: &'static str) -> Step {
        self.phase = to;
        self.deadline = None;
        self.reason = reason.to_owned();
        self.code = code;
        Step { state: self.state(), actions, reason: reason.to_owned(), code }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Moment {
        Duration::from_secs(seconds)
    }

    fn up() -> Machine {
        let mut machine = Machine::new(None, at(0));
        assert_eq!(machine.on(at(0), Event::Start)[0].actions, [Action::Start]);
        machine.on(at(1), Event::AppStarted);
        assert!(machine.serves());
        machine
    }

    #[test]
    fn failures_are_answered_by_restarts_until_there_were_too_many() {
        let mut machine = up();
        for round in 0..3 {
            let step = machine.on(at(10 + round * 10), Event::AppFailed("died".into())).remove(0);
            assert_eq!((step.code, step.actions), ("restart", vec![Action::Stop]));
            machine.on(at(11 + round * 10), Event::AppStopped);
            assert_eq!(machine.state(), "WAIT");
            assert_eq!(machine.on(at(13 + round * 10), Event::Tick)[0].actions, [Action::Start]);
            machine.on(at(14 + round * 10), Event::AppStarted);
        }
        assert_eq!(machine.on(at(50), Event::AppFailed("died".into()))[0].code, "exhausted");
        machine.on(at(51), Event::AppStopped);
        assert_eq!((machine.state(), machine.reason().1), ("STOP", "exhausted"));
        machine.on(at(52), Event::Reset);
        assert_eq!(machine.on(at(53), Event::Start)[0].actions, [Action::Start]);
    }

    #[test]
    fn what_does_not_stop_is_forced_and_then_killed() {
        let mut machine = up();
        machine.on(at(10), Event::Stop);
        assert_eq!(machine.on(at(4000), Event::Tick)[0].actions, [Action::Force]);
        assert_eq!(machine.on(at(4011), Event::Tick)[0].actions, [Action::Kill]);
        machine.on(at(4012), Event::AppStopped);
        assert_eq!(machine.state(), "STOP");
    }

    #[test]
    fn a_check_that_wants_to_wait_lets_it_wait_also_before_the_start() {
        let mut machine = up();
        machine.on(at(10), Event::Wait("no disk".into()));
        machine.on(at(11), Event::AppStopped);
        assert_eq!((machine.state(), machine.reason().0), ("WAIT", "no disk"));
        assert_eq!(machine.on(at(12), Event::Well)[0].actions, [Action::Start]);
        let mut machine = Machine::new(None, at(0));
        machine.on(at(0), Event::Wait("no disk".into()));
        machine.on(at(1), Event::Start);
        assert_eq!(machine.state(), "WAIT");
    }
}
