//! What the machine wants, done.

use super::super::fence;
use super::limits::{END_PRIMARY, END_SECONDARY};
use super::{Asking, Mirror, Stopping, Wish};
use crate::arbiter::Verdict;
use crate::config::LostAddress;
use crate::engine::{BeginSpec, RoleSpec};
use crate::failover::{Action, Event, Phase, Step};
use crate::module::environment::Context;
use crate::quorum::witness::Request;
use crate::replica::Generation;
use fsrepl::node::change::Change;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Instant;
use uuid::Uuid;
use vip::manager::{OnLoss, Wanted};

/// What follows from a step, for the log.
pub fn consequence(step: &Step) -> String {
    let words: Vec<&str> = step.actions.iter().map(|action| action.words()).collect();
    words.join(", ")
}

impl Mirror {
    pub(super) fn act(&mut self, action: Action, step: &Step) {
        match action {
            Action::Follow => self.follow(false),
            Action::FollowKeeping => self.follow(true),
            Action::Leave => self.end_engine_soon(),
            Action::StopEngine => self.stop_engine(),
            Action::Seal => self.seal(),
            Action::Ask => self.ask(),
            Action::StopAsking => self.asking = None,
            Action::FencePeer => self.fence_peer(),
            Action::PromoteEngine => self.promote(),
            Action::CreateSet => self.granted = Some((Uuid::new_v4(), Vec::new())),
            Action::Overrule => self.overrule(step),
            Action::RecordOutdated => self.record(&Change::Superseded),
            Action::AddAddresses => self.add_addresses(),
            Action::RemoveAddresses => self.remove_addresses(),
            Action::StartApplication => self.start_application(step),
            Action::StopApplication => self.stop_application(step),
            Action::KillApplication => self.kill_application(step),
            Action::StopAcknowledging | Action::AnswerErrors => self.fence_engine(),
            // The facts say it.
            Action::Offer | Action::Refuse => {}
            Action::Count | Action::Rest | Action::ThenStop | Action::After(_) => {}
        }
    }

    fn follow(&mut self, keeping: bool) {
        // What never was a replica is given up for the peer's: the operator named the good side.
        self.start_engine(|mirror, place| RoleSpec::Secondary { discard: keeping || mirror.disk.may_discard(place) });
    }

    fn promote(&mut self) {
        let Some((generation, superseded)) = self.granted.take() else {
            return self.queue.push_back(Event::EngineDied("nothing was granted".into()));
        };
        if let Some(missing) = self.missing() {
            return self.queue.push_back(Event::EngineDied(missing));
        }
        let accepted = std::mem::take(&mut self.accepted);
        self.start_engine(|mirror, place| {
            let mut superseded = superseded.clone();
            superseded.extend(mirror.disk.missed(place).into_iter().filter(|missed| *missed != generation));
            RoleSpec::Primary(BeginSpec { generation, superseded, accepted })
        });
    }

    /// What must be in the directory before the application may start on it.
    fn missing(&self) -> Option<String> {
        self.module.replicate.iter().find_map(|replicate| {
            let missing = replicate.require.iter().find(|path| !replicate.directory.join(path).exists())?;
            Some(format!("{} is missing in {}: is its disk mounted?", missing.display(), replicate.directory.display()))
        })
    }

    /// Ends the engine before this returns.
    pub(super) fn stop_engine(&mut self) {
        if let Some((_, engine)) = self.engine.take() {
            let primary = self.view.as_ref().is_some_and(|view| view.is_primary());
            let patience = if primary { END_PRIMARY } else { END_SECONDARY };
            if !engine.is_over() && !engine.end(patience) {
                tracing::warn!(module = self.module.name, "the engine did not end in order and was killed");
            }
        }
        self.view = None;
        self.read_disk();
    }

    /// Tells the engine to end; its end is news.
    fn end_engine_soon(&mut self) {
        match &self.engine {
            Some((_, engine)) => engine.terminate(),
            None => self.queue.push_back(Event::EngineDied("it does not run".into())),
        }
    }

    /// A primary drains and leaves, which takes as long as it takes; a secondary is sealed before this returns.
    fn seal(&mut self) {
        match (&self.engine, self.view.as_ref().is_some_and(|view| view.is_primary())) {
            (Some((_, engine)), true) => engine.terminate(),
            (Some((_, engine)), false) => {
                if let Err(why) = engine.call_all("seal") {
                    tracing::warn!(module = self.module.name, %why, "the engine does not end its session: it is killed");
                    engine.kill();
                }
                self.stop_engine();
            }
            (None, _) if self.machine.phase() != Phase::Asking => self.queue.push_back(Event::Sealed),
            (None, _) => {}
        }
    }

    /// The intent is on disk before anybody hears of it.
    fn ask(&mut self) {
        self.record(&Change::Intend(Uuid::new_v4()));
        let replica = self.disk.replica();
        let (Some(set), Some(next)) = (self.disk.set(), replica.intent) else {
            let why = self.disk.fault.clone().unwrap_or_else(|| "there is no replica to lead with".into());
            return self.queue.push_back(Event::Refused(why));
        };
        self.counter += 1;
        let (number, cancel) = (self.counter, Arc::new(AtomicBool::new(false)));
        self.asking = Some(Asking { number, cancel: cancel.clone() });
        let mut party = self.machine.view().party();
        party.replica = replica;
        let (arbiter, inputs) = (self.node.arbiter(&self.module.name, self.peer), self.inputs.clone());
        let asked = std::thread::Builder::new().name("ask".into()).spawn(move || {
            let verdict = arbiter.decide(set, party, next, &|| cancel.load(SeqCst));
            let _ = inputs.send(super::Input::Asked(number, verdict));
        });
        if let Err(why) = asked {
            self.queue.push_back(Event::Refused(format!("nobody can be asked: {why}")));
        }
    }

    pub(super) fn asked(&mut self, number: u64, verdict: Verdict) {
        let Some(next) = self.asking.as_ref().filter(|asking| asking.number == number).and_then(|_| self.disk.replica().intent) else {
            return;
        };
        match verdict {
            Verdict::Granted { superseded, .. } => {
                self.asking = None;
                self.granted = Some((next, superseded));
                self.feed(Event::Granted);
            }
            Verdict::Refused { reason } => {
                self.asking = None;
                self.feed(Event::Refused(reason));
            }
            // It asks as long as it takes.
            Verdict::HeldTooLong => self.ask(),
            Verdict::Cancelled => {}
        }
    }

    fn fence_peer(&mut self) {
        let Some(fence) = &self.node.cluster.fence else { return };
        let peer = self.node.cluster.name_of(self.peer).to_owned();
        // A peer that agreed, or that has nothing, is no danger; fencing is for one that is silent.
        if self.machine.presence() != crate::heartbeat::Presence::Lost {
            return;
        }
        match fence::run(fence, &self.module.name, &peer) {
            Ok(()) => self.board.note(&self.module.name, &format!("{peer} was fenced"), "peer_fenced"),
            Err(why) => {
                self.board.note(&self.module.name, &format!("{peer} could not be fenced: {why}"), "fence_failed");
                self.granted = None;
            }
        }
    }

    /// The operator has decided: what is known of the peer's history is past, and the witness is told.
    fn overrule(&mut self, step: &Step) {
        let mut superseded: Vec<Generation> = Vec::new();
        if let Some(facts) = &self.machine.view().peer {
            superseded.extend(facts.party.replica.attempts());
            superseded.extend(facts.party.replica.current);
        }
        let own = self.disk.replica();
        superseded.retain(|generation| !own.knows(*generation));
        // The word of a node that serves already is about its history only; promoting one is granted by it.
        let serving = matches!(step.to, Phase::Alone | Phase::Prim);
        let next = if serving { own.current } else { own.intent }.unwrap_or_else(Uuid::new_v4);
        self.force_witness(next);
        if serving {
            return self.record(&Change::Outlive(superseded));
        }
        self.accepted = true;
        self.granted = Some((next, superseded));
    }

    fn force_witness(&mut self, next: Generation) {
        let (Some(witness), Some(set)) = (self.node.witness(), self.disk.set()) else { return };
        let known = witness.ask(set, &Request::Query, super::limits::FORCE_WITNESS);
        let version = match known {
            Ok(crate::quorum::witness::Reply::Known { record, .. }) => record.map_or(0, |record| record.version),
            Ok(_) => 0,
            Err(why) => return tracing::warn!(%why, "the witness could not be told of the operator's decision"),
        };
        let force = Request::Force { version, by: self.node.me, next };
        match witness.ask(set, &force, super::limits::FORCE_WITNESS) {
            Ok(reply) => tracing::info!(?reply, "the witness was overruled by the operator"),
            Err(why) => tracing::warn!(%why, "the witness could not be told of the operator's decision"),
        }
    }

    /// Records a change; the machine is told what the replica is then.
    pub(super) fn record(&mut self, change: &Change) {
        let engine_runs = self.engine.is_some();
        let app_runs = if engine_runs { self.app.is_running() } else { !self.application_is_gone() };
        if let Err(failure) = self.disk.record(change, engine_runs, app_runs) {
            tracing::error!(module = self.module.name, %failure, ?change, "a change of the replica could not be recorded");
        }
        self.guard();
        self.queue.push_back(Event::Replica(self.disk.replica()));
    }

    fn fence_engine(&mut self) {
        let Some((_, engine)) = &self.engine else { return };
        if let Err(why) = engine.call_all("fence") {
            tracing::warn!(module = self.module.name, %why, "the engine does not stop acknowledging: it is killed");
            engine.kill();
        }
    }

    fn add_addresses(&mut self) {
        match self.acquire() {
            Ok(()) => self.addressed = true,
            Err(why) => {
                self.board.note(&self.module.name, &format!("the virtual address cannot be taken: {why}"), "address_failed");
                self.queue.push_back(Event::AppFailed(why));
            }
        }
    }

    /// Takes the addresses that are on interfaces, and has the others moved here.
    pub(super) fn acquire(&self) -> Result<(), String> {
        let wanted: Vec<Wanted> = self.module.virtual_ips.iter().filter(|address| address.script.is_none()).map(wanted).collect();
        if !wanted.is_empty() {
            self.node.addresses.acquire(&self.module.name, &wanted).map_err(|why| why.to_string())?;
        }
        self.scripted.wish(Wish::Take, self.address_context());
        Ok(())
    }

    fn address_context(&self) -> Context {
        let next = if self.machine.phase().leads() { "ALONE" } else { "WAIT" };
        Context::new(self.machine.phase().state(self.machine.view().in_sync).word(), next, self.action)
    }

    /// A script failed: to take an address is as needed as to start the application; what was not given up is overruled by
    /// the node that takes it.
    pub(super) fn address_script(&mut self, wish: Wish, why: String) {
        let what = if wish == Wish::Take { "taken" } else { "given up" };
        self.board.note(&self.module.name, &format!("the virtual address cannot be {what}: {why}"), "address_failed");
        if wish == Wish::Take && self.addressed {
            self.addressed = false;
            self.feed(Event::AppFailed(why));
        }
    }

    pub(super) fn remove_addresses(&mut self) {
        self.addressed = false;
        self.scripted.wish(Wish::Give, self.address_context());
        if self.module.virtual_ips.iter().all(|address| address.script.is_some()) {
            return;
        }
        if let Err(why) = self.node.addresses.release(&self.module.name) {
            self.board.note(&self.module.name, &format!("the virtual address cannot be given up: {why}"), "address_failed");
        }
    }

    fn context(&self, step: &Step, next: &str) -> Context {
        Context::new(step.state.word(), next, self.action)
    }

    fn start_application(&mut self, step: &Step) {
        // Addresses that were taken away for a while are needed again.
        if !self.addressed {
            self.add_addresses();
        }
        self.stopping = Stopping::No;
        let next = if self.machine.view().in_sync { "PRIM" } else { "ALONE" };
        let context = self.context(step, next);
        self.checks.application(false);
        self.app.start(context);
    }

    fn stop_application(&mut self, step: &Step) {
        self.checks.application(false);
        self.stopping = Stopping::Asked;
        let next = if self.machine.view().then_stop || step.to == Phase::StopApp { "STOP" } else { "WAIT" };
        self.app.stop(self.context(step, next));
    }

    /// After a stop in vain: once with force. Where nothing was asked, or force did not help: at once.
    fn kill_application(&mut self, step: &Step) {
        self.checks.application(false);
        match self.stopping {
            Stopping::Asked => {
                self.stopping = Stopping::Forced(Instant::now());
                self.app.force_stop(self.context(step, "WAIT"));
            }
            Stopping::No | Stopping::Forced(_) | Stopping::Killed => self.kill_now(),
        }
    }

    pub(super) fn kill_now(&mut self) {
        self.stopping = Stopping::Killed;
        self.app.kill(Context::new(self.machine.phase().state(false).word(), "WAIT", self.action));
    }
}

/// For the address manager.
pub fn wanted(address: &crate::config::VirtualIp) -> Wanted {
    Wanted {
        ip: address.address,
        prefix: address.prefix,
        interface: address.interface.clone(),
        on_loss: match address.on_loss {
            LostAddress::Restore => OnLoss::Restore,
            LostAddress::Failover => OnLoss::Fail,
        },
        reset_connections: address.reset_connections,
    }
}
