//! A resync that is cut off anywhere, put back: the tree is what it was, judged by code that shares nothing with this.

use super::{Header, Keep, Stage, discard, look, prepare, put_back, tidy};
use crate::apply::HIDDEN;
use crate::resync::Plan;
use crate::resync::tests::act::{Actor, Rng};
use crate::resync::tests::compare::differences;
use crate::resync::tests::pair::Pair;
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{Mode, OFlags};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use uuid::Uuid;

const BOOT: &str = "this boot";

pub fn open(path: &Path) -> OwnedFd {
    rustix::fs::open(path, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).unwrap()
}

fn header(budget: u64) -> Header {
    Header {
        id: Uuid::new_v4(),
        stage: Stage::Prepared,
        generation: Uuid::new_v4(),
        follows: Uuid::new_v4(),
        since: "2026-11-27T00:00:00Z".into(),
        boot: BOOT.into(),
        budget,
    }
}

/// The secondary begins to keep what it is now.
fn keep(pair: &Pair, budget: u64) -> Arc<Keep> {
    let hidden = open(&pair.root_there.join(HIDDEN));
    pair.there.objects.write_old_times(0);
    prepare(&hidden, header(budget)).unwrap();
    let keep = Keep::open(&hidden, BOOT, || Ok(())).unwrap().expect("just prepared");
    pair.there.objects.set_keep(Some(keep.clone()));
    keep
}

/// A copy that shares no code with the engine.
fn copy_of(root: &Path) -> tempfile::TempDir {
    let temp = tempfile::tempdir().unwrap();
    let copied = Command::new("cp").args(["-a", "--sparse=always"]).arg(root.join(".")).arg(temp.path()).status().unwrap();
    assert!(copied.success());
    temp
}

fn seeds(usual: u64) -> Vec<u64> {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a number"));
    match number("UNDERSTUDY_SEED") {
        Some(seed) => vec![seed],
        None => (0..number("UNDERSTUDY_SEEDS").unwrap_or(usual)).collect(),
    }
}

/// What a history ends with.
struct Outcome {
    differences: Vec<String>,
    /// Saves that were asked for.
    saves: u64,
}

/// Two replicas part, one or both change, and the resync is cut off after some operations, once or several times, with
/// restarts of the secondary between; `leave_out`: this save is not made.
fn history(seed: u64, leave_out: u64) -> Outcome {
    let mut rng = Rng(seed);
    let mut pair = Pair::new(1024);
    let here = Actor::new(&pair.root_here, rng.number());
    let there = Actor { done: here.done.clone(), ..Actor::new(&pair.root_there, rng.number()) };
    (0..20 + rng.below(60)).for_each(|_| here.act(&pair.here));
    pair.session(Plan::everything(), &|| (), None).unwrap();
    pair.part();
    (0..1 + rng.below(40)).for_each(|_| here.act(&pair.here));
    if rng.one_in(2) {
        (0..rng.below(25)).for_each(|_| there.act(&pair.there));
        pair.forget_there();
    }
    let kept = keep(&pair, u64::MAX);
    kept.leave_out.store(leave_out, SeqCst);
    let before = copy_of(&pair.root_there);
    let mut plan = pair.plan();
    let mut saves = 0;
    for _ in 0..1 + rng.below(3) {
        if rng.one_in(3) {
            plan = Plan::everything();
        }
        let most = if rng.one_in(2) { 20 } else { 80 };
        let cut = Some(1 + rng.below(most));
        let volume = pair.here.clone();
        let live = std::cell::RefCell::new(Rng(rng.number()));
        let between = || {
            if live.borrow_mut().one_in(3) {
                here.act(&volume);
            }
        };
        let ended = pair.session(plan, &between, cut);
        drop(volume);
        saves = pair.there.objects.keep().map_or(saves, |keep| keep.saves.load(SeqCst));
        if ended.is_ok() {
            break;
        }
        plan = pair.plan();
        if rng.one_in(2) && leave_out == 0 {
            // Killed: only what is on the disk is known.
            let again = Keep::open(&open(&pair.root_there.join(HIDDEN)), BOOT, || Ok(())).unwrap().expect("it was kept");
            pair.there.objects.set_keep(Some(again));
        }
    }
    let keeping = pair.there.objects.keep();
    pair.there.objects.write_old_times(0);
    pair.there.objects.set_keep(None);
    drop((keeping, kept));
    // A second one changes nothing more.
    for _ in 0..1 + rng.below(2) {
        let root = open(&pair.root_there);
        if let Err(why) = put_back(root.as_fd(), &open(&pair.root_there.join(HIDDEN))) {
            return Outcome { differences: vec![format!("cannot be put back: {why}")], saves };
        }
    }
    let differences = differences(before.path(), &pair.root_there);
    if !differences.is_empty() && leave_out == 0 {
        eprintln!("{}", here.done.borrow().join("\n"));
    }
    Outcome { differences, saves }
}

#[test]
fn what_was_there_is_there_again() {
    for seed in seeds(120) {
        let found = history(seed, 0).differences;
        assert!(found.is_empty(), "repeat with UNDERSTUDY_SEED={seed}:\n{}", found.join("\n"));
    }
}

/// The control: with one save left out, anywhere, the judge finds what is missing in some history. Not in each: what was
/// left out may never have changed.
#[test]
fn a_save_that_is_left_out_is_found() {
    let (mut tried, mut found) = (0, 0);
    for seed in 0..12 {
        let saves = history(seed, 0).saves;
        for number in [1, 2, 3, saves / 3, saves / 2, saves.saturating_sub(1)] {
            if number > 0 {
                tried += 1;
                found += usize::from(!history(seed, number).differences.is_empty());
            }
        }
    }
    assert!(found * 4 > tried, "{found} of {tried} saves that were left out are found");
}

/// At the bound the state is given up, for good, and what it took is free; the resync goes on and ends.
#[test]
fn without_room_it_is_given_up_and_the_resync_ends() {
    let mut pair = Pair::new(1024);
    let here = Actor::new(&pair.root_here, 3);
    (0..60).for_each(|_| here.act(&pair.here));
    pair.session(Plan::everything(), &|| (), None).unwrap();
    pair.part();
    (0..60).for_each(|_| here.act(&pair.here));
    let kept = keep(&pair, 2000);
    let plan = pair.plan();
    pair.session(plan, &|| (), None).unwrap();
    pair.part();
    pair.must_be_equal("after a resync without room");
    assert!(!kept.is_active());
    let hidden = open(&pair.root_there.join(HIDDEN));
    assert!(matches!(look(&hidden).unwrap().unwrap().stage, Stage::GivenUp(_)));
    assert!(Keep::open(&hidden, BOOT, || Ok(())).unwrap().is_none());
    let root = open(&pair.root_there);
    assert!(put_back(root.as_fd(), &hidden).is_err());
    assert!(std::fs::metadata(pair.root_there.join(HIDDEN).join("consistent/log")).unwrap().len() <= 4096);
    discard(&hidden).unwrap();
    tidy(&hidden).unwrap();
    assert!(look(&hidden).unwrap().is_none());
}
