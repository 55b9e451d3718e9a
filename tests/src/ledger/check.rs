//! Judges what a tree shows against what was noted.

use super::work::Notes;
use super::{Op, Register, Seen};

/// What a check found.
#[derive(Debug, Default)]
pub struct Verdict {
    /// Operations that had been acknowledged.
    pub acknowledged: u64,
    /// Acknowledged operations that the tree does not show.
    pub lost: Vec<String>,
    /// Visible operations that overtook one acknowledged before they were issued; and bytes that
    /// nobody wrote.
    pub disorder: Vec<String>,
}

impl Verdict {
    /// Fails the test unless nothing was found.
    pub fn must_be_clean(&self) {
        let Verdict { acknowledged, lost, disorder } = self;
        assert!(lost.is_empty() && disorder.is_empty(), "acknowledged {acknowledged}; lost {lost:#?}; disorder {disorder:#?}");
    }
}

/// A tree after the application has ended: everything acknowledged is there, and what is visible
/// beyond that has no gaps.
pub fn check_final(notes: &Notes, seen: &[(Register, Seen)]) -> Verdict {
    let mut verdict = check_order(notes, seen, Order::AtOnce);
    for &(register, what) in seen {
        let ops = ops_of(notes, register);
        let last = ops.iter().rposition(|op| op.acknowledged != u64::MAX).map_or(0, |i| i + 1);
        verdict.acknowledged += last as u64;
        if let Some((_, visible)) = visible(ops, what)
            && visible < last
        {
            verdict.lost.push(format!("{register:?}: version {last} was acknowledged, {what:?} is there"));
        }
    }
    verdict
}

/// A tree read register by register while it changes: what is seen first must not depend on what
/// is missing later.
pub fn check_live(notes: &Notes, seen: &[(Register, Seen)]) -> Verdict {
    check_order(notes, seen, Order::OneByOne)
}

#[derive(Clone, Copy, PartialEq)]
enum Order {
    /// The tree stood still.
    AtOnce,
    /// Each register was read after the one before.
    OneByOne,
}

fn ops_of(notes: &Notes, register: Register) -> &[Op] {
    notes.get(&register).map_or(&[], Vec::as_slice)
}

/// The versions that a register may be at, as (least, most): an unlinked name looks the same after
/// each unlink. `None` if it shows nothing that was ever written.
fn visible(ops: &[Op], what: Seen) -> Option<(usize, usize)> {
    match what {
        Seen::Version(v) if v as usize <= ops.len() => Some((v as usize, v as usize)),
        Seen::Version(_) => None,
        Seen::Nothing => {
            // Never published at all is possible as well.
            let last = ops.iter().rposition(|op| op.removes).map_or(0, |i| i + 1);
            Some((0, last))
        }
        // Only an operation that is not acknowledged may be half there.
        Seen::Torn => None,
    }
}

fn check_order(notes: &Notes, seen: &[(Register, Seen)], order: Order) -> Verdict {
    let mut verdict = Verdict::default();
    let mut latest: Option<(u64, Register, usize)> = None;
    if order == Order::AtOnce {
        latest = seen.iter().filter_map(|&(r, what)| issued_of_visible(notes, r, what)).max();
    }
    for &(register, what) in seen {
        let ops = ops_of(notes, register);
        if what == Seen::Torn {
            judge_torn(ops, register, order, &mut verdict);
            continue;
        }
        if order == Order::OneByOne {
            latest = latest.max(issued_of_visible(notes, register, what));
        }
        let Some((_, most)) = visible(ops, what) else {
            verdict.disorder.push(format!("{register:?} shows {what:?}, which nobody wrote"));
            continue;
        };
        let Some((issued, witness, version)) = latest else { continue };
        if let Some(missing) = ops.get(most)
            && missing.acknowledged < issued
        {
            verdict.disorder.push(format!(
                "{register:?} is at {what:?}, but {witness:?} shows version {version}, issued after version {} was acknowledged",
                most + 1
            ));
        }
    }
    verdict
}

/// The moment the visible version was issued, when it is certain which one it is.
fn issued_of_visible(notes: &Notes, register: Register, what: Seen) -> Option<(u64, Register, usize)> {
    let (least, _) = visible(ops_of(notes, register), what)?;
    let op = ops_of(notes, register).get(least.checked_sub(1)?)?;
    Some((op.issued, register, least))
}

/// While the tree changes, a slot may be read in the middle of a write. Afterwards only an
/// operation that was never acknowledged may be torn; a name never.
fn judge_torn(ops: &[Op], register: Register, order: Order, verdict: &mut Verdict) {
    let in_flight = ops.last().is_some_and(|op| op.acknowledged == u64::MAX);
    let in_place = matches!(register, Register::Slot(_, _));
    if !in_place || (order == Order::AtOnce && !in_flight) {
        verdict.disorder.push(format!("{register:?} is torn"));
    }
}
