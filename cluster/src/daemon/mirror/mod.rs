//! One mirror module on this node: what happens is told to the failover machine, what it says is done.
//!
//! One thread owns everything here. It blocks only for what must be over before anything else may happen (a session that
//! ends, a record on the disk, an address that goes away), and for no longer than the bounds in [`limits`].
//!
//! ```text
//! input.rs  what happens          act.rs    what the machine wants       agree.rs  where the right to go on is
//! engine.rs the engine's news     data.rs   what the replica is          answer.rs the peer's questions, status
//! scripted.rs addresses that scripts move
//! ```

mod act;
mod agree;
mod answer;
mod data;
mod engine;
mod input;
pub mod limits;
mod scripted;

pub use agree::Agreeing;
pub use data::Disk;
pub use input::{Input, Refusal};
pub use scripted::Wish;

use super::board::Board;
use super::node::Node;
use super::node::state_event;
use super::parts;
use super::snapshot::Snapshot;
use crate::NodeId;
use crate::config::Module;
use crate::engine::{Group, View};
use crate::failover::{Event, Machine, Phase, Policy, Step};
use crate::module::application::Application;
use crate::module::checks::Checks;
use crate::replica::Generation;
use crossbeam::channel::{Receiver, RecvTimeoutError, Sender};
use parking_lot::Mutex;
use scripted::Scripted;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Instant;

/// The question that is out.
struct Asking {
    number: u64,
    cancel: Arc<AtomicBool>,
}

impl Drop for Asking {
    fn drop(&mut self) {
        self.cancel.store(true, SeqCst);
    }
}

/// How far the application's end has got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stopping {
    No,
    Asked,
    /// Since when.
    Forced(Instant),
    Killed,
}

/// The module.
pub struct Mirror {
    node: Arc<Node>,
    module: Arc<Module>,
    peer: NodeId,
    board: Arc<Board>,
    inputs: Sender<Input>,
    machine: Machine,
    disk: Disk,
    engine: Option<(u64, Group)>,
    /// For those that kill who holds the directories.
    engine_pids: Arc<Mutex<Vec<u32>>>,
    view: Option<View>,
    counter: u64,
    asking: Option<Asking>,
    granted: Option<(Generation, Vec<Generation>)>,
    accepted: bool,
    agreeing: Agreeing,
    app: Application,
    checks: Checks,
    checks_on: bool,
    stopping: Stopping,
    /// The addresses are on.
    addressed: bool,
    scripted: Scripted,
    action: &'static str,
    refused: Option<String>,
    /// The directory is covered while nothing runs on it.
    guarded: bool,
    /// A module that this one depends on and that does not serve.
    missing: Option<String>,
    queue: VecDeque<Event>,
    shown: Option<(Phase, &'static str, String)>,
}

impl Mirror {
    /// Stopped, until it is told otherwise.
    pub fn new(node: &Arc<Node>, module: &Arc<Module>, inputs: Sender<Input>) -> std::io::Result<Mirror> {
        let peer = module.nodes.iter().copied().find(|&id| id != node.me).unwrap_or(node.me);
        let machine = Machine::new(node.me, node.cluster.name_of(peer), policy(node, module), node.now());
        let disk = Disk::new(node, module);
        let engine_pids: Arc<Mutex<Vec<u32>>> = Arc::default();
        let app = Application::new(parts::application(node, module, engine_pids.clone()), parts::app_report(&inputs))?;
        let checks = Checks::start(module.checks.clone(), parts::checks(node, module), parts::check_report(&inputs))?;
        let scripted = Scripted::start(node, module, &inputs)?;
        Ok(Mirror {
            node: node.clone(),
            module: module.clone(),
            peer,
            board: node.board.clone(),
            inputs,
            machine,
            disk,
            engine: None,
            engine_pids,
            view: None,
            counter: 0,
            asking: None,
            granted: None,
            accepted: false,
            agreeing: Agreeing::new(),
            app,
            checks,
            checks_on: true,
            stopping: Stopping::No,
            addressed: false,
            scripted,
            action: "start",
            refused: None,
            guarded: node.board.desired(&module.name).guard,
            missing: None,
            queue: VecDeque::new(),
            shown: None,
        })
    }

    /// The thread's work, until the daemon ends. The engine and the application stay.
    pub fn run(mut self, inputs: &Receiver<Input>) {
        self.begin();
        loop {
            match inputs.recv_timeout(self.pause()) {
                Ok(Input::End) | Err(RecvTimeoutError::Disconnected) => return,
                Ok(input) => self.input(input),
                Err(RecvTimeoutError::Timeout) => {}
            }
            self.tick();
            self.publish();
        }
    }

    /// What waits for time looks often; what is at rest is woken by what happens.
    fn pause(&self) -> std::time::Duration {
        let resting = matches!(self.machine.phase(), Phase::Stopped | Phase::Second | Phase::Prim) && self.agreeing.rests();
        if !resting {
            return limits::TICK;
        }
        match self.node.quorum().kind() {
            crate::quorum::Kind::None => limits::REST.1,
            _ => self.node.cluster.profile.witness_pulse.clamp(limits::REST.0, limits::REST.1),
        }
    }

    fn tick(&mut self) {
        self.feed(Event::Tick);
        self.agree_tick();
        if let (Stopping::Forced(since), true) = (self.stopping, self.app.is_running())
            && since.elapsed() > limits::FORCE
        {
            self.kill_now();
        }
    }

    /// Tells the machine, and does what it says, and what follows from that.
    fn feed(&mut self, event: Event) {
        self.queue.push_back(event);
        while let Some(event) = self.queue.pop_front() {
            for step in self.machine.on(self.node.now(), event) {
                self.step(&step);
            }
        }
    }

    fn step(&mut self, step: &Step) {
        // Clients are sent elsewhere before anything is stopped.
        if !matches!(self.machine.phase(), Phase::Alone | Phase::Prim) {
            self.board.withdraw(&self.module.name);
        }
        if step.reason_code == "restart" {
            self.board.restarted(&self.module.name);
        }
        self.tell(step);
        self.action = action_word(step.reason_code);
        for action in &step.actions {
            self.act(*action, step);
        }
    }

    /// What the operator reads, whom it concerns is told.
    fn tell(&mut self, step: &Step) {
        if step.refused() {
            self.refused = Some(step.reason.clone());
            return;
        }
        let now = (step.to, step.reason_code, step.reason.clone());
        if self.shown.as_ref() == Some(&now) {
            return;
        }
        let moved = self.shown.as_ref().is_none_or(|(phase, ..)| phase.state(true) != step.to.state(true));
        self.shown = Some(now);
        let consequence = act::consequence(step);
        self.node.tell_step(&self.module.name, moved, state_event(step.state.word(), &step.reason, step.reason_code, consequence));
    }

    fn publish(&mut self) {
        let snapshot = Snapshot::of_mirror(&self.machine, &self.module, &self.disk, self.view.as_ref(), &self.checks, &self.agreeing);
        let snapshot = Snapshot { addressed: self.addressed, checks_on: self.checks_on, ..snapshot };
        self.board.publish(&self.node, &self.module.name, snapshot, Some(self.machine.facts()));
    }
}

/// What scripts are told is going on.
fn action_word(code: &str) -> &'static str {
    match code {
        "swap" => "swap",
        "failback" => "failback",
        "restart" | "starting_application" => "restart",
        "fenced" | "superseded" | "split_lost" | "held_too_long" => "fence",
        "application_failed" | "check_failover" | "engine_died" => "failover",
        "stopping" | "stopped" | "exhausted" | "check_stop" | "check_waits" => "stop",
        _ => "start",
    }
}

/// What the machine is told of the configuration.
pub fn policy(node: &Node, module: &Module) -> Policy {
    let kind = node.quorum().kind();
    let mut policy = Policy::new(kind, node.cluster.profile);
    policy.preferred = module.preferred;
    policy.failback = module.failback;
    policy.start_after_power_cut = module.start_after_power_cut;
    if let Some(app) = &module.application {
        policy.max_restarts = app.max_restarts;
        policy.restart_window = app.restart_window;
        policy.start_timeout = app.start_timeout;
        policy.stop_timeout = app.stop_timeout;
    }
    policy
}
