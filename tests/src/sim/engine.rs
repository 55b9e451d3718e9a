//! The modelled engine: a sequence of operations, kept on two nodes. It has the order of the real one: applied locally,
//! sent, acknowledged when the secondary has it; when the secondary is lost it holds all replies and asks by itself.

mod primary;
mod secondary;

pub(super) use primary::Primary;
pub(super) use secondary::Secondary;

use super::host::{AppState, Ops};
use super::log::name;
use super::queue::{Body, Happening, Packet, Proc};
use super::world::World;
use cluster::Moment;
use cluster::failover::Event;
use cluster::quorum::AskEvent;
use cluster::quorum::agreement::{self, Word};
use cluster::replica::{Party, Replica};
use std::rc::Rc;
use std::time::Duration;

/// In the ordered stream of a session.
#[derive(Clone, Debug)]
pub(super) enum Frame {
    /// Somebody is there.
    Pulse,
    /// To the secondary: this is who I am; it records that its copy is torn before it goes on.
    Begin(Rc<Party>),
    /// From the secondary: recorded.
    Torn,
    /// To the secondary: all of the data.
    Copy(Ops),
    /// From the secondary: applied.
    Copied,
    /// To the secondary: you have everything of this.
    Done(Rc<Replica>),
    /// From the secondary: recorded.
    InSync,
    /// To the secondary: one operation, and whether its reply waits for the acknowledgement.
    Op { op: u32, fsync: bool },
    /// From the secondary.
    Acked(u32),
    /// About the right to go on.
    Word(Word),
    /// To the secondary: this was all; flush and record that both are clean.
    Leave,
    /// From the secondary: recorded.
    Left,
    /// From the secondary: it leaves, go on without it.
    Leaving,
}

#[derive(Clone, Debug)]
pub(super) enum Part {
    Primary(Box<Primary>),
    Secondary(Secondary),
}

#[derive(Clone, Debug)]
pub(super) struct Engine {
    pub run: u32,
    /// It has started.
    pub up: bool,
    pub part: Part,
    /// It answers the application.
    pub accepts: bool,
    /// It answers the application with errors.
    pub errors: bool,
    /// The session; 0 for none.
    pub session: u32,
    pub sent: u32,
    pub expected: u32,
    silence: Duration,
    ticked: Moment,
}

impl Engine {
    fn new(run: u32, part: Part, now: Moment) -> Engine {
        let (silence, ticked) = (Duration::ZERO, now);
        Engine { run, up: false, part, accepts: true, errors: false, session: 0, sent: 0, expected: 1, silence, ticked }
    }

    pub fn leads(&self) -> bool {
        matches!(self.part, Part::Primary(_))
    }

    /// It leads and has not come to its end.
    pub fn serves(&self) -> bool {
        matches!(&self.part, Part::Primary(primary) if !primary.sealed)
    }

    pub fn follows(&self) -> bool {
        matches!(self.part, Part::Secondary(_))
    }

    pub fn in_sync(&self) -> bool {
        match &self.part {
            Part::Primary(primary) => primary.in_sync(),
            Part::Secondary(secondary) => self.session != 0 && secondary.in_sync,
        }
    }

    /// The application waits for replies that may not be given.
    pub fn blocks(&self) -> bool {
        matches!(&self.part, Part::Primary(primary) if !self.errors && !primary.pending.is_empty())
    }

    fn open(&mut self, session: u32) {
        (self.session, self.sent, self.expected, self.silence) = (session, 0, 1, Duration::ZERO);
    }
}

impl World {
    pub(super) fn engine(&mut self, node: usize) -> Option<&mut Engine> {
        self.hosts[node].engine.as_mut()
    }

    pub(super) fn with_engine(&mut self, node: usize, change: impl FnOnce(&mut Engine)) {
        if let Some(engine) = self.engine(node) {
            change(engine);
        }
    }

    pub(super) fn has_session(&self, node: usize, session: u32) -> bool {
        node < 2 && self.hosts[node].engine.as_ref().is_some_and(|engine| engine.session == session)
    }

    fn start_engine(&mut self, node: usize, part: Part, after: u64) {
        let now = self.hosts[node].clock.moment(self.now);
        self.drop_engine(node);
        let host = &mut self.hosts[node];
        let run = host.next_run();
        host.engine_run = run;
        host.engine = Some(Engine::new(run, part, now));
        self.queue.push(self.now + after, Happening::EngineUp { node, run });
    }

    pub(super) fn start_secondary(&mut self, node: usize, keeps: bool) {
        self.start_engine(node, Part::Secondary(Secondary::new(keeps)), 5);
    }

    pub(super) fn start_primary(&mut self, node: usize, force: bool, notice: bool) {
        let delay = 10 + self.rng.below(40);
        let remembers = self.config.policy.kind.remembers();
        self.start_engine(node, Part::Primary(Box::new(Primary::new(force && remembers, notice && remembers))), delay);
    }

    pub(super) fn engine_up(&mut self, node: usize, run: u32) {
        let now = self.hosts[node].clock.moment(self.now);
        let Some(engine) = self.engine(node).filter(|engine| engine.run == run) else { return };
        (engine.up, engine.ticked) = (true, now);
        if engine.leads() {
            self.tell(node, Event::EngineUp);
        }
        self.queue.push(self.now + 1, Happening::EngineTick { node, run });
    }

    /// Gone, whoever ended it: the kernel closes its connection.
    pub(super) fn drop_engine(&mut self, node: usize) {
        if let Some(engine) = self.hosts[node].engine.take()
            && engine.session != 0
        {
            let network = self.best_network();
            self.send(node, 1 - node, network, Body::Closed { session: engine.session });
        }
    }

    pub(super) fn stop_engine(&mut self, node: usize) {
        self.drop_engine(node);
    }

    /// Kill -9.
    pub(super) fn engine_dies(&mut self, node: usize) {
        if self.hosts[node].engine.is_some() {
            self.tell(node, Event::EngineDied("killed".into()));
            self.drop_engine(node);
        }
    }

    /// A secondary ends its session: nothing that it brings is taken or acknowledged any more.
    pub(super) fn end_session(&mut self, node: usize, tell: bool) {
        let Some(engine) = self.engine(node) else { return };
        let session = std::mem::take(&mut engine.session);
        if let Part::Secondary(secondary) = &mut engine.part {
            secondary.in_sync = false;
        }
        if session != 0 {
            let network = self.best_network();
            self.send(node, 1 - node, network, Body::Closed { session });
            if tell {
                self.tell(node, Event::Replication(false));
            }
        }
    }

    pub(super) fn seal(&mut self, node: usize) {
        let Some(engine) = self.engine(node) else { return };
        if engine.follows() {
            self.end_session(node, false);
            self.hosts[node].engine = None;
            self.hosts[node].disk.data.flush();
        } else {
            self.seal_primary(node);
        }
    }

    pub(super) fn say(&mut self, node: usize, frame: Frame) {
        let network = self.best_network();
        let Some(engine) = self.engine(node) else { return };
        if engine.session == 0 {
            return;
        }
        engine.sent += 1;
        let (session, number) = (engine.session, engine.sent);
        self.send(node, 1 - node, network, Body::Stream { session, number, frame });
    }

    pub(super) fn engine_tick(&mut self, node: usize, run: u32) {
        let profile = self.config.policy.profile;
        let host = &mut self.hosts[node];
        let now = host.clock.moment(self.now);
        let next = host.clock.world(profile.pulse);
        let Some(engine) = host.engine.as_mut().filter(|engine| engine.run == run) else { return };
        let passed = now.saturating_sub(engine.ticked);
        engine.ticked = now;
        // Our own pause is not the peer's.
        engine.silence += passed.min(profile.pulse * 2);
        let silent = engine.session != 0 && engine.silence >= profile.degrade;
        let leads = engine.leads();
        self.queue.push(self.now + next, Happening::EngineTick { node, run });
        if self.rng.one_in(64) {
            self.hosts[node].disk.data.flush();
        }
        match (leads, silent) {
            (true, true) => self.lose(node, "silent"),
            (false, true) => self.end_session(node, true),
            _ => self.say(node, Frame::Pulse),
        }
        if leads {
            self.primary_tick(node, now);
        }
    }

    pub(super) fn engine_hears(&mut self, node: usize, packet: Packet) {
        let host = &mut self.hosts[node];
        let Some(engine) = host.engine.as_mut().filter(|engine| engine.up) else {
            if let Body::Stream { session, .. } = packet.body {
                self.send(node, packet.from, packet.network, Body::Closed { session });
            }
            return;
        };
        let run = engine.run;
        match packet.body {
            Body::Connect { session } => self.hear_connect(node, session),
            Body::Accept { session } => self.hear_accept(node, session),
            Body::Closed { session } if session == engine.session => match engine.leads() {
                true => self.lose(node, "connection closed"),
                false => self.end_session(node, true),
            },
            Body::Stream { session, number, .. } if session == engine.session && number > engine.expected => {
                self.queue.push(self.now + 3, Happening::Packet(Box::new(packet)));
            }
            Body::Stream { session, number, frame } if session == engine.session && number == engine.expected => {
                engine.expected += 1;
                engine.silence = Duration::ZERO;
                match engine.leads() {
                    true => self.primary_hears(node, frame),
                    false => self.secondary_hears(node, frame),
                }
            }
            Body::Stream { session, .. } if session != engine.session => {
                self.send(node, packet.from, packet.network, Body::Closed { session });
            }
            Body::Answer { run: to, next, answer, .. } if to == run => self.engine_asks(node, AskEvent::Peer(next, answer)),
            Body::Witness { run: to, reply, .. } if to == run => self.hear_witness(node, &reply),
            Body::Pong { run: to, .. } if to == run => {
                self.engine_asks(node, AskEvent::Pong);
                self.step_agreement(node, &agreement::Event::Pong);
            }
            _ => {}
        }
    }

    /// The application does something.
    pub(super) fn write(&mut self, node: usize, run: u32) {
        let fsync = self.config.durable || self.rng.one_in(3);
        let next = self.now + self.config.write_every / 2 + self.rng.below(self.config.write_every);
        let host = &mut self.hosts[node];
        if host.app.run != run || host.app.state != AppState::Running {
            return;
        }
        self.queue.push(next, Happening::Write { node, run });
        let Some(engine) = host.engine.as_mut() else { return };
        let Part::Primary(primary) = &mut engine.part else { return };
        if !engine.up || !engine.accepts || primary.sealing || primary.pending.len() >= 6 || self.ops >= super::host::MOST_OPS {
            return;
        }
        let op = self.ops;
        self.ops += 1;
        host.disk.data.has |= 1 << op;
        if fsync {
            host.disk.data.stable |= 1 << op;
        }
        self.ledger.applied(node, op);
        self.submit(node, op, fsync);
    }

    /// The application is told that an operation is done.
    pub(super) fn acknowledge(&mut self, node: usize, op: u32, fsync: bool) {
        let parted = self.may_part();
        let data = self.data();
        self.log.detail(self.now, name(node), || format!("acknowledges {op}{}", if fsync { " (fsync)" } else { "" }));
        let broken = self.ledger.acknowledge(node, op, fsync, data, parted);
        self.broken(node, broken);
    }

    pub(super) fn asker(&self, node: usize) -> (Proc, u32) {
        (Proc::Engine, self.hosts[node].engine_run)
    }
}
