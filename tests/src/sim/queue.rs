//! Virtual time: what happens next, in an order that only the seed decides.

use super::engine::Frame;
use cluster::failover::{Command, Event, Facts, OnFailure};
use cluster::heartbeat::Beat;
use cluster::quorum::{Answer, PeerQuestion, witness};
use cluster::replica::Generation;
use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::rc::Rc;

/// Milliseconds of the world's time, which no process can read.
pub type Ms = u64;

/// A program on a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proc {
    /// The cluster's daemon.
    Daemon,
    /// The module's engine.
    Engine,
    /// The application.
    App,
}

/// What travels over a network.
#[derive(Clone, Debug)]
pub(super) enum Body {
    Beat(Beat),
    Facts { epoch: u64, version: u64, facts: Rc<Facts> },
    FactsHeard { epoch: u64, version: u64, by: u64 },
    Question { asker: Proc, run: u32, question: Rc<PeerQuestion> },
    Answer { asker: Proc, run: u32, next: Generation, answer: Answer },
    Connect { session: u32 },
    Accept { session: u32 },
    Stream { session: u32, number: u32, frame: Frame },
    Closed { session: u32 },
    AskWitness { asker: Proc, run: u32, request: Rc<witness::Request> },
    Witness { asker: Proc, run: u32, reply: Rc<witness::Reply> },
    Ping { asker: Proc, run: u32 },
    Pong { asker: Proc, run: u32 },
}

/// Where a packet goes; the third machine is the witness or the tiebreaker.
pub(super) const THIRD: usize = 2;

/// One packet. Between nodes it travels on `network`; to and from the third machine there is one way.
#[derive(Clone, Debug)]
pub(super) struct Packet {
    pub from: usize,
    pub to: usize,
    pub network: usize,
    pub body: Body,
}

/// What happens. `run` tells one start of a process from the next.
#[derive(Clone, Debug)]
pub(super) enum Happening {
    Packet(Box<Packet>),
    DaemonTick {
        node: usize,
        run: u32,
    },
    /// The engine (or the application) of this run tells the daemon.
    Told {
        node: usize,
        from: Proc,
        run: u32,
        event: Box<Event>,
    },
    EngineTick {
        node: usize,
        run: u32,
    },
    EngineUp {
        node: usize,
        run: u32,
    },
    Write {
        node: usize,
        run: u32,
    },
    AppStarted {
        node: usize,
        run: u32,
    },
    AppStopped {
        node: usize,
        run: u32,
    },
    Boot {
        node: usize,
    },
    DaemonStart {
        node: usize,
        boot: u32,
    },
    ThirdUp,
    LinkBack {
        change: u32,
    },
    Flap {
        change: u32,
        left: u32,
        mask: u8,
        period: Ms,
    },
    CalmDown {
        change: u32,
    },
    Order {
        node: usize,
        command: Command,
    },
    Check {
        node: usize,
        wants: Option<OnFailure>,
    },
    Fault {
        at: usize,
    },
}

#[derive(Clone, Debug)]
struct Slot {
    at: Ms,
    order: u64,
    what: Happening,
}

impl PartialEq for Slot {
    fn eq(&self, other: &Slot) -> bool {
        (self.at, self.order) == (other.at, other.order)
    }
}

impl Eq for Slot {}

impl PartialOrd for Slot {
    fn partial_cmp(&self, other: &Slot) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Slot {
    /// The heap gives the greatest first: the earliest is the greatest.
    fn cmp(&self, other: &Slot) -> Ordering {
        (other.at, other.order).cmp(&(self.at, self.order))
    }
}

/// Everything that is going to happen. What was put in first comes first among equals.
#[derive(Clone, Debug, Default)]
pub(super) struct Queue {
    heap: BinaryHeap<Slot>,
    order: u64,
}

impl Queue {
    pub fn push(&mut self, at: Ms, what: Happening) {
        self.order += 1;
        self.heap.push(Slot { at, order: self.order, what });
    }

    /// The next one before or at `end`.
    pub fn pop(&mut self, end: Ms) -> Option<(Ms, Happening)> {
        if self.heap.peek()?.at > end {
            return None;
        }
        self.heap.pop().map(|slot| (slot.at, slot.what))
    }
}
