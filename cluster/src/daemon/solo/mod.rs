//! Modules without a replica: a service on one node, a farm on many. Started, restarted by the ladder, stopped; the other
//! servers of a farm serve meanwhile.

mod farm;
mod table;

pub use farm::{Part, farm_beat, farm_status, whose};

use super::board::Board;
use super::mirror::{Input, Refusal};
use super::node::{Node, state_event};
use super::parts;
use super::snapshot::{Snapshot, checks_value};
use crate::config::{Module, OnFailure};
use crate::failover::{Command, Readiness};
use crate::module::application::{AppEvent, Application};
use crate::module::checks::{CheckEvent, Checks};
use crate::module::environment::Context;
use crossbeam::channel::{Receiver, RecvTimeoutError, Sender};
use std::sync::Arc;
use std::time::Duration;
use table::{Action, Event, Machine, Step};

/// Between looks.
const TICK: Duration = Duration::from_millis(100);

/// The module.
pub struct Solo {
    node: Arc<Node>,
    module: Arc<Module>,
    board: Arc<Board>,
    machine: Machine,
    app: Application,
    checks: Checks,
    checks_on: bool,
    missing: Option<String>,
    farm: Option<Arc<Part>>,
    shown: Option<(&'static str, String)>,
}

impl Solo {
    /// Stopped, until it is told otherwise.
    pub fn new(node: &Arc<Node>, module: &Arc<Module>, inputs: Sender<Input>) -> Result<Solo, String> {
        let words = |why: std::io::Error| why.to_string();
        let app = Application::new(parts::application(node, module, Arc::default()), parts::app_report(&inputs)).map_err(words)?;
        let checks = Checks::start(module.checks.clone(), parts::checks(node, module), parts::check_report(&inputs)).map_err(words)?;
        let farm = Part::of(node, module)?;
        let machine = Machine::new(module.application.as_ref(), node.now());
        Ok(Solo {
            node: node.clone(),
            module: module.clone(),
            board: node.board.clone(),
            machine,
            app,
            checks,
            checks_on: true,
            missing: None,
            farm,
            shown: None,
        })
    }

    /// The thread's work, until the daemon ends. The application stays.
    pub fn run(mut self, inputs: &Receiver<Input>) {
        if self.app.adopt() {
            self.checks.application(true);
            self.feed(Event::Found);
        }
        loop {
            match inputs.recv_timeout(TICK) {
                Ok(Input::End) | Err(RecvTimeoutError::Disconnected) => break,
                Ok(input) => self.input(input),
                Err(RecvTimeoutError::Timeout) => {}
            }
            self.feed(Event::Tick);
            if let Some(farm) = &self.farm {
                farm.tick(self.machine.runs(), self.machine.serves());
            }
            self.publish();
        }
        if let Some(farm) = &self.farm {
            farm.leave();
        }
    }

    fn input(&mut self, input: Input) {
        match input {
            Input::App(AppEvent::Started) => {
                self.checks.application(true);
                self.feed(Event::AppStarted);
            }
            Input::App(AppEvent::Failed(why)) => self.feed(Event::AppFailed(why)),
            Input::App(AppEvent::Stopped) => self.feed(Event::AppStopped),
            Input::App(AppEvent::StillHeld(who)) => {
                self.board.note(&self.module.name, &format!("cannot be killed: {who}"), "still_held");
                self.feed(Event::AppStopped);
            }
            Input::Check(event) => self.check(event),
            Input::Command(command, answer) => {
                let done = self.command(command);
                if done.is_ok() {
                    self.board.desire(&self.module.name, command);
                }
                let _ = answer.send(done);
            }
            Input::Passing(command, answer) => drop(answer.send(self.command(command))),
            Input::Try(command, answer) => drop(answer.send(self.foresee(command))),
            Input::Checks(on) => {
                self.checks_on = on;
                self.checks.set_enabled(on);
            }
            Input::Depends(missing) if missing != self.missing => {
                let event =
                    missing.clone().map_or(Event::Well, |name| Event::Wait(format!("depends on {name}, which does not serve here")));
                self.missing = missing;
                self.feed(event);
            }
            Input::Drain(drained) => {
                if let Some(farm) = &self.farm {
                    farm.drain(drained);
                }
            }
            Input::FarmBeat(from, bytes) => {
                if let Some(farm) = &self.farm {
                    farm.beat(from, &bytes);
                }
            }
            Input::AddressLost(why) => self.feed(Event::AppFailed(why)),
            _ => {}
        }
    }

    fn check(&mut self, event: CheckEvent) {
        match event {
            CheckEvent::Failed { name, on_failure, why } => {
                self.board.note(&self.module.name, &format!("check {name} fails: {why}"), "check_failed");
                match on_failure {
                    // Nobody else could have it: the other servers of a farm serve anyway.
                    OnFailure::Restart | OnFailure::Failover => self.feed(Event::AppFailed(format!("check {name}: {why}"))),
                    OnFailure::Stop => self.feed(Event::Give(format!("check {name} fails: {why}"))),
                    OnFailure::Wait => self.feed(Event::Wait(format!("check {name} fails: {why}"))),
                    OnFailure::Log => {}
                }
            }
            CheckEvent::Passed { name } => self.board.note(&self.module.name, &format!("check {name} passes again"), "check_passed"),
            CheckEvent::Well => self.feed(Event::Well),
        }
    }

    fn command(&mut self, command: Command) -> Result<String, Refusal> {
        let event = wanted(command)?;
        self.feed(event);
        Ok(self.machine.reason().0.to_owned())
    }

    fn foresee(&self, command: Command) -> Result<String, Refusal> {
        let mut machine = self.machine.clone();
        let steps = machine.on(self.node.now(), wanted(command)?);
        Ok(steps.first().map_or_else(|| "nothing changes".to_owned(), |step| step.reason.clone()))
    }

    fn feed(&mut self, event: Event) {
        for step in self.machine.on(self.node.now(), event) {
            self.step(&step);
        }
    }

    fn step(&mut self, step: &Step) {
        // Clients are sent elsewhere before anything is stopped.
        if !self.machine.serves() {
            self.board.withdraw(&self.module.name);
        }
        if step.code == "restart" && step.actions.contains(&Action::Start) {
            self.board.restarted(&self.module.name);
        }
        self.tell(step);
        let context = Context::new(step.state, step.state, step.code);
        for action in &step.actions {
            match action {
                Action::Start => self.app.start(context.clone()),
                Action::Stop => {
                    self.checks.application(false);
                    self.app.stop(context.clone());
                }
                Action::Force => self.app.force_stop(context.clone()),
                Action::Kill => self.app.kill(context.clone()),
            }
        }
    }

    fn tell(&mut self, step: &Step) {
        let now = (step.code, step.reason.clone());
        if self.shown.as_ref() == Some(&now) {
            return;
        }
        self.shown = Some(now);
        let moved = self.board.own(&self.module.name).is_none_or(|shown| shown.state != step.state);
        self.node.tell_step(&self.module.name, moved, state_event(step.state, &step.reason, step.code, String::new()));
    }

    fn publish(&mut self) {
        let kind = if self.farm.is_some() { "farm" } else { "service" };
        let (reason, code) = self.machine.reason();
        let drained = self.farm.as_ref().is_some_and(|farm| farm.drained());
        let readiness = match self.machine.state() {
            "UP" if drained => Readiness::Transient,
            "UP" if self.machine.serves() => Readiness::Ready,
            "STOP" | "WAIT" => Readiness::NotReady,
            _ => Readiness::Transient,
        };
        let (reason, code) = if drained && self.machine.serves() { ("drained: takes no new clients", "drained") } else { (reason, code) };
        let mut snapshot = Snapshot::plain(kind, self.machine.state(), readiness, reason, code);
        snapshot.checks = if self.module.checks.is_empty() { serde_json::json!([]) } else { checks_value(&self.checks) };
        snapshot.checks_on = self.checks_on;
        snapshot.addressed = self.farm.as_ref().is_some_and(|farm| farm.answers());
        self.board.publish(&self.node, &self.module.name, snapshot, None);
    }
}

fn wanted(command: Command) -> Result<Event, Refusal> {
    match command {
        Command::Start => Ok(Event::Start),
        Command::Stop | Command::StopAll => Ok(Event::Stop),
        Command::Restart => Ok(Event::Restart),
        Command::Reset => Ok(Event::Reset),
        Command::Failover(_) => Ok(Event::Tick),
        Command::Swap | Command::Promote(_) => Err("only a mirror has a primary and a secondary".into()),
    }
}
