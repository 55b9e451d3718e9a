//! What the table in memory and the one on disk disagree about.

use crate::id::ObjectId;
use rustc_hash::{FxHashMap, FxHashSet};

/// What happened to an object since it was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// It is new: the table on disk has never had it.
    New,
    /// It must be written; what is in memory counts.
    Put,
    /// It is gone, or not to be kept.
    Gone,
}

/// Changes that wait, and those that are being written: both are in front of what is on disk.
#[derive(Default)]
pub(super) struct Changes {
    pending: FxHashMap<u64, Change>,
    writing: FxHashMap<u64, Change>,
}

impl Changes {
    pub(super) fn note(&mut self, id: ObjectId, change: Change) {
        let before = self.pending.get(&id.0).copied();
        let written = self.writing.contains_key(&id.0);
        let next = match (before, change) {
            // It came and went: the disk need not know.
            (Some(Change::New), Change::Gone) if !written => {
                self.pending.remove(&id.0);
                return;
            }
            (Some(Change::New), Change::Put) => Change::New,
            (Some(Change::Gone | Change::Put), Change::New) => Change::Put,
            (None, Change::New) if written => Change::Put,
            (_, change) => change,
        };
        self.pending.insert(id.0, next);
    }

    /// Whether the object is gone, whatever the disk says.
    pub(super) fn gone(&self, id: ObjectId) -> bool {
        self.pending.get(&id.0).or_else(|| self.writing.get(&id.0)) == Some(&Change::Gone)
    }

    /// All that are gone, whatever the disk says.
    pub(super) fn all_gone(&self) -> FxHashSet<u64> {
        let both = self.pending.keys().chain(self.writing.keys());
        both.copied().filter(|id| self.gone(ObjectId(*id))).collect()
    }

    /// Whether memory has something that the disk has not.
    pub(super) fn touches(&self, id: ObjectId) -> bool {
        self.pending.contains_key(&id.0) || self.writing.contains_key(&id.0)
    }

    pub(super) fn waiting(&self) -> usize {
        self.pending.len()
    }

    /// New objects less those that are gone.
    pub(super) fn growth(&self) -> i64 {
        let count = |change: &Change| match change {
            Change::New => 1,
            Change::Put => 0,
            Change::Gone => -1,
        };
        self.pending.values().chain(self.writing.values()).map(count).sum()
    }

    /// Everything that waits is being written from here on; in the order of ids.
    pub(super) fn begin(&mut self) -> Vec<(ObjectId, Change)> {
        self.writing = std::mem::take(&mut self.pending);
        let mut all: Vec<_> = self.writing.iter().map(|(id, change)| (ObjectId(*id), *change)).collect();
        all.sort_unstable_by_key(|(id, _)| *id);
        all
    }

    /// It is written.
    pub(super) fn done(&mut self) {
        self.writing = FxHashMap::default();
    }

    /// It is not, or perhaps it is: it waits again, behind what came later.
    pub(super) fn put_back(&mut self) {
        for (id, change) in std::mem::take(&mut self.writing) {
            let change = if change == Change::New { Change::Put } else { change };
            self.pending.entry(id).or_insert(change);
        }
    }

    pub(super) fn forget(&mut self, forgotten: impl Fn(ObjectId) -> bool) {
        self.pending.retain(|id, _| !forgotten(ObjectId(*id)));
    }
}

/// What the running session had told of objects that left memory, a bit each: ids are dense.
#[derive(Default)]
pub(super) struct Told {
    epoch: u32,
    /// By id / 64: names, content.
    bits: FxHashMap<u64, (u64, u64)>,
}

impl Told {
    /// Keeps the epochs of an object that leaves memory. Only the newest session's count.
    pub(super) fn keep(&mut self, id: ObjectId, (names, content): (u32, u32)) {
        let newest = names.max(content);
        if newest > self.epoch {
            self.epoch = newest;
            self.bits.clear();
        }
        if newest < self.epoch || newest == 0 {
            return;
        }
        let bit = 1 << (id.0 % 64);
        let place = self.bits.entry(id.0 / 64).or_default();
        place.0 |= if names == newest { bit } else { 0 };
        place.1 |= if content == newest { bit } else { 0 };
    }

    /// Gives them back: (names, content).
    pub(super) fn take(&mut self, id: ObjectId) -> (u32, u32) {
        let bit = 1 << (id.0 % 64);
        let Some(place) = self.bits.get_mut(&(id.0 / 64)) else { return (0, 0) };
        let epoch = |bits: u64| if bits & bit == 0 { 0 } else { self.epoch };
        let epochs = (epoch(place.0), epoch(place.1));
        place.0 &= !bit;
        place.1 &= !bit;
        epochs
    }
}
