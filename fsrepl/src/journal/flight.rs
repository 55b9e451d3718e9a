//! Which operations are between their marks and their sequence number.
//!
//! An operation marks before it changes the tree and is numbered after, so when a mark is made
//! nobody can say up to which number it will be needed. Time is therefore cut into epochs: an
//! operation belongs to the epoch in which it began; once an epoch is over and its last operation
//! is numbered, the highest number given so far bounds all of them. Marks last used in that epoch
//! are disposable when that number is stable.

use super::set::Epoch;
use crate::id::Seq;
use crossbeam::utils::CachePadded;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};

/// Counts operations by epoch. Two epochs can be open at a time: the current and the one before.
pub struct Flight {
    epoch: CachePadded<AtomicU64>,
    open: [CachePadded<AtomicU64>; 2],
    highest: CachePadded<AtomicU64>,
    lost: AtomicBool,
}

impl Flight {
    /// Epoch 0 is for marks found on disk; operations begin in 1.
    pub fn new() -> Flight {
        Flight {
            epoch: CachePadded::new(AtomicU64::new(1)),
            open: Default::default(),
            highest: Default::default(),
            lost: AtomicBool::new(false),
        }
    }

    /// An operation begins.
    pub fn enter(&self) -> Epoch {
        loop {
            let epoch = self.epoch.load(SeqCst);
            let open = &self.open[(epoch & 1) as usize];
            open.fetch_add(1, SeqCst);
            // Counted in an epoch that ended meanwhile: nobody waits for this count.
            if self.epoch.load(SeqCst) == epoch {
                return epoch;
            }
            open.fetch_sub(1, SeqCst);
        }
    }

    /// An operation has its number (0: it changed nothing).
    pub fn leave(&self, epoch: Epoch, seq: Seq) {
        if seq != 0 {
            self.note(seq);
        }
        self.open[(epoch & 1) as usize].fetch_sub(1, SeqCst);
    }

    /// Numbers up to this one may have been given.
    pub fn note(&self, seq: Seq) {
        if self.highest.load(SeqCst) < seq {
            self.highest.fetch_max(seq, SeqCst);
        }
    }

    /// An operation ended without saying what it did: nothing may be cleared any more.
    pub fn lose(&self) {
        self.lost.store(true, SeqCst);
    }

    /// Whether that happened.
    pub fn is_lossy(&self) -> bool {
        self.lost.load(SeqCst)
    }

    /// The epoch that new operations join.
    pub fn now(&self) -> Epoch {
        self.epoch.load(SeqCst)
    }

    /// Ends the epoch. The one before must have been drained.
    pub fn advance(&self) {
        self.epoch.fetch_add(1, SeqCst);
    }

    /// The bound on the numbers of an epoch that is over, when its operations all have theirs.
    pub fn bound(&self, epoch: Epoch) -> Option<Seq> {
        debug_assert!(epoch < self.now());
        (self.open[(epoch & 1) as usize].load(SeqCst) == 0).then(|| self.highest.load(SeqCst))
    }

    /// Whether no operation is under way.
    pub fn is_quiet(&self) -> bool {
        self.open.iter().all(|o| o.load(SeqCst) == 0)
    }

    /// The highest number given so far.
    pub fn highest(&self) -> Seq {
        self.highest.load(SeqCst)
    }
}
