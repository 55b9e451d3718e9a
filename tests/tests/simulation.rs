//! Random histories of a cluster in virtual time; see `tests::sim`.

use std::collections::BTreeMap;
use std::time::Instant;
use tests::rng;
use tests::sim::{Bad, Plan, Rule, Simulator, Tell, bad};

mod transcripts;

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

/// Histories in which a known-bad variant has to be caught.
const CONTROLS: u64 = 20_000;

/// The first history that breaks a promise, and which.
fn caught(what: &str, variant: Bad) -> Rule {
    let simulator = Simulator::new(variant);
    for seed in 0..CONTROLS {
        if let Some(failure) = simulator.play(&Plan::of(seed), Tell::Nothing).failure {
            eprintln!("{what}: caught by seed {seed}: {}", failure.text);
            return failure.rule;
        }
    }
    panic!("{what}: not caught in {CONTROLS} histories");
}

#[test]
fn an_engine_that_acknowledges_before_the_grant_is_caught() {
    let rule = caught("acknowledges before the grant", Bad { acks_before_grant: true, ..Bad::default() });
    assert!(matches!(rule, Rule::TwoHistories | Rule::Stale | Rule::NotKept | Rule::Lost), "{rule:?}");
}

#[test]
fn a_consent_that_is_not_recorded_is_caught() {
    let rule = caught("consent unrecorded", Bad { consent_unrecorded: true, ..Bad::default() });
    assert!(matches!(rule, Rule::TwoHistories | Rule::Stale | Rule::NotKept | Rule::Lost), "{rule:?}");
}

#[test]
fn what_is_not_recorded_when_a_pair_gets_in_sync_is_caught() {
    caught("close in unrecorded", Bad { closes_in_unrecorded: true, ..Bad::default() });
    let rule = caught("torn unrecorded", Bad { follows_unrecorded: true, ..Bad::default() });
    assert!(matches!(rule, Rule::HalfCopy | Rule::Stale | Rule::NotReady), "{rule:?}");
}

#[test]
fn a_right_that_is_taken_before_it_is_given_up_is_caught() {
    caught("follower forgets", Bad { follower_forgets: true, ..Bad::default() });
}

#[test]
fn a_witness_that_keeps_nothing_is_caught() {
    caught("witness forgets", Bad { witness_forgets: true, ..Bad::default() });
}

#[test]
fn bad_tables_are_caught() {
    let with = |table| Bad { table: Some(table), ..Bad::default() };
    let rule = caught("leads with anything", with(bad::leads_with_anything));
    assert!(matches!(rule, Rule::HalfCopy | Rule::Stale | Rule::TwoHistories | Rule::NotKept | Rule::NotReady), "{rule:?}");
    let rule = caught("promotes without asking", with(bad::promotes_without_asking));
    assert!(matches!(rule, Rule::Stale | Rule::TwoHistories | Rule::NotKept | Rule::HalfCopy), "{rule:?}");
    assert_eq!(caught("never asks", with(bad::never_asks)), Rule::NotReady);
    caught("ignores refusals", with(bad::ignores_refusals));
}

#[test]
fn the_same_seed_is_the_same_history() {
    let (one, two) = (Simulator::new(Bad::default()), Simulator::new(Bad::default()));
    for seed in 0..20 {
        let plan = Plan::of(seed);
        assert_eq!(one.play(&plan, Tell::Everything).lines, two.play(&plan, Tell::Everything).lines);
    }
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
        let shortest =
            cases.iter().map(|(plan, failure)| (simulator.shrink(plan, *rule), failure)).min_by_key(|(plan, _)| plan.faults.len());
        if let Some((plan, failure)) = shortest {
            eprintln!("{}", simulator.explain(&plan, failure));
        }
    }
}
