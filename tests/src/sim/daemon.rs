//! The shell around the pure cores on one node: beats, facts, questions, and what the table orders.

use super::engine::{Engine, Part};
use super::host::{AppState, Data, DieAt};
use super::log::name;
use super::queue::{Body, Happening, Packet, Proc, THIRD};
use super::world::World;
use cluster::NodeId;
use cluster::failover::{Action, Command, Event, Facts, Machine, Phase, Step};
use cluster::heartbeat::{Change, Peer, Presence};
use cluster::quorum::{Answer, Ask, AskEvent, AskSend, Granter, PeerQuestion, Verdict, consent};
use cluster::replica::{Data as State, Generation, Party, Relation, Replica, Role, relation};
use std::collections::VecDeque;
use std::rc::Rc;
use uuid::Uuid;

/// For what the daemon and the engine of one node tell each other.
const LOCAL: u64 = 1;

#[derive(Clone, Debug)]
pub(super) struct Daemon {
    pub run: u32,
    epoch: u64,
    peer: Peer,
    pub machine: Machine,
    ask: Option<Ask>,
    grant: Option<(Generation, Vec<Generation>, Granter)>,
    first: bool,
    /// Generations that the operator's word supersedes.
    overruled: Option<Vec<Generation>>,
    facts: Rc<Facts>,
    version: u64,
    /// The peer has this version.
    told: u64,
    /// Epoch and version of what the peer told.
    seen: (u64, u64),
    peer_epoch: u64,
    steady: bool,
    inbox: VecDeque<Event>,
    busy: bool,
}

impl Daemon {
    /// The peer is there, and what it says of itself is of now: what it said before it was started anew is old.
    fn hears(&self) -> bool {
        self.peer.presence() == Presence::Heard && self.seen.0 == self.peer_epoch
    }
}

impl World {
    pub(super) fn node_id(node: usize) -> NodeId {
        NodeId(node as u16 + 1)
    }

    pub(super) fn start_daemon(&mut self, node: usize) {
        let host = &mut self.hosts[node];
        if !host.up || host.daemon.is_some() {
            return;
        }
        let run = host.next_run();
        let now = host.clock.moment(self.now);
        // Of the machine, not of its disk, which may be put back: an epoch that was used would be taken for a replay.
        let epoch = u64::from(run);
        let boot = Uuid::from_u128(u128::from(host.boot) << 1 | node as u128);
        let mut policy = self.config.policy;
        policy.failover = host.disk.failover;
        let peer = Peer::new(Self::node_id(1 - node), self.net.networks as u8, policy.profile, epoch, boot, now);
        let machine = Machine::with_rows(self.rows.clone(), Self::node_id(node), name(1 - node), policy, now);
        let facts = Rc::new(machine.facts());
        let daemon = Daemon {
            run,
            epoch,
            peer,
            machine,
            ask: None,
            grant: None,
            first: false,
            overruled: None,
            facts,
            version: 1,
            told: 0,
            seen: (0, 0),
            peer_epoch: 0,
            steady: false,
            inbox: VecDeque::new(),
            busy: false,
        };
        host.daemon = Some(daemon);
        self.queue.push(self.now + 1, Happening::DaemonTick { node, run });
        self.log.story(self.now, name(node), || "the daemon starts".into());
        self.feed(node, Event::Replica(self.hosts[node].disk.replica.clone()));
        self.find_engine(node);
        let daemon = self.hosts[node].daemon.as_ref();
        let stopped = daemon.is_some_and(|daemon| daemon.machine.phase() == Phase::Stopped);
        if stopped && self.hosts[node].disk.wanted {
            self.feed(node, Event::Command(Command::Start));
        }
    }

    /// The engine and the application went on without a daemon.
    fn find_engine(&mut self, node: usize) {
        let host = &mut self.hosts[node];
        // One that has come to its end, or was fenced by the daemon before, is ended.
        let goes_on = |engine: &&Engine| engine.follows() || engine.serves() && engine.accepts && !engine.errors;
        let Some(engine) = host.engine.as_ref().filter(goes_on) else {
            self.drop_engine(node);
            let host = &mut self.hosts[node];
            host.app.state = AppState::Down;
            host.app.run += 1;
            return;
        };
        let (in_sync, session) = (engine.in_sync(), engine.session != 0);
        let (phase, code) = match &engine.part {
            Part::Secondary(_) if in_sync => (Phase::Second, "in_sync"),
            Part::Secondary(_) => (Phase::Joining, "joining"),
            Part::Primary(_) if !engine.up => (Phase::Promoting, "promoting"),
            Part::Primary(_) if host.app.state != AppState::Running => (Phase::Starting, "starting_application"),
            Part::Primary(primary) if primary.alone() => (Phase::Alone, "alone"),
            Part::Primary(_) => (Phase::Prim, "in_sync"),
        };
        let Some(daemon) = &mut host.daemon else { return };
        daemon.machine.found(phase, in_sync, "found running", code);
        self.log.story(self.now, name(node), || format!("finds {phase:?}"));
        if phase == Phase::Starting {
            self.start_app(node);
        }
        // `found` takes a session for granted.
        self.feed(node, Event::Replication(session));
    }

    pub(super) fn daemon_tick(&mut self, node: usize, run: u32) {
        let profile = self.config.policy.profile;
        let host = &mut self.hosts[node];
        let Some(daemon) = host.daemon.as_mut().filter(|daemon| daemon.run == run) else { return };
        let now = host.clock.moment(self.now);
        let next = host.clock.world(profile.pulse);
        let (changes, _) = daemon.peer.tick(now);
        let steady = daemon.peer.steady(now);
        let turned = std::mem::replace(&mut daemon.steady, steady) != steady;
        let (unheard, version, epoch, facts) = (daemon.told < daemon.version, daemon.version, daemon.epoch, daemon.facts.clone());
        for network in 0..self.net.networks {
            let beat = self.hosts[node].daemon.as_mut().and_then(|daemon| daemon.peer.beat(Self::node_id(node), network as u8, version));
            if let Some(beat) = beat {
                self.send(node, 1 - node, network, Body::Beat(beat));
            }
            if unheard {
                self.send(node, 1 - node, network, Body::Facts { epoch, version, facts: facts.clone() });
            }
        }
        self.queue.push(self.now + next, Happening::DaemonTick { node, run });
        self.peer_changes(node, changes);
        if turned {
            self.feed(node, Event::Steady(steady));
        }
        self.step_ask(node, AskEvent::Tick);
        self.feed(node, Event::Tick);
    }

    fn peer_changes(&mut self, node: usize, changes: Vec<Change>) {
        for change in changes {
            let Some(daemon) = &mut self.hosts[node].daemon else { return };
            match change {
                Change::Presence(presence) if presence != Presence::Heard || daemon.hears() => self.feed(node, Event::Presence(presence)),
                _ => {}
            }
        }
    }

    fn hear_facts(&mut self, node: usize) {
        let Some(daemon) = &self.hosts[node].daemon else { return };
        if daemon.hears() && daemon.machine.presence() != Presence::Heard {
            self.feed(node, Event::Presence(Presence::Heard));
        }
    }

    pub(super) fn daemon_hears(&mut self, node: usize, packet: Packet) {
        let moment = self.hosts[node].clock.moment(self.now);
        let Some(daemon) = &mut self.hosts[node].daemon else { return };
        match packet.body {
            Body::Beat(beat) => {
                let changes = daemon.peer.receive(&beat, moment);
                if beat.epoch > daemon.peer_epoch {
                    // A new daemon knows nothing of this one. `Change::Restarted` comes only if its forerunner was heard.
                    (daemon.peer_epoch, daemon.told) = (beat.epoch, 0);
                }
                self.peer_changes(node, changes);
                self.hear_facts(node);
            }
            Body::Facts { epoch, version, facts } => {
                if (epoch, version) > daemon.seen {
                    daemon.seen = (epoch, version);
                    self.feed(node, Event::Peer((*facts).clone()));
                }
                let Some(daemon) = &mut self.hosts[node].daemon else { return };
                let by = daemon.epoch;
                self.hear_facts(node);
                self.send(node, 1 - node, packet.network, Body::FactsHeard { epoch, version, by });
            }
            Body::FactsHeard { epoch, version, by } if epoch == daemon.epoch && by == daemon.peer_epoch => {
                daemon.told = daemon.told.max(version);
            }
            Body::Question { asker, run, question } => self.answer(node, packet.network, asker, run, &question),
            Body::Answer { run, next, answer, .. } if run == daemon.run => self.step_ask(node, AskEvent::Peer(next, answer)),
            Body::Witness { run, reply, .. } if run == daemon.run => self.step_ask(node, AskEvent::Witness((*reply).clone())),
            Body::Pong { run, .. } if run == daemon.run => self.step_ask(node, AskEvent::Pong),
            _ => {}
        }
    }

    /// Whether the peer may go on without this node. The engine has to end its session first, so a paused one delays it.
    fn answer(&mut self, node: usize, network: usize, asker: Proc, run: u32, question: &PeerQuestion) {
        let host = &self.hosts[node];
        let Some(daemon) = &host.daemon else { return };
        let party = Party {
            node: Self::node_id(node),
            replica: host.disk.replica.clone(),
            willing: daemon.machine.view().party().willing,
            serving: daemon.machine.phase().leads() || host.engine.as_ref().is_some_and(Engine::serves),
        };
        let answer = consent(&party, question, self.config.policy.resolves());
        let stuck = host.engine.as_ref().is_some_and(Engine::follows) && self.now < host.paused[1];
        if matches!(answer, Answer::Yes { .. }) {
            if stuck {
                return;
            }
            if !self.give_way(node, question.next) {
                return;
            }
            self.feed(node, Event::Consented);
        }
        self.log.detail(self.now, name(node), || format!("answers about {}: {answer:?}", short(question.next)));
        self.send(node, 1 - node, network, Body::Answer { asker, run, next: question.next, answer });
    }

    fn give_way(&mut self, node: usize, next: Generation) -> bool {
        if !self.bad.consent_unrecorded && !self.record(node, |replica| replica.yield_to(next)) {
            return false;
        }
        if self.hosts[node].engine.as_ref().is_some_and(Engine::follows) {
            self.end_session(node, true);
        }
        self.feed(node, Event::Replica(self.hosts[node].disk.replica.clone()));
        true
    }

    /// Changes what is recorded; false: the node died over it.
    pub(super) fn record(&mut self, node: usize, change: impl FnOnce(&mut Replica)) -> bool {
        let host = &mut self.hosts[node];
        let (old, current) = (host.die.is_some().then(|| host.disk.replica.clone()), host.disk.replica.current);
        change(&mut host.disk.replica);
        let die = host.die.take();
        if let (Some(DieAt::Before), Some(old)) = (die, old) {
            host.disk.replica = old;
        }
        let replica = &host.disk.replica;
        if replica.current != current && replica.role == Role::Primary {
            self.begins(node);
        }
        if let Some(die) = die {
            self.log.story(self.now, name(node), || format!("loses its power {die:?} it could record"));
            self.power_off(node, true, false);
            return false;
        }
        self.log.detail(self.now, name(node), || format!("records {}", describe(&self.hosts[node].disk.replica)));
        true
    }

    fn step_ask(&mut self, node: usize, event: AskEvent) {
        let host = &mut self.hosts[node];
        let now = host.clock.moment(self.now);
        let Some(daemon) = &mut host.daemon else { return };
        let Some(ask) = &mut daemon.ask else { return };
        let (send, verdict) = ask.step(now, event);
        let (next, run) = (ask.next(), daemon.run);
        match verdict {
            Some(Verdict::Granted { by, superseded }) => {
                daemon.ask = None;
                daemon.grant = Some((next, superseded, by));
                self.log.detail(self.now, name(node), || format!("is granted {} by {by:?}", short(next)));
                self.feed(node, Event::Granted);
            }
            Some(Verdict::Refused { reason }) => {
                daemon.ask = None;
                self.feed(node, Event::Refused(reason.into()));
            }
            None => self.send_ask(node, Proc::Daemon, run, send),
        }
    }

    pub(super) fn send_ask(&mut self, node: usize, asker: Proc, run: u32, send: Vec<AskSend>) {
        for send in send {
            match send {
                AskSend::Peer(question) => self.send_on_all(node, &Body::Question { asker, run, question: Rc::new(question) }),
                AskSend::Witness(request) => self.send(node, THIRD, 0, Body::AskWitness { asker, run, request: Rc::new(request) }),
                AskSend::Ping => self.send(node, THIRD, 0, Body::Ping { asker, run }),
            }
        }
    }

    /// Tells the machine, does what it orders, and tells it what came of that, until nothing is left.
    pub(super) fn feed(&mut self, node: usize, event: Event) {
        let Some(daemon) = &mut self.hosts[node].daemon else { return };
        daemon.inbox.push_back(event);
        if std::mem::replace(&mut daemon.busy, true) {
            return;
        }
        let mut turned = false;
        loop {
            let host = &mut self.hosts[node];
            let now = host.clock.moment(self.now);
            let Some(daemon) = &mut host.daemon else { return };
            let Some(event) = daemon.inbox.pop_front() else { break };
            turned |= !matches!(event, Event::Tick);
            for step in daemon.machine.on(now, event) {
                turned = true;
                self.tell_step(node, &step);
                for &action in &step.actions {
                    self.act(node, action);
                }
            }
        }
        let Some(daemon) = &mut self.hosts[node].daemon else { return };
        daemon.busy = false;
        if turned {
            self.tell_facts(node);
        }
    }

    fn tell_step(&mut self, node: usize, step: &Step) {
        self.log.story(self.now, name(node), || {
            let phase = if step.from == step.to { format!("{:?}", step.to) } else { format!("{:?} → {:?}", step.from, step.to) };
            format!("{:<6} {}  [{phase}, {}]", step.state.word(), step.reason, step.reason_code)
        });
    }

    fn tell_facts(&mut self, node: usize) {
        let Some(daemon) = &mut self.hosts[node].daemon else { return };
        let facts = daemon.machine.facts();
        if facts == *daemon.facts {
            return;
        }
        daemon.facts = Rc::new(facts);
        daemon.version += 1;
        let body = Body::Facts { epoch: daemon.epoch, version: daemon.version, facts: daemon.facts.clone() };
        self.send_on_all(node, &body);
    }

    fn act(&mut self, node: usize, action: Action) {
        if !self.hosts[node].up {
            return;
        }
        match action {
            Action::Follow => self.start_secondary(node, false),
            Action::FollowKeeping => self.start_secondary(node, true),
            Action::Leave => self.say_leaving(node),
            Action::StopEngine => self.stop_engine(node),
            Action::Seal => self.seal(node),
            Action::Ask => self.begin_ask(node),
            Action::StopAsking => self.with_daemon(node, |daemon| daemon.ask = None),
            Action::PromoteEngine => self.promote(node),
            Action::CreateSet => self.with_daemon(node, |daemon| daemon.first = true),
            Action::Overrule => self.overrule(node),
            Action::RecordOutdated => {
                if self.record(node, Replica::superseded) {
                    self.feed(node, Event::Replica(self.hosts[node].disk.replica.clone()));
                }
            }
            Action::AddAddresses => self.hosts[node].addresses = true,
            Action::RemoveAddresses => self.hosts[node].addresses = false,
            Action::StartApplication => self.start_app(node),
            Action::StopApplication => self.stop_app(node, false),
            Action::KillApplication => self.stop_app(node, true),
            Action::StopAcknowledging => self.with_engine(node, |engine| engine.accepts = false),
            Action::AnswerErrors => self.with_engine(node, |engine| engine.errors = true),
            Action::FencePeer | Action::Offer | Action::Refuse => {}
            Action::Count | Action::Rest | Action::ThenStop | Action::After(_) => {}
        }
    }

    fn with_daemon(&mut self, node: usize, change: impl FnOnce(&mut Daemon)) {
        if let Some(daemon) = &mut self.hosts[node].daemon {
            change(daemon);
        }
    }

    fn begin_ask(&mut self, node: usize) {
        let fresh = self.fresh();
        let mut next = fresh;
        if !self.record(node, |replica| next = replica.intend(fresh)) {
            return;
        }
        let host = &mut self.hosts[node];
        let now = host.clock.moment(self.now);
        let Some(daemon) = &mut host.daemon else { return };
        let mut from = daemon.machine.view().party();
        from.replica = host.disk.replica.clone();
        daemon.ask = Some(Ask::new(self.config.policy.kind, self.config.policy.profile, PeerQuestion { from, next }, now));
        self.feed(node, Event::Replica(self.hosts[node].disk.replica.clone()));
        self.step_ask(node, AskEvent::Tick);
    }

    /// Records the generation, then starts the engine.
    fn promote(&mut self, node: usize) {
        let fresh = self.fresh();
        let Some(daemon) = &mut self.hosts[node].daemon else { return };
        let (first, overruled, grant) = (std::mem::take(&mut daemon.first), daemon.overruled.take(), daemon.grant.take());
        let (next, superseded, by) = match (&overruled, grant) {
            (Some(superseded), _) => (fresh, superseded.clone(), None),
            (None, Some((next, superseded, by))) => (next, superseded, Some(by)),
            (None, None) => (fresh, Vec::new(), None),
        };
        let recorded = self.record(node, |replica| match first {
            true => *replica = Replica::first(next),
            false => replica.commit(next, &superseded),
        });
        if recorded {
            self.feed(node, Event::Replica(self.hosts[node].disk.replica.clone()));
            self.start_primary(node, overruled.is_some(), by.is_some_and(|by| by != Granter::Witness));
        }
    }

    /// The operator's word: what is known of the peer's is superseded, and what is not here is given up.
    fn overrule(&mut self, node: usize) {
        let host = &self.hosts[node];
        let Some(daemon) = &host.daemon else { return };
        let mut superseded = Vec::new();
        if let Some(facts) = &daemon.machine.view().peer {
            let theirs = &facts.party.replica;
            superseded.extend(theirs.attempts());
            superseded.extend(theirs.lineage().into_iter().filter(|&generation| !host.disk.replica.knows(generation)));
        }
        self.ledger.accepted(node, self.hosts[node].disk.data.has);
        self.accepted = true;
        if self.hosts[node].engine.as_ref().is_some_and(Engine::leads) {
            self.engine_overrules(node, &superseded);
        } else {
            self.with_daemon(node, |daemon| daemon.overruled = Some(superseded));
        }
    }

    /// The engine tells the daemon, if there is one.
    pub(super) fn tell(&mut self, node: usize, event: Event) {
        let run = self.hosts[node].engine_run;
        self.queue.push(self.now + LOCAL, Happening::Told { node, from: Proc::Engine, run, event: Box::new(event) });
    }

    pub(super) fn tell_replica(&mut self, node: usize) {
        self.tell(node, Event::Replica(self.hosts[node].disk.replica.clone()));
    }

    /// Their data as sets of operations.
    pub(super) fn data(&self) -> [Data; 2] {
        [self.hosts[0].disk.data, self.hosts[1].disk.data]
    }

    pub(super) fn stands(&self, node: usize) -> (Relation, State) {
        let (mine, theirs) = (&self.hosts[node].disk.replica, &self.hosts[1 - node].disk.replica);
        (relation(mine, theirs), mine.data)
    }
}

/// For lines: a generation is told by its first letters.
pub(super) fn short(generation: Generation) -> String {
    generation.simple().to_string()[..6].to_owned()
}

fn describe(replica: &Replica) -> String {
    let current = replica.current.map_or("none".into(), short);
    let intent = replica.intent.map_or(String::new(), |intent| format!(", intent {}", short(intent)));
    let flags = [(replica.alone, "alone"), (replica.clean, "clean"), (!replica.whole, "not whole"), (replica.rebooted, "rebooted")];
    let flags: Vec<&str> = flags.iter().filter(|(is, _)| *is).map(|(_, word)| *word).collect();
    format!("{current} {:?} {:?}, right {:?}{intent} {}", replica.data, replica.role, replica.right, flags.join(" "))
}
