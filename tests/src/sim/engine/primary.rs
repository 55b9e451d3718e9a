//! The primary's half: alone, resyncing, a mirror, holding replies.

use super::{Frame, Part, World};
use crate::sim::log::name;
use crate::sim::queue::{Body, THIRD};
use cluster::Moment;
use cluster::failover::Event;
use cluster::quorum::agreement::{self, Agreement, Do};
use cluster::quorum::{Ask, AskEvent, Granter, PeerQuestion, Verdict, notice, witness};
use cluster::replica::{Generation, Party, Replica};
use std::rc::Rc;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::sim) enum Mode {
    /// No session; acknowledges alone.
    Alone,
    /// Resyncs; acknowledges alone.
    Syncing,
    /// Replies wait for the secondary; it has not yet said that it has everything.
    Closing,
    /// In sync.
    Mirror,
    /// The secondary is lost: replies are held, and the question is out.
    Holding,
    /// Another history has won.
    Refused,
}

/// An operation that is not acknowledged yet.
#[derive(Clone, Copy, Debug)]
pub(in crate::sim) struct Pending {
    pub op: u32,
    pub fsync: bool,
}

#[derive(Clone, Debug)]
pub(in crate::sim) struct Primary {
    pub mode: Mode,
    pub pending: Vec<Pending>,
    pub sealing: bool,
    pub sealed: bool,
    leaving: bool,
    agreement: Option<Agreement>,
    ask: Option<Ask>,
    told_held: bool,
    /// The witness does not know of this generation yet.
    notice: bool,
    /// The operator's word goes to the witness, over this version of its record.
    force: Option<u64>,
    witness_asked: Option<Moment>,
    connecting: u32,
    connected_at: Option<Moment>,
}

impl Primary {
    pub fn new(force: bool, notice: bool) -> Primary {
        Primary {
            mode: Mode::Alone,
            pending: Vec::new(),
            sealing: false,
            sealed: false,
            leaving: false,
            agreement: None,
            ask: None,
            told_held: false,
            notice,
            force: force.then_some(0),
            witness_asked: None,
            connecting: 0,
            connected_at: None,
        }
    }

    pub fn in_sync(&self) -> bool {
        self.mode == Mode::Mirror
    }

    /// Either node can fail from here.
    pub fn armed(&self) -> bool {
        self.agreement.as_ref().is_some_and(Agreement::armed)
    }

    pub fn alone(&self) -> bool {
        matches!(self.mode, Mode::Alone | Mode::Syncing | Mode::Closing)
    }
}

impl World {
    pub(in crate::sim) fn primary(&mut self, node: usize) -> Option<&mut Primary> {
        match self.hosts[node].engine.as_mut().map(|engine| &mut engine.part) {
            Some(Part::Primary(primary)) => Some(primary),
            _ => None,
        }
    }

    pub(super) fn submit(&mut self, node: usize, op: u32, fsync: bool) {
        let Some(primary) = self.primary(node) else { return };
        let mode = primary.mode;
        match mode {
            Mode::Closing | Mode::Mirror | Mode::Holding | Mode::Refused => primary.pending.push(Pending { op, fsync }),
            Mode::Alone | Mode::Syncing => {}
        }
        match mode {
            Mode::Alone => self.acknowledge(node, op, fsync),
            Mode::Syncing => {
                self.acknowledge(node, op, fsync);
                self.say(node, Frame::Op { op, fsync });
            }
            Mode::Closing | Mode::Mirror => self.say(node, Frame::Op { op, fsync }),
            Mode::Holding if self.bad.acks_before_grant => self.release(node),
            Mode::Holding | Mode::Refused => {}
        }
    }

    pub(super) fn primary_tick(&mut self, node: usize, now: Moment) {
        let profile = self.config.policy.profile;
        self.step_agreement(node, &agreement::Event::Tick);
        self.engine_asks(node, AskEvent::Tick);
        self.tell_witness(node, now);
        let Some(primary) = self.primary(node) else { return };
        let held = primary.ask.as_ref().is_some_and(|ask| now.saturating_sub(ask.since()) >= profile.hold);
        if held && !std::mem::replace(&mut primary.told_held, true) {
            self.tell(node, Event::HeldTooLong);
        }
        self.try_seal(node);
        self.connect(node, now);
    }

    fn connect(&mut self, node: usize, now: Moment) {
        let (resend, network) = (self.config.policy.profile.resend, self.best_network());
        let session = self.sessions + 1;
        let Some(primary) = self.primary(node) else { return };
        let due = primary.connected_at.is_none_or(|at| now.saturating_sub(at) >= resend);
        if primary.mode == Mode::Alone && !primary.sealing && due {
            (primary.connecting, primary.connected_at) = (session, Some(now));
            self.sessions = session;
            self.send(node, 1 - node, network, Body::Connect { session });
        }
    }

    pub(super) fn hear_accept(&mut self, node: usize, session: u32) {
        let replica = self.hosts[node].disk.replica.clone();
        let fits = self
            .primary(node)
            .is_some_and(|primary| primary.mode == Mode::Alone && !primary.sealing && std::mem::take(&mut primary.connecting) == session);
        if !fits {
            return;
        }
        self.with_engine(node, |engine| engine.open(session));
        let party = Party { node: World::node_id(node), replica, willing: true, serving: true };
        self.mode(node, Mode::Syncing);
        self.say(node, Frame::Begin(Rc::new(party)));
        self.tell(node, Event::Replication(true));
    }

    fn mode(&mut self, node: usize, mode: Mode) {
        if let Some(primary) = self.primary(node) {
            primary.mode = mode;
        }
    }

    pub(super) fn primary_hears(&mut self, node: usize, frame: Frame) {
        let has = self.hosts[node].disk.data.has;
        let Some(primary) = self.primary(node) else { return };
        match (frame, primary.mode) {
            (Frame::Torn, Mode::Syncing) => self.say(node, Frame::Copy(has)),
            (Frame::Copied, Mode::Syncing) => self.close_in(node),
            (Frame::InSync, Mode::Closing) => {
                let (kind, profile) = (self.config.policy.kind, self.config.policy.profile);
                let host = &self.hosts[node];
                let (me, peer) = (World::node_id(node), World::node_id(1 - node));
                let generation = host.disk.replica.current.unwrap_or_default();
                let agreement = Agreement::new(kind, profile, me, peer, generation, host.clock.moment(self.now));
                if let Some(primary) = self.primary(node) {
                    primary.agreement = Some(agreement);
                    primary.mode = Mode::Mirror;
                    primary.notice = false;
                }
                self.tell(node, Event::InSync);
                self.step_agreement(node, &agreement::Event::Tick);
            }
            (Frame::Acked(op), Mode::Closing | Mode::Mirror) => {
                if let Some(at) = primary.pending.iter().position(|pending| pending.op == op) {
                    let Pending { op, fsync } = primary.pending.remove(at);
                    if self.engine(node).is_some_and(|engine| engine.accepts && !engine.errors) {
                        self.acknowledge(node, op, fsync);
                    }
                }
                self.try_seal(node);
            }
            (Frame::Word(word), Mode::Mirror) => self.step_agreement(node, &agreement::Event::Word(word)),
            (Frame::Left, Mode::Mirror) if primary.leaving => self.sealed(node),
            (Frame::Leaving, _) => self.lose(node, "was stopped"),
            _ => {}
        }
    }

    /// From here on the secondary may have what is acknowledged: recorded before it may record that it has everything.
    fn close_in(&mut self, node: usize) {
        let recorded = self.bad.closes_in_unrecorded || self.record(node, Replica::close_in);
        if recorded {
            self.tell_replica(node);
            self.mode(node, Mode::Closing);
            let mut replica = self.hosts[node].disk.replica.clone();
            replica.close_in();
            self.say(node, Frame::Done(Rc::new(replica)));
        }
    }

    /// The secondary is gone.
    pub(super) fn lose(&mut self, node: usize, why: &str) {
        let session = self.engine(node).map_or(0, |engine| std::mem::take(&mut engine.session));
        let network = self.best_network();
        self.send(node, 1 - node, network, Body::Closed { session });
        let Some(primary) = self.primary(node) else { return };
        primary.agreement = None;
        primary.leaving = false;
        match primary.mode {
            Mode::Syncing => {
                primary.mode = Mode::Alone;
                self.tell(node, Event::Replication(false));
            }
            Mode::Closing | Mode::Mirror if primary.sealed => {}
            Mode::Closing | Mode::Mirror => {
                primary.mode = Mode::Holding;
                self.tell(node, Event::Holding(why.into()));
                self.log.detail(self.now, name(node), || format!("loses the secondary ({why}) and holds replies"));
                self.hold(node);
            }
            _ => {}
        }
    }

    fn hold(&mut self, node: usize) {
        let fresh = self.fresh();
        let mut next = fresh;
        if !self.record(node, |replica| next = replica.intend(fresh)) {
            return;
        }
        let host = &self.hosts[node];
        let from = Party { node: World::node_id(node), replica: host.disk.replica.clone(), willing: true, serving: true };
        let (kind, profile, now) = (self.config.policy.kind, self.config.policy.profile, host.clock.moment(self.now));
        if let Some(primary) = self.primary(node) {
            primary.told_held = false;
            primary.ask = Some(Ask::new(kind, profile, PeerQuestion { from, next }, now));
        }
        self.tell_replica(node);
        if self.bad.acks_before_grant {
            self.release(node);
        }
        self.engine_asks(node, AskEvent::Tick);
    }

    pub(super) fn engine_asks(&mut self, node: usize, event: AskEvent) {
        let now = self.hosts[node].clock.moment(self.now);
        let Some(primary) = self.primary(node) else { return };
        let Some(ask) = &mut primary.ask else { return };
        let (send, verdict) = ask.step(now, event);
        let next = ask.next();
        match verdict {
            Some(Verdict::Granted { by, superseded }) => {
                primary.ask = None;
                self.log.detail(self.now, name(node), || format!("may go on alone, by {by:?}"));
                self.goes_on(node, next, &superseded, by != Granter::Witness);
            }
            Some(Verdict::Refused { reason }) => {
                primary.ask = None;
                primary.mode = Mode::Refused;
                self.with_engine(node, |engine| engine.accepts = false);
                if self.record(node, Replica::superseded) {
                    self.tell_replica(node);
                    self.tell(node, Event::Refused(reason.into()));
                }
            }
            None => {
                let (asker, run) = self.asker(node);
                self.send_ask(node, asker, run, send);
            }
        }
    }

    /// Begins `next`, then gives the replies that were held.
    fn goes_on(&mut self, node: usize, next: Generation, superseded: &[Generation], notice: bool) {
        if !self.record(node, |replica| replica.commit(next, superseded)) {
            return;
        }
        let remembers = self.config.policy.kind.remembers();
        if let Some(primary) = self.primary(node) {
            primary.mode = Mode::Alone;
            primary.notice = notice && remembers;
            primary.witness_asked = None;
        }
        self.tell_replica(node);
        self.tell(node, Event::Degraded);
        self.release(node);
        self.try_seal(node);
    }

    fn release(&mut self, node: usize) {
        let Some(engine) = self.engine(node) else { return };
        let answers = engine.accepts && !engine.errors;
        let held = self.primary(node).map_or_else(Vec::new, |primary| std::mem::take(&mut primary.pending));
        for Pending { op, fsync } in held.into_iter().filter(|_| answers) {
            self.acknowledge(node, op, fsync);
        }
    }

    /// The operator chose this history while both serve.
    pub(in crate::sim) fn engine_overrules(&mut self, node: usize, superseded: &[Generation]) {
        let next = self.fresh();
        if let Some(primary) = self.primary(node) {
            (primary.ask, primary.agreement) = (None, None);
            primary.force = Some(0);
        }
        if let Some(session) = self.engine(node).map(|engine| std::mem::take(&mut engine.session)) {
            let network = self.best_network();
            self.send(node, 1 - node, network, Body::Closed { session });
        }
        self.goes_on(node, next, superseded, false);
    }

    pub(super) fn step_agreement(&mut self, node: usize, event: &agreement::Event) {
        let now = self.hosts[node].clock.moment(self.now);
        let (asker, run) = self.asker(node);
        let Some(primary) = self.primary(node) else { return };
        let Some(agreement) = &mut primary.agreement else { return };
        for todo in agreement.step(now, event) {
            match todo {
                Do::Witness(request) => self.send(node, THIRD, 0, Body::AskWitness { asker, run, request: Rc::new(request) }),
                Do::Ping => self.send(node, THIRD, 0, Body::Ping { asker, run }),
                Do::Say(word) => self.say(node, Frame::Word(word)),
                Do::Record(right) => {
                    if !self.record(node, |replica| replica.right = right) {
                        return;
                    }
                    self.tell_replica(node);
                }
            }
        }
    }

    /// What the witness is told beside questions and agreements.
    fn tell_witness(&mut self, node: usize, now: Moment) {
        let pulse = self.config.policy.profile.witness_pulse;
        let (asker, run) = self.asker(node);
        let replica = &self.hosts[node].disk.replica;
        let (notice, next) = (notice(World::node_id(node), replica), replica.current.unwrap_or_default());
        let Some(primary) = self.primary(node) else { return };
        if primary.witness_asked.is_some_and(|at| now.saturating_sub(at) < pulse) || !primary.alone() {
            return;
        }
        let force = primary.force.map(|version| witness::Request::Force { version, by: World::node_id(node), next });
        if let Some(request) = force.or(notice.filter(|_| primary.notice)) {
            primary.witness_asked = Some(now);
            self.send(node, THIRD, 0, Body::AskWitness { asker, run, request: Rc::new(request) });
        }
    }

    pub(super) fn hear_witness(&mut self, node: usize, reply: &witness::Reply) {
        let current = self.hosts[node].disk.replica.current;
        if let Some(primary) = self.primary(node) {
            match reply {
                witness::Reply::Granted { generation } if Some(*generation) == current => {
                    (primary.notice, primary.force) = (false, None);
                }
                witness::Reply::Refused { record } if primary.force.is_some() => primary.force = Some(record.version),
                witness::Reply::Blank if primary.force.is_some() => primary.force = Some(0),
                _ => {}
            }
        }
        self.engine_asks(node, AskEvent::Witness(reply.clone()));
        self.step_agreement(node, &agreement::Event::Witness(reply.clone()));
    }

    pub(super) fn seal_primary(&mut self, node: usize) {
        if let Some(primary) = self.primary(node) {
            primary.sealing = true;
        }
        self.try_seal(node);
    }

    /// Ends when nothing is in flight: in sync together with the secondary, else alone.
    fn try_seal(&mut self, node: usize) {
        let Some(primary) = self.primary(node) else { return };
        if !primary.sealing || primary.sealed || primary.leaving || !primary.pending.is_empty() {
            return;
        }
        match primary.mode {
            Mode::Mirror => {
                primary.leaving = true;
                self.say(node, Frame::Leave);
            }
            Mode::Alone | Mode::Syncing => self.sealed(node),
            Mode::Closing | Mode::Holding | Mode::Refused => {}
        }
    }

    /// Clean is recorded when everything is on the disk.
    fn sealed(&mut self, node: usize) {
        self.hosts[node].disk.data.flush();
        if !self.record(node, |replica| replica.clean = true) {
            return;
        }
        let network = self.best_network();
        if let Some(primary) = self.primary(node) {
            primary.sealed = true;
            primary.agreement = None;
        }
        if let Some(session) = self.engine(node).map(|engine| std::mem::take(&mut engine.session)) {
            self.send(node, 1 - node, network, Body::Closed { session });
        }
        self.tell_replica(node);
        self.tell(node, Event::Sealed);
    }
}
