//! What goes wrong and when, chosen by the seed before the history begins, so that it can be made shorter.

use super::queue::{Ms, Proc};
use crate::rng::Rng;
use cluster::NodeId;
use cluster::failover::{Accept, Command, OnFailure, Policy};
use cluster::heartbeat::Profile;
use cluster::quorum::Kind;
use std::time::Duration;

/// One thing that goes wrong, or that an operator orders.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Directions of the networks in `networks` (bits) are cut.
    Cut {
        /// Bits of networks.
        networks: u8,
        /// 1: to the second node, 2: to the first.
        directions: u8,
        /// How long.
        length: Ms,
    },
    /// A node and the third machine.
    CutThird {
        /// Bits of nodes.
        nodes: u8,
        /// 1: to it, 2: from it.
        directions: u8,
        /// How long.
        length: Ms,
    },
    /// All networks come and go.
    Flap {
        /// Of each change.
        period: Ms,
        /// How often.
        times: u32,
        /// Bits of directions.
        directions: u8,
    },
    /// Packets are lost, doubled and late.
    Storm {
        /// Of 1000.
        loss: u64,
        /// Of 1000.
        double: u64,
        /// At most.
        slow: Ms,
        /// How long.
        length: Ms,
    },
    /// A process stands still.
    Pause {
        /// Where.
        node: usize,
        /// Which; none: the whole machine.
        process: Option<Proc>,
        /// How long.
        length: Ms,
    },
    /// The witness stands still.
    PauseThird {
        /// How long.
        length: Ms,
    },
    /// A process is killed.
    Kill {
        /// Where.
        node: usize,
        /// Which.
        process: Proc,
    },
    /// Daemon and engine at once.
    KillBoth {
        /// Where.
        node: usize,
    },
    /// The machine stops.
    Off {
        /// Where.
        node: usize,
        /// What was not flushed is gone.
        loses: bool,
        /// The disk is the last snapshot's when it comes back.
        put_back: bool,
        /// After so long.
        back: Ms,
    },
    /// Both lose their power; they come back after so long.
    BothOff {
        /// The first node.
        first: Ms,
        /// The second node.
        second: Ms,
    },
    /// A snapshot that the disk may be put back to.
    Snapshot {
        /// Where.
        node: usize,
    },
    /// The machine loses its power at the next record.
    DieAtRecord {
        /// Where.
        node: usize,
        /// What was to be recorded is there.
        after: bool,
        /// Back after so long.
        back: Ms,
    },
    /// The third machine is down.
    ThirdOff {
        /// Its disk is lost.
        blank: bool,
        /// How long.
        length: Ms,
    },
    /// A clock goes at another rate (1000 is right) and jumps ahead.
    Clock {
        /// Where.
        node: usize,
        /// Microseconds for each millisecond.
        rate: u64,
        /// Ahead.
        jump: Ms,
    },
    /// The application ends by itself.
    AppFails {
        /// Where.
        node: usize,
    },
    /// The application does not stop when asked.
    AppHangs {
        /// Where.
        node: usize,
    },
    /// A check fails and passes again.
    Check {
        /// Where.
        node: usize,
        /// What it wants.
        wants: OnFailure,
        /// How long.
        length: Ms,
    },
    /// An operator.
    Order {
        /// Where.
        node: usize,
        /// What.
        command: Command,
    },
    /// An operator stops both.
    StopAll,
}

/// A cluster.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Config {
    pub policy: Policy,
    pub networks: usize,
    /// `ack = "disk"`: everything acknowledged is flushed.
    pub durable: bool,
    /// Mean pause between writes.
    pub write_every: Ms,
}

/// All times in the proportions of `lan`, shorter, so that many histories fit into a minute.
pub(super) const SHORT: Profile = Profile {
    pulse: ms(80),
    degrade: ms(320),
    promote: ms(500),
    patience: ms(50),
    resend: ms(70),
    witness_away: ms(800),
    witness_pulse: ms(250),
    look: ms(900),
    hold: ms(2500),
    settle: ms(1500),
};

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// Faults fall into so much time.
pub(super) const WINDOW: Ms = 3500;

impl Config {
    pub fn short(kind: Kind) -> Config {
        let policy = Policy { start_timeout: ms(500), stop_timeout: ms(500), ..Policy::new(kind, SHORT) };
        Config { policy, networks: 2, durable: false, write_every: 100 }
    }

    /// For stories: the times of the product.
    pub fn lan(kind: Kind) -> Config {
        let policy = Policy { start_timeout: ms(60_000), stop_timeout: ms(60_000), ..Policy::new(kind, Profile::LAN) };
        Config { policy, networks: 2, durable: false, write_every: 400 }
    }
}

/// What is tried in one history.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The seed it came from; also of everything that chance does in it.
    pub seed: u64,
    /// Which cluster: an index into [`configs`].
    pub(super) config: usize,
    /// What goes wrong, in order.
    pub faults: Vec<(Ms, Fault)>,
}

/// The clusters that histories choose from. The witness is there most often: it promises most.
pub(super) fn configs() -> Vec<Config> {
    let witness = Config::short(Kind::Witness);
    let failback = Policy { preferred: Some(NodeId(1)), failback: true, ..witness.policy };
    vec![
        witness,
        Config { networks: 1, ..witness },
        Config { durable: true, ..witness },
        Config { policy: failback, ..witness },
        Config::short(Kind::None),
        Config { networks: 1, ..Config::short(Kind::Tiebreaker) },
    ]
}

impl Plan {
    /// Of one seed.
    pub fn of(seed: u64) -> Plan {
        let mut rng = Rng::new(seed ^ 0x51_7e);
        let config = rng.pick(&[0, 0, 0, 1, 1, 2, 3, 4, 5]);
        let count = 1 + rng.below(7);
        let mut faults: Vec<(Ms, Fault)> = (0..count).map(|_| (rng.below(WINDOW), fault(&mut rng))).collect();
        // Trouble rarely comes alone: a second one where it hurts, just after the first.
        if rng.one_in(2) {
            let near = faults[0].0 + rng.below(200);
            faults.push((near, fault(&mut rng)));
        }
        if rng.one_in(8) {
            let (at, length) = (rng.below(1000), 900 + rng.below(1500));
            let blank = rng.one_in(3);
            let away = Fault::CutThird { nodes: 3, directions: 3, length };
            faults.push((at, rng.pick(&[away, Fault::ThirdOff { blank, length }])));
            faults.push((at + 800 + rng.below(1000), grave(&mut rng)));
        }
        faults.sort_by_key(|(at, _)| *at);
        Plan { seed, config, faults }
    }
}

fn length(rng: &mut Rng) -> Ms {
    let most = rng.pick(&[60, 200, 450, 900, 1800, 3000]);
    20 + rng.below(most)
}

/// The nodes lose each other.
fn grave(rng: &mut Rng) -> Fault {
    let (node, length) = (rng.below(2) as usize, 900 + rng.below(2000));
    rng.pick(&[
        Fault::Cut { networks: 3, directions: 3, length },
        Fault::Off { node, loses: true, put_back: false, back: length },
        Fault::Pause { node, process: None, length },
        Fault::KillBoth { node },
    ])
}

fn fault(rng: &mut Rng) -> Fault {
    let node = rng.below(2) as usize;
    let directions = rng.pick(&[1, 2, 3, 3, 3]);
    match rng.below(32) {
        0..=3 => Fault::Cut { networks: rng.pick(&[1, 2, 3, 3, 3]), directions, length: length(rng) },
        4..=5 => Fault::CutThird { nodes: rng.pick(&[1, 2, 3]), directions, length: length(rng) },
        6 => Fault::Flap { period: 30 + rng.below(700), times: 2 + rng.below(8) as u32, directions },
        7..=8 => Fault::Storm { loss: rng.below(600), double: rng.below(300), slow: 1 + rng.below(400), length: length(rng) },
        9..=11 => {
            let process = rng.pick(&[None, Some(Proc::Daemon), Some(Proc::Engine), Some(Proc::Engine)]);
            Fault::Pause { node, process, length: length(rng) }
        }
        12 => Fault::PauseThird { length: length(rng) },
        13..=14 => Fault::Kill { node, process: rng.pick(&[Proc::Daemon, Proc::Engine, Proc::App]) },
        15 => Fault::KillBoth { node },
        16..=18 => Fault::Off { node, loses: !rng.one_in(4), put_back: false, back: length(rng) },
        19 => Fault::BothOff { first: length(rng), second: length(rng) },
        20 => Fault::Snapshot { node },
        21 => Fault::Off { node, loses: true, put_back: true, back: length(rng) },
        22..=23 => Fault::DieAtRecord { node, after: rng.one_in(2), back: length(rng) },
        24 => Fault::ThirdOff { blank: rng.one_in(2), length: length(rng) },
        25 => Fault::Clock { node, rate: 700 + rng.below(700), jump: rng.pick(&[0, 0, 100, 1000, 100_000]) },
        26 => rng.pick(&[Fault::AppFails { node }, Fault::AppHangs { node }]),
        27 => Fault::Check { node, wants: rng.pick(&[OnFailure::Failover, OnFailure::Stop, OnFailure::Wait]), length: length(rng) },
        28 => rng.pick(&[Fault::StopAll, Fault::Order { node, command: Command::Start }]),
        _ => Fault::Order { node, command: command(rng) },
    }
}

fn command(rng: &mut Rng) -> Command {
    match rng.below(24) {
        0..=7 => Command::Swap,
        8..=11 => Command::Stop,
        12..=16 => Command::Start,
        17 => Command::Restart,
        18..=19 => Command::Failover(rng.one_in(2)),
        20..=21 => Command::Promote(None),
        22 => Command::Reset,
        _ => Command::Promote(Some(rng.pick(&[Accept::First, Accept::Outdated, Accept::Inconsistent, Accept::Split]))),
    }
}
