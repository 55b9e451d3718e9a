//! The engine of the module: starting it, and what its news mean.

use super::Mirror;
use super::limits::GONE;
use crate::engine::{Ended, EngineSpec, Group, HELD, News, RoleSpec, SPEC_SCHEMA, View};
use crate::failover::{Event, Facts, Phase};
use fsrepl::report::State;
use std::time::{Duration, Instant};

impl Mirror {
    /// One for each directory; `role`: what the one at that place is.
    pub(super) fn start_engine(&mut self, role: impl Fn(&Mirror, usize) -> RoleSpec) {
        if !self.application_is_gone() {
            return self.queue.push_back(Event::EngineDied("what ran on its directory does not end".into()));
        }
        let specs: Vec<EngineSpec> = (0..self.module.replicate.len()).map(|place| self.spec(place, role(self, place))).collect();
        self.counter += 1;
        let (number, inputs) = (self.counter, self.inputs.clone());
        let news = move |news| drop(inputs.send(super::Input::Engine(number, news)));
        match Group::start(&self.node.home, &specs, self.directory_names(), news) {
            Ok(engine) => {
                *self.engine_pids.lock() = engine.pids();
                self.engine = Some((number, engine));
                self.view = None;
            }
            Err(failure) => self.queue.push_back(Event::EngineDied(failure.to_string())),
        }
    }

    fn directory_names(&self) -> Vec<String> {
        self.module.replicate.iter().map(|replicate| replicate.name.clone()).collect()
    }

    fn spec(&self, place: usize, role: RoleSpec) -> EngineSpec {
        let (node, module) = (&self.node, &self.module);
        let replicate = &module.replicate[place];
        EngineSpec {
            schema: SPEC_SCHEMA,
            module: module.name.clone(),
            engines: module.engines(),
            place,
            cluster: node.cluster.name.clone(),
            me: node.me,
            me_name: node.cluster.name_of(node.me).to_owned(),
            peer: self.peer,
            peer_name: node.cluster.name_of(self.peer).to_owned(),
            peer_addresses: node.addresses_of(self.peer, |_| true),
            replication_addresses: node.addresses_of(self.peer, |network| network.replication),
            key_file: node.cluster.key_file.clone(),
            quorum: node.quorum(),
            profile: node.cluster.profile,
            directory: replicate.directory.clone(),
            exclude: replicate.exclude.clone(),
            durable: module.ack == fsrepl::node::options::Ack::Disk,
            low_latency: module.low_latency,
            // The module's, shared by its directories; 0 would be no limit.
            resync_max_rate: module.resync_max_rate.map(|rate| (rate / module.replicate.len() as u64).max(1)),
            // Kept states of several directories would be of different moments.
            keep_budget: if module.replicate.len() > 1 { Some(0) } else { module.keep_budget },
            role,
        }
    }

    /// What lives from the time of an earlier daemon is taken as it is; else the replica is read.
    pub(super) fn begin(&mut self) {
        self.counter += 1;
        let (number, inputs) = (self.counter, self.inputs.clone());
        let news = move |news| drop(inputs.send(super::Input::Engine(number, news)));
        let found = Group::find(&self.node.home, &self.module.engines(), self.directory_names(), news);
        let Some((engine, view)) = found else {
            return self.drop_found();
        };
        *self.engine_pids.lock() = engine.pids();
        self.engine = Some((number, engine));
        if view.over {
            // What an earlier daemon had ended is no use to this one.
            self.view = Some(view);
            return self.drop_found();
        }
        self.disk.see(&view);
        self.adopt(&view);
        let refused = view.refused().then(|| refusal(view.reason.clone()));
        self.view = Some(view);
        self.feed(Event::Replica(self.disk.replica()));
        // It was told while no daemon was there to hear of it.
        if let Some(refused) = refused {
            self.feed(refused);
        }
    }

    /// An application without an engine that serves is of no use to anybody: it goes, with what there is of an engine.
    fn drop_found(&mut self) {
        if self.app.adopt() {
            self.kill_now();
        }
        self.remove_addresses();
        self.stop_engine();
    }

    fn adopt(&mut self, view: &View) {
        let (phase, in_sync) = match (view.is_primary(), view.serving) {
            (true, true) if self.app.adopt() => (if view.in_sync { Phase::Prim } else { Phase::Alone }, view.in_sync),
            (true, true) => (Phase::Starting, view.in_sync),
            (true, false) => (Phase::Promoting, false),
            (false, _) if view.in_sync => (Phase::Second, true),
            (false, _) => (Phase::Joining, false),
        };
        self.machine.found(phase, in_sync, "found running by a daemon that started anew", "found");
        if phase.leads() {
            if let Err(why) = self.acquire() {
                tracing::error!(module = self.module.name, %why, "the virtual address cannot be taken");
            }
            self.addressed = true;
        }
        match phase {
            Phase::Starting => self.app.start(crate::module::environment::Context::new("ALONE", "ALONE", "start")),
            Phase::Prim | Phase::Alone => self.checks.application(true),
            _ => {}
        }
        if view.in_sync && view.is_primary() {
            self.begin_agreeing();
        }
        self.feed(Event::Replication(view.session));
    }

    /// What a dead engine left over the directory is taken off by that, so the application has to be gone before.
    pub(super) fn read_disk(&mut self) {
        if self.application_is_gone() {
            self.disk.read();
            self.guard();
        } else {
            tracing::error!(module = self.module.name, "the application does not end: what the replica is stays as it was seen last");
        }
        self.queue.push_back(Event::Replica(self.disk.replica()));
    }

    /// Covers the directory where nothing runs on it nor is about to.
    pub(super) fn guard(&self) {
        if self.guarded && self.engine.is_none() && !matches!(self.machine.phase(), Phase::Asking | Phase::Promoting) {
            self.disk.guard();
        }
    }

    /// Without its engine an application must not run: it would find the bare directory beneath the mount, and what it writes
    /// there would be acknowledged and lost. Kills it, and waits a little. True: nothing of it runs.
    pub(super) fn application_is_gone(&mut self) -> bool {
        if self.engine.is_some() || !self.app.is_running() {
            return true;
        }
        self.kill_now();
        let until = Instant::now() + GONE;
        while self.app.is_running() && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(2));
        }
        !self.app.is_running()
    }

    pub(super) fn news(&mut self, number: u64, news: News) {
        if self.engine.as_ref().is_none_or(|(current, _)| *current != number) {
            return;
        }
        match news {
            News::View(view) => self.seen(*view),
            News::Ended(ended) => self.ended(ended),
        }
    }

    /// The other node's engine has come up to follow: this one need not wait for its next attempt to connect.
    pub(super) fn dial_when_it_follows(&self, facts: &Facts) {
        let before = self.machine.view().peer.as_ref().map(|facts| facts.state);
        let leads = self.view.as_ref().is_some_and(|view| view.is_primary() && !view.session);
        if !leads || facts.state != crate::failover::State::Second || before == Some(facts.state) {
            return;
        }
        let (run, engines) = (self.node.home.run.clone(), self.module.engines());
        self.node.couriers.work(move || {
            for engine in engines {
                if let Err(why) = crate::engine::call(&run, &engine, "dial", &serde_json::Value::Null) {
                    tracing::debug!(engine, %why, "the engine connects in its own time");
                }
            }
        });
    }

    fn ended(&mut self, ended: Ended) {
        self.engine = None;
        self.view = None;
        self.agreeing.stop();
        self.read_disk();
        let refused = matches!(&ended, Ended::Failed(why) if why.starts_with("cannot go on alone"));
        match ended {
            Ended::Clean => self.feed(Event::Sealed),
            Ended::Failed(why) if refused => self.feed(refusal(why)),
            Ended::Failed(why) => self.feed(Event::EngineDied(why)),
        }
    }

    fn seen(&mut self, view: View) {
        let former = self.view.replace(view.clone());
        if self.disk.see(&view) {
            self.feed(Event::Replica(self.disk.replica()));
        }
        let was = |test: fn(&View) -> bool| former.as_ref().is_some_and(test);
        if view.is_primary() && view.serving && !was(|view| view.serving) {
            self.feed(Event::EngineUp);
        }
        if view.session != was(|view| view.session) {
            self.feed(Event::Replication(view.session));
        }
        if view.in_sync && !was(|view| view.in_sync) {
            self.feed(Event::InSync);
            if view.is_primary() {
                self.begin_agreeing();
            }
        }
        if !view.in_sync && was(|view| view.in_sync) {
            self.agreeing.stop();
        }
        self.primary_seen(&view, former.as_ref());
        self.secondary_seen(&view, former.as_ref());
    }

    fn primary_seen(&mut self, view: &View, former: Option<&View>) {
        if !view.is_primary() {
            return;
        }
        let held = former.is_some_and(|view| view.holding.is_some());
        if let Some(holding) = view.holding.as_ref().filter(|_| !held) {
            self.feed(Event::Holding(holding.reason.clone()));
        }
        let mirrored = held || former.is_some_and(|view| view.in_sync);
        if view.state == State::Alone && view.holding.is_none() && mirrored && !view.in_sync {
            if !held {
                self.feed(Event::Holding(view.reason.clone()));
            }
            self.feed(Event::Degraded);
        }
        if view.refused() && !former.is_some_and(View::refused) {
            self.feed(refusal(view.reason.clone()));
        }
    }

    fn secondary_seen(&mut self, view: &View, former: Option<&View>) {
        if view.is_primary() {
            return;
        }
        if view.follow_refused() && !former.is_some_and(View::follow_refused) {
            self.feed(Event::FollowRefused(view.reason.clone()));
        }
        let left = |view: &View| view.reason_code == "primary_left";
        if left(view) && !former.is_some_and(left) {
            self.feed(Event::PeerClean);
        }
    }
}

/// Another history has won, or nobody could be asked for too long: then this one may still be the only one.
fn refusal(why: String) -> Event {
    if why.contains(HELD) { Event::HeldTooLong } else { Event::Refused(why) }
}
