//! What happens to a module, from wherever it comes.

use super::{Mirror, Stopping};
use crate::NodeId;
use crate::arbiter;
use crate::engine::News;
use crate::failover::{Command, Event, Facts, OnFailure, Phase};
use crate::heartbeat::Presence;
use crate::module::application::AppEvent;
use crate::module::checks::CheckEvent;
use crate::quorum::agreement::Word;
use crate::quorum::{Answer, PeerQuestion, witness};
use crate::replica::Generation;
use crossbeam::channel::Sender;
use fsrepl::report::{Failure, FailureKind};
use serde_json::Value;

/// Why a command was not carried out, in the operator's words.
pub type Refusal = String;

/// One thing that happened.
pub enum Input {
    /// The engine of this number.
    Engine(u64, News),
    /// The peer says of itself.
    Peer(Box<Facts>),
    /// Whether it is heard.
    Presence(Presence),
    /// It has been heard for long.
    Steady(bool),
    /// The application.
    App(AppEvent),
    /// A check.
    Check(CheckEvent),
    /// The question of this number was answered.
    Asked(u64, arbiter::Verdict),
    /// The peer wants to go on without this node. None: it cannot be answered now.
    Question(Box<PeerQuestion>, Sender<Option<Answer>>),
    /// About where the right to go on is, in a session of a generation.
    Word(Generation, u64, Word),
    /// The witness answered the primary's half of that.
    Witness(witness::Reply),
    /// The tiebreaker did.
    Pong,
    /// The operator; what follows, in words.
    Command(Command, Sender<Result<String, Refusal>>),
    /// What would follow.
    Try(Command, Sender<Result<String, Refusal>>),
    /// The machine goes down: the same, but what the operator wants for good stays.
    Passing(Command, Sender<Result<String, Refusal>>),
    /// The state from before an unfinished resync is to be put back, or, with true, only whether it could be.
    PutBack(bool, Sender<Result<Value, Failure>>),
    /// The directory is covered while nothing runs on it, or open to edit.
    Guard(bool),
    /// A datagram of a farm's server on that node.
    FarmBeat(NodeId, Vec<u8>),
    /// A farm's server takes no new clients, or does again.
    Drain(bool),
    /// The operator switches checks on or off.
    Checks(bool),
    /// A virtual address is gone for good.
    AddressLost(String),
    /// A script did not move a virtual address, and why.
    AddressScript(super::Wish, String),
    /// Modules that this one depends on serve here, or the first that does not.
    Depends(Option<String>),
    /// The daemon ends; what runs stays.
    End,
}

impl Mirror {
    pub(super) fn input(&mut self, input: Input) {
        match input {
            Input::Engine(number, news) => self.news(number, news),
            Input::Peer(facts) => {
                self.dial_when_it_follows(&facts);
                self.feed(Event::Peer(*facts));
            }
            Input::Presence(presence) => self.feed(Event::Presence(presence)),
            Input::Steady(steady) => self.feed(Event::Steady(steady)),
            Input::App(event) => self.application(event),
            Input::Check(event) => self.check(event),
            Input::Asked(number, verdict) => self.asked(number, verdict),
            Input::Question(question, answer) => {
                let answered = self.question(&question);
                // Whoever asked may have given up.
                let _ = answer.send(answered);
            }
            Input::Word(generation, session, word) => self.word(generation, session, word),
            Input::Witness(reply) => self.agree(&crate::quorum::agreement::Event::Witness(reply)),
            Input::Pong => self.agree(&crate::quorum::agreement::Event::Pong),
            Input::Command(command, answer) => {
                let done = self.command(command);
                if done.is_ok() {
                    self.board.desire(&self.module.name, command);
                }
                let _ = answer.send(done);
            }
            Input::Try(command, answer) => drop(answer.send(self.foresee(command))),
            Input::Passing(command, answer) => drop(answer.send(self.command(command))),
            Input::PutBack(dry_run, answer) => drop(answer.send(self.put_back(dry_run))),
            Input::Guard(on) => {
                self.guarded = on;
                if on {
                    self.guard();
                } else if self.engine.is_none() {
                    self.disk.unguard();
                }
            }
            Input::Drain(_) | Input::FarmBeat(..) => {}
            Input::Checks(on) => {
                self.checks_on = on;
                self.checks.set_enabled(on);
                if !on {
                    self.feed(Event::ChecksWell);
                }
            }
            Input::AddressLost(why) => self.feed(Event::CheckFailed(why, OnFailure::Failover)),
            Input::AddressScript(wish, why) => self.address_script(wish, why),
            Input::Depends(missing) => self.depends(missing),
            Input::End => {}
        }
    }

    /// Only changes count: other checks may want to wait as well.
    fn depends(&mut self, missing: Option<String>) {
        if self.missing == missing {
            return;
        }
        match &missing {
            Some(name) => self.feed(Event::CheckFailed(format!("dependency on {name}"), OnFailure::Wait)),
            None => self.feed(Event::ChecksWell),
        }
        self.missing = missing;
    }

    /// By the engine if one runs, else here; this node waits for the operator's word meanwhile.
    fn put_back(&mut self, dry_run: bool) -> Result<Value, Failure> {
        let name = self.module.name.clone();
        if self.engine.is_some() && self.module.replicate.len() == 1 {
            let asked = serde_json::json!({ "dry_run": dry_run });
            return fsrepl::node::control::call(&self.node.home.run, &name, "kept-restore", &asked, super::limits::PUT_BACK);
        }
        if !matches!(self.machine.phase(), Phase::Waiting | Phase::Stopped) || !self.application_is_gone() {
            let (why, cure) = ("the module is not at rest on this node", "see `understudy status`");
            return Err(Failure::new(FailureKind::Refused, format!("cannot put the last consistent state of {name} back"), why, cure));
        }
        let done = self.disk.put_back(dry_run)?;
        if !dry_run {
            self.board.note(&name, "the state from before the unfinished resync was put back", "put_back");
            self.feed(Event::Replica(self.disk.replica()));
        }
        if self.guarded {
            self.guard();
        }
        Ok(serde_json::json!({ "schema": 1, "dry_run": dry_run, "put_back": done }))
    }

    fn command(&mut self, command: Command) -> Result<String, Refusal> {
        self.refused = None;
        self.feed(Event::Command(command));
        match self.refused.take() {
            Some(refusal) => Err(refusal),
            None => Ok(self.machine.reason().0.to_owned()),
        }
    }

    /// What a command would lead to, without doing it.
    fn foresee(&self, command: Command) -> Result<String, Refusal> {
        let mut machine = self.machine.clone();
        let steps = machine.on(self.node.now(), Event::Command(command));
        if let Some(refused) = steps.iter().find(|step| step.refused()) {
            return Err(refused.reason.clone());
        }
        let words: Vec<String> = steps.iter().map(|step| format!("{} ({})", step.reason, super::act::consequence(step))).collect();
        Ok(if words.is_empty() { "nothing changes".into() } else { words.join("; then ") })
    }

    fn application(&mut self, event: AppEvent) {
        match &event {
            AppEvent::Started => self.checks.application(true),
            AppEvent::Stopped => self.stopping = Stopping::No,
            AppEvent::StillHeld(who) => {
                tracing::error!(module = self.module.name, who, "killed, and still there: the directory is taken away from it");
                self.stopping = Stopping::No;
            }
            AppEvent::Failed(_) => {}
        }
        // What cannot be killed loses its engine all the same.
        self.feed(event.told().unwrap_or(Event::AppStopped));
    }

    fn check(&mut self, event: CheckEvent) {
        match &event {
            CheckEvent::Failed { name, why, .. } => {
                self.board.note(&self.module.name, &format!("check {name} fails: {why}"), "check_failed");
            }
            CheckEvent::Passed { name } => {
                self.board.note(&self.module.name, &format!("check {name} passes again"), "check_passed");
            }
            CheckEvent::Well => {}
        }
        if let Some(event) = event.told() {
            self.feed(event);
        }
    }
}
