//! One machine: its clock, its disk, and the processes on it.

use super::daemon::Daemon;
use super::engine::Engine;
use super::queue::Ms;
use cluster::Moment;
use cluster::replica::Replica;
use std::time::Duration;

/// Operations as a set: the bit of each one. There are never more than this many in one history.
pub(super) type Ops = u128;
/// Most operations of a history.
pub(super) const MOST_OPS: u32 = 120;

/// A clock that drifts and jumps ahead; it never goes back.
#[derive(Clone, Debug)]
pub(super) struct Clock {
    base: u64,
    since: Ms,
    /// Microseconds that it counts in a millisecond.
    pub rate: u64,
}

impl Clock {
    pub fn new(base: u64) -> Clock {
        Clock { base, since: 0, rate: 1000 }
    }

    fn micros(&self, now: Ms) -> u64 {
        self.base + (now - self.since) * self.rate
    }

    pub fn moment(&self, now: Ms) -> Moment {
        Duration::from_micros(self.micros(now))
    }

    /// Goes at another rate from now on, and `jump` ms ahead at once.
    pub fn change(&mut self, now: Ms, rate: u64, jump: Ms) {
        self.base = self.micros(now) + jump * 1000;
        self.since = now;
        self.rate = rate;
    }

    /// World time that passes while it counts `span`.
    pub fn world(&self, span: Duration) -> Ms {
        (span.as_micros() as u64 / self.rate).max(1)
    }
}

/// The replicated directory: what is in it, and what of that a power cut leaves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Data {
    pub has: Ops,
    pub stable: Ops,
}

impl Data {
    pub fn flush(&mut self) {
        self.stable = self.has;
    }
}

/// What a disk keeps. The record of the replica is always stored synchronously.
#[derive(Clone, Debug, Default)]
pub(super) struct Disk {
    pub replica: Replica,
    pub data: Data,
    /// The operator wants the module started here.
    pub wanted: bool,
    pub failover: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AppState {
    Down,
    Starting,
    Running,
    Stopping,
}

#[derive(Clone, Debug)]
pub(super) struct App {
    pub run: u32,
    pub state: AppState,
    /// Does not stop when asked.
    pub hangs: bool,
}

/// Dies at its next record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DieAt {
    /// What was to be recorded is lost.
    Before,
    /// It is recorded, and nothing comes of it.
    After,
}

#[derive(Clone, Debug)]
pub(super) struct Host {
    pub up: bool,
    pub boot: u32,
    pub clock: Clock,
    pub disk: Disk,
    /// What the disk may be put back to.
    pub snapshot: Option<(Replica, Data)>,
    pub daemon: Option<Daemon>,
    pub engine: Option<Engine>,
    pub app: App,
    /// Counts starts, per process.
    pub runs: u32,
    /// Of the engine that was started last.
    pub engine_run: u32,
    /// Until when daemon, engine, application stand still.
    pub paused: [Ms; 3],
    pub die: Option<DieAt>,
    /// The disk was put back: its own record cannot tell.
    pub doubtful: bool,
    pub addresses: bool,
}

impl Host {
    pub fn new(base: u64) -> Host {
        Host {
            up: false,
            boot: 0,
            clock: Clock::new(base),
            disk: Disk { failover: true, ..Disk::default() },
            snapshot: None,
            daemon: None,
            engine: None,
            app: App { run: 0, state: AppState::Down, hangs: false },
            runs: 0,
            engine_run: 0,
            paused: [0; 3],
            die: None,
            doubtful: false,
            addresses: false,
        }
    }

    pub fn next_run(&mut self) -> u32 {
        self.runs += 1;
        self.runs
    }
}
