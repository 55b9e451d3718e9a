//! Random histories of a cluster in virtual time; see `tests::sim`.

use std::collections::BTreeMap;
use std::time::Instant;
use tests::rng;
use tests::sim::{Bad, Plan, Simulator, Tell};

/// Histories in CI; `UNDERSTUDY_SOAK=N` plays N times as many.
const HISTORIES: u64 = 100_000;

#[test]
fn no_history_breaks_a_promise() {
    let first = rng::seed("simulation");
    let soak: u64 = std::env::var("UNDERSTUDY_SOAK").ok().and_then(|n| n.parse().ok()).unwrap_or(1);
    let simulator = Simulator::new(Bad::default());
    let begun = Instant::now();
    let (mut slowest, mut acknowledged) = (0, 0);
    for n in 0..HISTORIES * soak {
        let plan = Plan::of(first.wrapping_add(n));
        let outcome = simulator.play(&plan, Tell::Nothing);
        if let Some(failure) = &outcome.failure {
            panic!("{}", simulator.explain(&plan, failure));
        }
        slowest = slowest.max(outcome.recovery.unwrap_or(0));
        acknowledged += u64::from(outcome.acknowledged);
    }
    eprintln!(
        "simulation: {} histories, {acknowledged} operations acknowledged, ready after at most {slowest} virtual ms, in {:.1} s",
        HISTORIES * soak,
        begun.elapsed().as_secs_f64()
    );
}

/// For work on the cores: how many histories break which promise, and one of each told in full.
#[test]
#[ignore = "a tool: prints what breaks, and proves nothing"]
fn survey() {
    let first = rng::seed("survey");
    let soak: u64 = std::env::var("UNDERSTUDY_SOAK").ok().and_then(|n| n.parse().ok()).unwrap_or(1);
    let simulator = Simulator::new(Bad::default());
    let mut broken: BTreeMap<_, Vec<_>> = BTreeMap::new();
    let begun = Instant::now();
    for n in 0..5_000 * soak {
        let plan = Plan::of(first.wrapping_add(n));
        if let Some(failure) = simulator.play(&plan, Tell::Nothing).failure {
            broken.entry(failure.rule).or_default().push((plan, failure));
        }
    }
    eprintln!("{:.1} s", begun.elapsed().as_secs_f64());
    for (rule, cases) in &broken {
        eprintln!("=== {rule:?}: {}", cases.len());
        let shortest = cases.iter().map(|(plan, failure)| (simulator.shrink(plan, *rule), failure)).min_by_key(|(plan, _)| plan.faults.len());
        if let Some((plan, failure)) = shortest {
            eprintln!("{}", simulator.explain(&plan, failure));
        }
    }
}
