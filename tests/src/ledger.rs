//! An application that knows what it was told: every operation is noted outside of the tree with
//! the moment it was issued and the moment it was acknowledged, and a checker then judges any
//! later state of a tree against these notes.
//!
//! The tree is a set of *registers*, each changed by one thread in one order: slots written in
//! place, logs appended to, names published by create + rename and unlinked again. What a
//! register shows tells which of its operations are visible. Moments come from one counter, so
//! "acknowledged before it was issued" is a comparison of numbers.

mod check;
pub(crate) mod state;
mod work;

#[cfg(test)]
mod controls;

pub use check::{Verdict, check_final, check_live};
pub use state::{Seen, read_all, read_one};
pub use work::{Notes, Run};

/// Slots per slot file.
pub const SLOTS: usize = 16;
/// Bytes of one slot.
pub const SLOT: usize = 512;
/// Published names per thread.
pub const NAMES: usize = 4;

/// One thing that shows a version number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Register {
    /// Slot `.1` of thread `.0`'s file: written in place.
    Slot(usize, usize),
    /// Thread `.0`'s log: appended to.
    Log(usize),
    /// Name `.1` of thread `.0`: published by rename, removed by unlink.
    Name(usize, usize),
}

/// One operation of a register; its version is its place in the register's list, from 1.
#[derive(Clone, Copy, Debug)]
pub struct Op {
    /// The counter when it was issued.
    pub issued: u64,
    /// The counter after it was acknowledged; `u64::MAX` while it is not.
    pub acknowledged: u64,
    /// True if it leaves nothing to see (unlink).
    pub removes: bool,
}
