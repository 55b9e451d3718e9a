//! The world: two nodes and a third machine in virtual time. One seed and one plan are one history.

use super::bad::Bad;
use super::host::{AppState, Host, MOST_OPS, Ops};
use super::ledger::{Ledger, Rule};
use super::log::{Log, Tell, name};
use super::net::Net;
use super::plan::{Config, Fault};
use super::queue::{Happening, Ms, Proc, Queue};
use super::third::Third;
use crate::rng::Rng;
use cluster::failover::{Command, Event, Row};
use cluster::quorum::witness::Witness;
use std::sync::Arc;
use uuid::Uuid;

/// What a history broke.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Which promise.
    pub rule: Rule,
    /// When, in virtual milliseconds.
    pub at: Ms,
    /// In words.
    pub text: String,
}

#[derive(Clone, Debug)]
pub(super) struct World {
    pub now: Ms,
    pub queue: Queue,
    pub rng: Rng,
    pub config: Config,
    pub rows: Arc<[Row]>,
    pub bad: Bad,
    pub hosts: [Host; 2],
    pub third: Third,
    pub net: Net,
    pub ledger: Ledger,
    pub log: Log,
    pub faults: Vec<(Ms, Fault)>,
    pub sessions: u32,
    pub ops: u32,
    /// An operator accepted a loss.
    pub accepted: bool,
    pub failure: Option<Failure>,
    /// Something was wrong with a machine or a link until then.
    pub trouble: Ms,
}

/// A boot of the operating system.
const BOOT: Ms = 80;
/// The service manager starts a daemon that died.
const RESPAWN: Ms = 120;

impl World {
    pub fn new(config: Config, bad: Bad, seed: u64) -> World {
        let mut rng = Rng::new(seed);
        let incarnation = Uuid::from_u128(u128::from(rng.number()));
        World {
            now: 0,
            queue: Queue::default(),
            rng,
            net: Net::new(config.networks),
            config,
            rows: bad.rows(),
            bad,
            hosts: [Host::new(1_000_000), Host::new(77_000_000)],
            third: Third { up: true, paused: 0, witness: Witness::blank(incarnation) },
            ledger: Ledger::default(),
            log: Log::default(),
            faults: Vec::new(),
            sessions: 0,
            ops: 0,
            accepted: false,
            failure: None,
            trouble: 0,
        }
    }

    pub fn fresh(&mut self) -> Uuid {
        Uuid::from_u128(u128::from(self.rng.number()) << 64 | u128::from(self.rng.number()))
    }

    pub fn write_down(&mut self, tell: Tell) {
        self.log.tell = tell;
    }

    /// Lets time pass, unless something is broken.
    pub fn run(&mut self, until: Ms) {
        while self.failure.is_none()
            && let Some((at, what)) = self.queue.pop(until)
        {
            self.now = at;
            self.happens(what);
        }
        self.now = self.now.max(until);
    }

    fn happens(&mut self, what: Happening) {
        if let Some((node, process)) = process_of(&what)
            && self.now < self.hosts[node].paused[process]
        {
            return self.queue.push(self.hosts[node].paused[process], what);
        }
        match what {
            Happening::Packet(packet) => self.arrive(packet),
            Happening::DaemonTick { node, run } => self.daemon_tick(node, run),
            Happening::Told { node, from, run, event } => self.told(node, from, run, *event),
            Happening::EngineTick { node, run } => self.engine_tick(node, run),
            Happening::EngineUp { node, run } => self.engine_up(node, run),
            Happening::Write { node, run } => self.write(node, run),
            Happening::AppStarted { node, run } => self.app_started(node, run),
            Happening::AppStopped { node, run } => self.app_stopped(node, run),
            Happening::Boot { node } => self.boot(node),
            Happening::DaemonStart { node, boot } => {
                if self.hosts[node].boot == boot {
                    self.start_daemon(node);
                }
            }
            Happening::ThirdUp => {
                self.log.story(self.now, "witness", || "is back".into());
                self.third.up = true;
            }
            Happening::LinkBack { change } => self.links_back(change),
            Happening::Flap { change, left, mask, period } => self.flap(change, left, mask, period),
            Happening::CalmDown { change } => self.calm_down(change),
            Happening::Order { node, command } => self.order(node, command),
            Happening::Check { node, wants } => match wants {
                Some(wants) => self.feed(node, Event::CheckFailed("sql".into(), wants)),
                None => self.feed(node, Event::ChecksWell),
            },
            Happening::Fault { at } => self.strike(at),
        }
    }

    fn told(&mut self, node: usize, from: Proc, run: u32, event: Event) {
        let host = &self.hosts[node];
        let current = match from {
            Proc::App => host.app.run,
            _ => host.engine_run,
        };
        // What was said by one that is no more is worth nothing, but that its record changed.
        if current == run || matches!(event, Event::Replica(_)) {
            let event = match event {
                Event::Replica(_) => Event::Replica(host.disk.replica.clone()),
                event => event,
            };
            self.feed(node, event);
        }
    }

    /// Through the daemon; without one nobody hears.
    pub fn order(&mut self, node: usize, command: Command) {
        let host = &mut self.hosts[node];
        if host.daemon.is_none() {
            return;
        }
        match command {
            Command::Start => host.disk.wanted = true,
            Command::Stop | Command::StopAll => host.disk.wanted = false,
            Command::Failover(on) => host.disk.failover = on,
            _ => {}
        }
        self.log.story(self.now, "operator", || format!("{command:?} on {}", name(node)));
        self.feed(node, Event::Command(command));
    }

    pub fn boot(&mut self, node: usize) {
        let host = &mut self.hosts[node];
        if host.up {
            return;
        }
        host.up = true;
        host.boot += 1;
        host.disk.replica.reboot(self.config.durable);
        let boot = host.boot;
        self.log.story(self.now, name(node), || "boots".into());
        self.queue.push(self.now + BOOT, Happening::DaemonStart { node, boot });
    }

    /// All processes end at once, and with `loses` what was not flushed is gone. `put_back`: the disk is the snapshot's.
    pub fn power_off(&mut self, node: usize, loses: bool, put_back: bool) {
        let chance = Ops::from(self.rng.number()) << 64 | Ops::from(self.rng.number());
        let host = &mut self.hosts[node];
        if !host.up {
            return;
        }
        host.up = false;
        (host.daemon, host.engine) = (None, None);
        host.app.state = AppState::Down;
        host.app.run = host.next_run();
        host.paused = [0; 3];
        host.addresses = false;
        let data = &mut host.disk.data;
        if loses {
            data.has = data.stable | data.has & chance;
        }
        data.flush();
        // Whether anything was lost cannot be told afterwards: what was not fsynced does not count any more.
        let left = data.has;
        self.ledger.power_cut(node, left);
        if put_back && let Some((replica, data)) = self.hosts[node].snapshot.clone() {
            let host = &mut self.hosts[node];
            host.doubtful = true;
            (host.disk.replica, host.disk.data) = (replica, data);
            self.ledger.put_back(node, data.has);
        }
        self.trouble = self.now;
    }

    pub fn kill_daemon(&mut self, node: usize, respawn: bool) {
        let host = &mut self.hosts[node];
        if host.daemon.take().is_some() && respawn {
            let boot = host.boot;
            self.queue.push(self.now + RESPAWN, Happening::DaemonStart { node, boot });
        }
        self.trouble = self.now;
    }

    /// A node went on alone: its engine's generation has begun.
    pub fn begins(&mut self, node: usize) {
        let parted = self.may_part();
        self.log.detail(self.now, name(node), || "begins a generation of its own".into());
        let has = self.hosts[node].disk.data.has;
        let peer = &self.hosts[1 - node];
        let newer = peer.disk.replica.data == cluster::replica::Data::Uptodate && peer.disk.wanted && !peer.disk.replica.rebooted;
        let alone = peer.daemon.is_none() || !newer || !self.net.whole();
        if std::mem::take(&mut self.hosts[node].doubtful) && alone {
            self.ledger.unnoticed(node, has);
        }
        let broken = self.ledger.begins(node, has, parted);
        self.broken(node, broken);
    }

    /// Where nothing remembers, nodes that do not hear each other may both go on.
    pub fn may_part(&self) -> bool {
        let grace = self.config.policy.profile.promote.as_millis() as Ms * 10;
        let alive = |host: &Host| host.up && host.daemon.is_some() && host.paused.iter().all(|&until| until <= self.now);
        let well = self.net.whole() && self.net.loss == 0 && self.net.slow == 0 && self.hosts.iter().all(alive);
        !self.config.policy.kind.remembers() && (!well || self.now.saturating_sub(self.trouble) < grace)
    }

    pub fn broken(&mut self, node: usize, broken: Option<(Rule, Ops)>) {
        if let Some((rule, ops)) = broken {
            let list: Vec<String> = (0..MOST_OPS).filter(|&op| ops >> op & 1 == 1).map(|op| op.to_string()).collect();
            let what = match rule {
                Rule::TwoHistories => "acknowledges in a history without acknowledged operations",
                Rule::Stale => "begins to serve without acknowledged operations",
                Rule::HalfCopy => "begins to serve half a copy; missing",
                Rule::NotKept => "throws acknowledged operations away",
                Rule::NotEqual => "is in sync without acknowledged operations",
                _ => "has lost acknowledged operations",
            };
            self.fail(rule, format!("{} {what}: {}", name(node), list.join(" ")));
        }
    }

    pub fn fail(&mut self, rule: Rule, text: String) {
        if self.failure.is_none() {
            self.log.story(self.now, "JUDGE", || text.clone());
            self.failure = Some(Failure { rule, at: self.now, text });
        }
    }
}

fn process_of(what: &Happening) -> Option<(usize, usize)> {
    match *what {
        Happening::DaemonTick { node, .. }
        | Happening::Told { node, .. }
        | Happening::Order { node, .. }
        | Happening::Check { node, .. } => Some((node, 0)),
        Happening::EngineTick { node, .. } | Happening::EngineUp { node, .. } => Some((node, 1)),
        Happening::Write { node, .. } | Happening::AppStarted { node, .. } | Happening::AppStopped { node, .. } => Some((node, 2)),
        _ => None,
    }
}
