//! Plays plans, tells failures, and makes them short.

use super::bad::Bad;
use super::ledger::Rule;
use super::log::Tell;
use super::plan::{Config, Fault, Plan, WINDOW, configs};
use super::queue::{Happening, Ms};
use super::world::{Failure, World};
use crate::rng::Rng;
use cluster::failover::{Accept, Command};

/// How a history ended.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// None: all promises held.
    pub failure: Option<Failure>,
    /// Virtual time from the last repair until it was ready.
    pub recovery: Option<Ms>,
    /// Operations that were acknowledged.
    pub acknowledged: u32,
    /// What was told of it.
    pub lines: Vec<String>,
}

/// Plays many histories of the same clusters: each begins with a pair in sync, which is made once.
#[derive(Debug)]
pub struct Simulator {
    begun: Vec<World>,
}

impl Simulator {
    /// With what is wrong on purpose, if anything.
    pub fn new(bad: Bad) -> Simulator {
        Simulator { begun: configs().into_iter().map(|config| begin(config, bad, Tell::Nothing)).collect() }
    }

    /// One history.
    pub fn play(&self, plan: &Plan, tell: Tell) -> Outcome {
        let mut world = self.begun[plan.config].clone();
        world.rng = Rng::new(plan.seed);
        world.write_down(tell);
        world.log.lines.clear();
        world.log.zero = world.now;
        world.expect(&plan.faults);
        let end = world.now + plan.faults.last().map_or(0, |(at, _)| *at) + world.rng.below(WINDOW / 4);
        world.run(end);
        world.repair();
        world.wait_for_pauses();
        let recovery = world.recover(explained(&plan.faults) || world.accepted);
        let acknowledged = world.ledger.acknowledged.count_ones();
        Outcome { failure: world.failure, recovery, acknowledged, lines: world.log.lines }
    }

    /// The fewest of the plan's faults that break the same promise.
    pub fn shrink(&self, plan: &Plan, rule: Rule) -> Plan {
        let mut plan = plan.clone();
        let breaks = |plan: &Plan| self.play(plan, Tell::Nothing).failure.is_some_and(|failure| failure.rule == rule);
        loop {
            let shorter = (0..plan.faults.len()).find_map(|at| {
                let mut shorter = plan.clone();
                shorter.faults.remove(at);
                breaks(&shorter).then_some(shorter)
            });
            match shorter {
                Some(shorter) => plan = shorter,
                None => return plan,
            }
        }
    }

    /// All that helps to understand a failure: how to see it again, and the story of its shortest form.
    pub fn explain(&self, plan: &Plan, failure: &Failure) -> String {
        let short = self.shrink(plan, failure.rule);
        let told = self.play(&short, Tell::Everything);
        let text = told.failure.map_or_else(|| failure.text.clone(), |failure| failure.text);
        format!(
            "UNDERSTUDY_SEED={} breaks {:?}: {text}\n{} of {} faults are enough: {:?}\n{}\n",
            plan.seed,
            failure.rule,
            short.faults.len(),
            plan.faults.len(),
            short.faults,
            told.lines.join("\n")
        )
    }
}

/// What may leave a cluster that only an operator can judge: a word of an operator, a disk or a witness that forgot.
fn explained(faults: &[(Ms, Fault)]) -> bool {
    faults.iter().any(|(_, fault)| {
        let word = matches!(fault, Fault::Order { command: Command::Promote(Some(_)), .. });
        word || matches!(fault, Fault::Off { put_back: true, .. } | Fault::ThirdOff { blank: true, .. })
    })
}

/// Two hosts are switched on, the operator names the good side, and the pair gets in sync.
pub(super) fn begin(config: Config, bad: Bad, tell: Tell) -> World {
    let mut world = World::new(config, bad, 1);
    world.write_down(tell);
    for node in 0..2 {
        world.hosts[node].disk.wanted = true;
        world.boot(node);
    }
    world.run(300);
    world.queue.push(world.now, Happening::Order { node: 0, command: Command::Promote(Some(Accept::First)) });
    for _ in 0..200 {
        world.run(world.now + 50);
        if world.ready() {
            return world;
        }
    }
    panic!("no pair in sync to begin with: {}", world.state_words());
}
