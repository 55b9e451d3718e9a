//! Random histories: changes on one side or both while they are apart, sessions that break off, an application that
//! goes on meanwhile. `UNDERSTUDY_SEED` repeats one, `UNDERSTUDY_SEEDS` says how many are tried.

use super::act::{Actor, Rng};
use super::pair::Pair;
use crate::resync::Plan;
use std::sync::atomic::Ordering::SeqCst;

fn seeds(usual: u64) -> Vec<u64> {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a number"));
    match number("UNDERSTUDY_SEED") {
        Some(seed) => vec![seed],
        None => (0..number("UNDERSTUDY_SEEDS").unwrap_or(usual)).collect(),
    }
}

/// What happens in a history.
#[derive(Clone, Copy)]
struct Shape {
    live: bool,
    surplus: bool,
    breaks: bool,
}

/// Tells what was done, where something went wrong.
struct Story(std::rc::Rc<std::cell::RefCell<Vec<String>>>);

impl Drop for Story {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.0.borrow().join("\n"));
        }
    }
}

fn history(seed: u64, shape: Shape) {
    let mut rng = Rng(seed);
    let slots = [16, 64, 1024][rng.below(3) as usize];
    let mut pair = Pair::new(slots);
    let here = Actor::new(&pair.root_here, rng.number());
    let there = Actor { done: here.done.clone(), ..Actor::new(&pair.root_there, rng.number()) };
    let _story = Story(here.done.clone());
    let note = |text: String| here.done.borrow_mut().push(text);
    (0..rng.below(60)).for_each(|_| here.act(&pair.here));
    let mut lacking = false;
    let mut plan = Plan::everything();
    plan.hash = rng.one_in(2);
    for session in 0..1 + rng.below(4) {
        note(format!("session {session}, marks: {}", pair.plan().dirty.len()));
        pair.pipe.lag.store([0, 3, 50][rng.below(3) as usize], SeqCst);
        loop {
            let cut = (shape.breaks && rng.one_in(2)).then(|| rng.below(60));
            let volume = pair.here.clone();
            let live = std::cell::RefCell::new(Rng(rng.number()));
            let between = || {
                if shape.live && live.borrow_mut().one_in(3) {
                    note("live:".into());
                    here.act(&volume);
                }
            };
            let outcome = pair.session(std::mem::replace(&mut plan, Plan::everything()), &between, cut);
            drop(volume);
            match outcome {
                Ok(figures) => {
                    // Nothing is missing there unless a session broke off, or something was removed there.
                    assert!(shape.breaks || lacking || figures.misfits == 0, "{figures:?}");
                    break;
                }
                Err(why) => {
                    assert!(cut.is_some(), "the session ended: {why}");
                    note(format!("broke off: {why}"));
                    plan = pair.plan();
                }
            }
        }
        // The mirror takes a few more.
        (0..rng.below(5)).for_each(|_| here.act(&pair.here));
        pair.part();
        pair.must_be_equal("after the session");
        note("apart".into());
        (0..rng.below(40)).for_each(|_| here.act(&pair.here));
        lacking = shape.surplus && rng.one_in(2);
        if lacking {
            note("the other one, too:".into());
            (0..rng.below(25)).for_each(|_| there.act(&pair.there));
            pair.forget_there();
        }
        plan = pair.plan();
    }
}

fn run(what: &str, usual: u64, shape: Shape) {
    for seed in seeds(usual) {
        let told = std::panic::catch_unwind(|| history(seed, shape));
        if let Err(panic) = told {
            eprintln!("{what}: repeat with UNDERSTUDY_SEED={seed}");
            std::panic::resume_unwind(panic);
        }
    }
}

#[test]
fn changes_on_one_side() {
    run("changes_on_one_side", 60, Shape { live: false, surplus: false, breaks: false });
}

#[test]
fn changes_on_both_sides() {
    run("changes_on_both_sides", 60, Shape { live: false, surplus: true, breaks: false });
}

#[test]
fn an_application_that_goes_on() {
    run("an_application_that_goes_on", 60, Shape { live: true, surplus: true, breaks: false });
}

#[test]
fn sessions_that_break_off() {
    run("sessions_that_break_off", 80, Shape { live: true, surplus: true, breaks: true });
}
