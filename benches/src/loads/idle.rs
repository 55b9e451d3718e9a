//! What a hundred modules cost that have nothing to do, and how long they take to start. Real daemons, a witness, an
//! application and an address each; the applications themselves do not count.

use super::Load;
use crate::columns::{Column, Needs, Rig};
use crate::proc;
use crate::stats::{Aim, Bound, Metric, Readings, Reference};
use anyhow::{Context, Result};
use std::time::{Duration, Instant};
use tests::cluster::{Node, Site};

const MODULES: usize = 100;
/// In short.
const FEW: usize = 20;
/// For all of them to come up, on whatever machine.
const LIMIT: Duration = Duration::from_secs(600);
/// After a start: resyncs, checkpoints and what else is done once.
const SETTLE: Duration = Duration::from_secs(40);
const LOOK: Duration = Duration::from_secs(20);

const SERVE: &str = "both hosts boot: until all modules serve";
const READY: &str = "both hosts boot: until all can fail over";
const BUSY: [&str; 2] = ["primaries' node, percent of one core", "secondaries' node, percent of one core"];
const SWITCHES: [&str; 2] = ["primaries' node, context switches", "secondaries' node, context switches"];
const MEMORY: [&str; 2] = ["primaries' node, memory", "secondaries' node, memory"];

/// See the module.
#[derive(Default)]
pub struct Idle {
    site: Option<Site>,
}

impl Load for Idle {
    fn about(&self) -> &'static str {
        "100 mirror modules on a pair with nothing to do: start, processor and memory of daemon and engines"
    }

    fn metrics(&self) -> &'static [Metric] {
        &const {
            [
                Metric { name: SERVE, unit: "s" },
                Metric { name: READY, unit: "s" },
                Metric { name: BUSY[0], unit: "%" },
                Metric { name: BUSY[1], unit: "%" },
                Metric { name: SWITCHES[0], unit: "/s" },
                Metric { name: SWITCHES[1], unit: "/s" },
                Metric { name: MEMORY[0], unit: "MB" },
                Metric { name: MEMORY[1], unit: "MB" },
            ]
        }
    }

    fn aims(&self) -> &'static [Aim] {
        &const {
            [
                Aim::ours(SERVE, Reference::Itself, Bound::AtMost(10.0)),
                Aim::ours(BUSY[0], Reference::Itself, Bound::AtMost(5.0)),
                Aim::ours(BUSY[1], Reference::Itself, Bound::AtMost(5.0)),
            ]
        }
    }

    fn columns(&self) -> &'static [Column] {
        &[Column::Ours]
    }

    fn needs(&self) -> Needs {
        Needs::CLUSTER
    }

    fn most_rounds(&self) -> u32 {
        1
    }

    fn prepare(&mut self, rig: &mut Rig, _: Column) -> Result<()> {
        let (_, site) = super::failover::many("idle", rig.size(MODULES, FEW), LIMIT)?;
        self.site = Some(site);
        Ok(())
    }

    fn run(&mut self, rig: &mut Rig, _: Column) -> Result<Readings> {
        let site = self.site.as_mut().context("it was prepared")?;
        let mut readings = Readings::new();
        for which in 0..2 {
            site.power_off(which);
        }
        for which in 0..2 {
            site.boot(which);
        }
        let began = Instant::now();
        site.start_daemons();
        site.wait_all("serving", LIMIT, |_| true);
        readings.insert(SERVE, began.elapsed().as_secs_f64());
        site.wait_all("able to fail over", LIMIT, |shown| shown["can_fail_over"]["now"] == true);
        readings.insert(READY, began.elapsed().as_secs_f64());
        std::thread::sleep(rig.size(SETTLE, SETTLE / 8));
        let pids = [0, 1].map(|which| ours(&site.nodes[which]));
        let before = [used(&pids[0])?, used(&pids[1])?];
        let looked = Instant::now();
        std::thread::sleep(rig.size(LOOK, LOOK / 2));
        let time = looked.elapsed().as_secs_f64();
        for which in 0..2 {
            let after = used(&pids[which])?;
            readings.insert(BUSY[which], (after.0 - before[which].0) / time * 100.0);
            readings.insert(SWITCHES[which], (after.1 - before[which].1) / time);
            readings.insert(MEMORY[which], pids[which].iter().map(|&pid| proc::proportional(pid)).sum::<Result<f64>>()?);
        }
        Ok(readings)
    }

    fn finish(&mut self) {
        self.site = None;
    }
}

/// The daemon and the engines of a node.
fn ours(node: &Node) -> Vec<u32> {
    let ours = |line: &str| line.contains(" daemon ") || line.contains(" engine ");
    node.host.processes().into_iter().filter(|(_, line)| ours(line)).filter_map(|(pid, _)| u32::try_from(pid).ok()).collect()
}

/// Seconds of processor time, context switches.
fn used(pids: &[u32]) -> Result<(f64, f64)> {
    let gone = "a daemon or an engine has ended while nothing happened";
    pids.iter()
        .try_fold((0.0, 0.0), |sum, &pid| Ok((sum.0 + proc::cpu_seconds(pid).context(gone)?, sum.1 + proc::switches(pid).context(gone)?)))
}
