//! Does the mount behave as a plain directory? The same random operations run on both, by several
//! users' processes, and every result and errno must be the same.
//!
//! `op` is the vocabulary, `act` does an operation in a process of some user, `generate` invents
//! operations, `side` keeps the processes of one directory, `shrink` makes a failure short.

pub mod act;
mod generate;
mod op;
mod shrink;
mod side;

#[cfg(test)]
mod controls;

pub use generate::generate;
pub use op::{Op, Reply};
pub use side::{Launch, Side, USERS, User};

/// The first operation whose results differ.
#[derive(Debug)]
pub struct Divergence {
    /// Its place in the sequence.
    pub at: usize,
    /// What each directory answered.
    pub replies: [Reply; 2],
}

/// Runs `ops` on two fresh directories side by side.
pub fn compare(ops: &[(usize, Op)], mut sides: [Side; 2]) -> Option<Divergence> {
    for (at, (user, op)) in ops.iter().enumerate() {
        let [one, two] = &mut sides;
        let replies = [one.run(*user, op), two.run(*user, op)];
        if replies[0] != replies[1] {
            return Some(Divergence { at, replies });
        }
    }
    None
}

/// Runs `ops` on fresh directories from `fresh`; panics with a short sequence if they differ.
pub fn must_agree(ops: &[(usize, Op)], fresh: impl FnMut() -> [Side; 2]) {
    if let Some(text) = first_disagreement(ops, fresh) {
        panic!("{text}");
    }
}

/// The same, giving the short sequence as text.
pub fn first_disagreement(ops: &[(usize, Op)], mut fresh: impl FnMut() -> [Side; 2]) -> Option<String> {
    let divergence = compare(ops, fresh())?;
    let ops = shrink::shrink(&ops[..=divergence.at], |ops| compare(ops, fresh()).is_some_and(|d| d.at + 1 == ops.len()));
    let replies = compare(&ops, fresh()).map_or(divergence.replies, |d| d.replies);
    let lines: Vec<_> = ops.iter().map(|(user, op)| format!("  as {}: {op:?}", USERS[*user].uid)).collect();
    Some(format!("the last of\n{}\ngave\n  {:?}\n  {:?}", lines.join("\n"), replies[0], replies[1]))
}
