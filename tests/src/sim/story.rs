//! One history that somebody wrote, told in full, in the times of the product.

use super::bad::Bad;
use super::log::Tell;
use super::plan::{Config, Fault};
use super::play::begin;
use super::queue::Ms;
use super::world::World;
use cluster::NodeId;
use cluster::failover::Command;
use cluster::quorum::Kind;

/// A story in the making. It begins with node 1 as primary in sync with node 2, at 0.
#[derive(Debug)]
pub struct Story {
    world: World,
}

impl Story {
    /// With the profile `lan`.
    pub fn new(kind: Kind) -> Story {
        Story::of(Config::lan(kind))
    }

    /// With node 1 as the node that is preferred and returned to.
    pub fn with_failback(kind: Kind) -> Story {
        let mut config = Config::lan(kind);
        config.policy.preferred = Some(NodeId(1));
        config.policy.failback = true;
        Story::of(config)
    }

    /// From the very beginning: two nodes without data, and an operator who names the good side.
    pub fn from_nothing(kind: Kind) -> Story {
        Story { world: begin(Config::lan(kind), Bad::default(), Tell::Story) }
    }

    fn of(config: Config) -> Story {
        let mut world = begin(config, Bad::default(), Tell::Nothing);
        world.run(world.now + 500);
        world.write_down(Tell::Story);
        world.log.zero = world.now;
        Story { world }
    }

    /// Something goes wrong now.
    pub fn strike(&mut self, fault: Fault) -> &mut Story {
        self.world.faults.push((0, fault));
        self.world.strike(self.world.faults.len() - 1);
        self
    }

    /// An operator orders something on node 0 or 1.
    pub fn order(&mut self, node: usize, command: Command) -> &mut Story {
        self.world.order(node, command);
        self
    }

    /// Time passes.
    pub fn run(&mut self, length: Ms) -> &mut Story {
        self.world.run(self.world.now + length);
        self
    }

    /// The whole story, and how it stands at the end.
    pub fn text(&self, title: &str) -> String {
        let world = &self.world;
        let (acknowledged, missing) = (world.ledger.acknowledged.count_ones(), world.ledger.excused.count_ones());
        let judge = world.failure.as_ref().map_or("no promise broken", |failure| &failure.text);
        format!(
            "{title}\n\n{}\n\nin the end:\n  {}\n  {acknowledged} operations acknowledged, {missing} given up or destroyed; {judge}\n",
            world.log.lines.join("\n"),
            world.state_words().replace("; node2", "\n  node2"),
        )
    }

    /// No promise was broken.
    pub fn sound(&self) -> bool {
        self.world.failure.is_none()
    }
}
