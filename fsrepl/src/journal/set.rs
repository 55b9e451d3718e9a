//! The marks themselves: a bounded table of slots, and every decision about it. No I/O, no threads.
//!
//! A mark is made by giving it a slot; slots change on disk in the order in which they change here
//! ([`Change`]), so a prefix of the changes is always a state in which no mark is missing. When the
//! table is full, idle slots behind the stable watermark are taken; where there are none, marks are
//! coarsened: the covering mark is placed first, what it covers is freed after it.
//!
//! "When was this used" is counted in epochs (see `flight`), because an operation marks before it
//! has a sequence number.

use super::key::{Aspect, Key, Level};
use crate::id::ObjectId;
use crate::limits;
use rustc_hash::{FxHashMap, FxHashSet};
use std::collections::VecDeque;

/// A span of time between two cuts; see `flight`.
pub type Epoch = u64;

/// Number of a change since the journal was opened; a mark is durable when its change is written.
pub type Ticket = u64;

/// One slot gets another content.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Change {
    /// Which slot.
    pub slot: u32,
    /// What it holds from now on; [`Key::FREE`] when nothing.
    pub key: Key,
}

/// The mark an operation leans on.
#[derive(Clone, Copy, Debug)]
pub struct Marked {
    /// The mark itself, perhaps a coarser one than was asked for.
    pub key: Key,
    /// The change that makes it durable.
    pub ticket: Ticket,
    /// Its last use.
    pub last: Epoch,
}

/// The index of hot marks that operations consult without coming here.
pub trait Hot {
    /// Withdraws a mark; returns the last epoch in which it was hit, if it was there.
    fn take(&mut self, key: Key) -> Option<Epoch>;
    /// Withdraws a mark unless it was hit after `behind`; false when it was.
    fn take_idle(&mut self, key: Key, behind: Epoch) -> bool;
}

#[derive(Clone, Copy)]
struct Slot {
    key: Key,
    /// Last use known here; hits on a hot mark are known to the index only.
    last: Epoch,
    /// The change that put the key here.
    ticket: Ticket,
    /// Covers nothing new, and is freed as soon as its uses are stable.
    retiring: bool,
}

const EMPTY: Slot = Slot { key: Key::FREE, last: 0, ticket: 0, retiring: false };

/// The table.
pub struct Set {
    slots: Vec<Slot>,
    free: Vec<u32>,
    /// Marks that new operations may lean on.
    at: FxHashMap<Key, u32>,
    retiring: FxHashMap<Key, u32>,
    /// Changes not yet handed to the disk.
    queue: VecDeque<Change>,
    made: Ticket,
    hand: usize,
    /// A full turn found nothing idle behind this epoch; no use looking before it moves.
    barren: Option<Epoch>,
    /// Marks made since the last cut, and those of them below each group or region.
    cold: u32,
    recent: FxHashMap<Key, u32>,
    /// Times that marks were replaced by a coarser one.
    pub coarsenings: u64,
}

impl Set {
    /// An empty table.
    pub fn new(slots: usize) -> Set {
        let slots = slots.max(limits::JOURNAL_SLOTS_MIN);
        Set {
            slots: vec![EMPTY; slots],
            free: (0..slots as u32).rev().collect(),
            at: FxHashMap::default(),
            retiring: FxHashMap::default(),
            queue: VecDeque::new(),
            made: 0,
            hand: 0,
            barren: None,
            cold: 0,
            recent: FxHashMap::default(),
            coarsenings: 0,
        }
    }

    /// Finds or makes the mark that an operation of `epoch` needs for `key`; the operation may go on
    /// when its change is written. Slots not used after `behind` may be taken; `None` while nothing may.
    pub fn mark(&mut self, key: Key, epoch: Epoch, behind: Option<Epoch>, hot: &mut impl Hot) -> Marked {
        let mut key = key;
        let mut counted = false;
        loop {
            if let Some(slot) = self.covering(key) {
                return self.touch(slot, epoch);
            }
            if !counted {
                counted = true;
                key = self.widen_in_storm(key);
                continue;
            }
            if let Some(slot) = self.revive(key) {
                return self.touch(slot, epoch);
            }
            if let Some(slot) = self.room(behind, hot) {
                self.place(slot, key, epoch);
                return self.touch(slot, epoch);
            }
            self.coarsen(epoch, hot);
        }
    }

    fn touch(&mut self, slot: u32, epoch: Epoch) -> Marked {
        let slot = &mut self.slots[slot as usize];
        slot.last = slot.last.max(epoch);
        Marked { key: slot.key, ticket: slot.ticket, last: slot.last }
    }

    fn covering(&self, key: Key) -> Option<u32> {
        let above = Level::COARSER.iter().filter(|l| **l > key.level()).map(|l| key.at(*l));
        std::iter::once(key).chain(above).find_map(|k| self.at.get(&k).copied())
    }

    /// A mark on its way out is still on disk: it can stand for itself again at no cost.
    fn revive(&mut self, key: Key) -> Option<u32> {
        let slot = self.retiring.remove(&key)?;
        self.slots[slot as usize].retiring = false;
        self.at.insert(key, slot);
        Some(slot)
    }

    fn place(&mut self, slot: u32, key: Key, epoch: Epoch) {
        let ticket = self.change(slot, key);
        self.slots[slot as usize] = Slot { key, last: epoch, ticket, retiring: false };
        self.at.insert(key, slot);
    }

    fn change(&mut self, slot: u32, key: Key) -> Ticket {
        self.queue.push_back(Change { slot, key });
        self.made += 1;
        self.made
    }

    fn release(&mut self, slot: u32) {
        let old = std::mem::replace(&mut self.slots[slot as usize], EMPTY);
        if old.retiring {
            self.retiring.remove(&old.key);
        } else {
            self.at.remove(&old.key);
        }
        self.change(slot, Key::FREE);
        self.free.push(slot);
    }

    /// A free slot, or one whose uses are all stable.
    fn room(&mut self, behind: Option<Epoch>, hot: &mut impl Hot) -> Option<u32> {
        if let Some(slot) = self.free.pop() {
            return Some(slot);
        }
        let behind = behind?;
        if self.barren == Some(behind) {
            return None;
        }
        for _ in 0..self.slots.len() {
            self.hand = (self.hand + 1) % self.slots.len();
            if self.idle(self.hand, behind, hot) {
                self.release(self.hand as u32);
                return self.free.pop();
            }
        }
        self.barren = Some(behind);
        None
    }

    fn idle(&self, slot: usize, behind: Epoch, hot: &mut impl Hot) -> bool {
        let Slot { key, last, .. } = self.slots[slot];
        !key.is_free() && last <= behind && hot.take_idle(key, behind)
    }

    /// Many new marks since the last cut: each would cost a flush, so neighbours are taken together.
    /// Extents are not widened here: the whole of a large file is too much to read for a few marks.
    fn widen_in_storm(&mut self, key: Key) -> Key {
        self.cold += 1;
        if key.level() != Level::Object || self.cold <= limits::JOURNAL_STORM_AFTER {
            return key;
        }
        let mut wide = key;
        for (level, enough) in [(Level::Group, limits::JOURNAL_STORM_GROUP), (Level::Region, limits::JOURNAL_STORM_REGION)] {
            let count = self.recent.entry(key.at(level)).or_default();
            *count += 1;
            if *count < enough {
                break;
            }
            wide = key.at(level);
        }
        wide
    }

    /// Frees a good part of the table by replacing marks with the finest level that achieves it.
    fn coarsen(&mut self, epoch: Epoch, hot: &mut impl Hot) {
        self.coarsenings += 1;
        let worth = (self.slots.len() / 16).max(1);
        for level in Level::COARSER {
            let families = self.families(level);
            let gain: usize = families.values().map(|members| members.len() - 1).sum();
            if gain < worth && level != Level::All {
                continue;
            }
            let largest = families.values().map(Vec::len).max().unwrap_or(0);
            for (parent, members) in families {
                if members.len() > 1 && members.len() >= largest / 2 {
                    self.merge(parent, &members, epoch, hot);
                }
            }
            return;
        }
    }

    /// The slots below each mark of `level`.
    fn families(&self, level: Level) -> FxHashMap<Key, Vec<u32>> {
        let mut families: FxHashMap<Key, Vec<u32>> = FxHashMap::default();
        for (i, slot) in self.slots.iter().enumerate() {
            // The level itself counts too, so that a retiring twin is folded in.
            if !slot.key.is_free() && slot.key.level() <= level {
                families.entry(slot.key.at(level)).or_default().push(i as u32);
            }
        }
        families
    }

    fn merge(&mut self, parent: Key, members: &[u32], epoch: Epoch, hot: &mut impl Hot) {
        let mut last = epoch;
        for slot in members {
            let member = &self.slots[*slot as usize];
            last = last.max(member.last).max(hot.take(member.key).unwrap_or(0));
        }
        // Cover first, free afterwards: the order on disk is this order.
        let keep = self.at.get(&parent).or_else(|| self.retiring.get(&parent)).copied();
        let keep = keep.unwrap_or(members[0]);
        let old = self.slots[keep as usize];
        self.at.remove(&old.key);
        self.retiring.remove(&old.key);
        let ticket = if old.key == parent { old.ticket } else { self.change(keep, parent) };
        self.slots[keep as usize] = Slot { key: parent, last, ticket, retiring: false };
        self.at.insert(parent, keep);
        for slot in members.iter().filter(|s| **s != keep) {
            self.release(*slot);
        }
    }

    /// A cut: `epoch` is about to end. Coarse marks retire, so that what goes on being used gets
    /// marks of its own and the coarse ones can be cleared one day.
    pub fn retire_coarse(&mut self, epoch: Epoch, hot: &mut impl Hot) {
        for i in 0..self.slots.len() {
            let Slot { key, retiring, .. } = self.slots[i];
            let coarse = key.level() > Level::Object || (key.level() == Level::Object && key.aspect() == Aspect::Content);
            if key.is_free() || retiring || !coarse {
                continue;
            }
            hot.take(key);
            self.at.remove(&key);
            self.retiring.insert(key, i as u32);
            self.slots[i].retiring = true;
            self.slots[i].last = self.slots[i].last.max(epoch);
        }
    }

    /// Forgets what counted as a storm.
    pub fn calm(&mut self) {
        self.cold = 0;
        self.recent.clear();
    }

    /// Frees retiring marks whose uses are stable, and fine ones idle since `idle` as well.
    pub fn clear(&mut self, behind: Epoch, idle: Epoch, hot: &mut impl Hot) {
        let idle = idle.min(behind);
        for i in 0..self.slots.len() {
            let limit = if self.slots[i].retiring { behind } else { idle };
            if self.idle(i, limit, hot) {
                self.release(i as u32);
            }
        }
    }

    /// Puts a mark back that was found on disk.
    pub fn restore(&mut self, key: Key, hot: &mut impl Hot) {
        self.calm();
        self.mark(key, 0, None, hot);
    }

    /// Takes up to `max` changes for writing, in order.
    pub fn drain(&mut self, max: usize) -> Vec<Change> {
        let n = self.queue.len().min(max);
        self.queue.drain(..n).collect()
    }

    /// Gives back changes that could not be written.
    pub fn put_back(&mut self, changes: &[Change]) {
        changes.iter().rev().for_each(|c| self.queue.push_front(*c));
    }

    /// The number of the newest change.
    pub fn made(&self) -> Ticket {
        self.made
    }

    /// Whether `ticket` put this mark where it still is, and with which last use.
    pub fn placed(&self, change: Change, ticket: Ticket) -> Option<Epoch> {
        let slot = self.slots[change.slot as usize];
        let here = !change.key.is_free() && slot.key == change.key && slot.ticket == ticket;
        (here && !slot.retiring).then_some(slot.last)
    }

    /// Empties the table without a change: the caller records that all slots are free.
    pub fn reset(&mut self) {
        let (made, coarsenings) = (self.made, self.coarsenings);
        *self = Set { made, coarsenings, ..Set::new(self.slots.len()) };
    }

    /// The content of all slots.
    pub fn image(&self) -> Vec<Key> {
        self.slots.iter().map(|s| s.key).collect()
    }

    /// The marks that new operations may lean on, with their last uses.
    pub fn marks(&self) -> impl Iterator<Item = (Key, Epoch)> + '_ {
        self.at.iter().map(|(key, slot)| (*key, self.slots[*slot as usize].last))
    }

    /// Slots in use.
    pub fn used(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Everything marked, objects above `floor` included by definition.
    pub fn dirty(&self, floor: ObjectId) -> DirtySet {
        DirtySet::new(self.slots.iter().map(|s| s.key), floor)
    }
}

/// What may differ between the two replicas.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirtySet {
    keys: FxHashSet<Key>,
    /// Every object above is dirty by definition.
    pub birth_floor: ObjectId,
}

impl DirtySet {
    /// The set of these marks; empty slots are skipped.
    pub fn new(keys: impl IntoIterator<Item = Key>, birth_floor: ObjectId) -> DirtySet {
        DirtySet { keys: keys.into_iter().filter(|k| !k.is_free()).collect(), birth_floor }
    }

    /// Everything.
    pub fn everything() -> DirtySet {
        DirtySet::new(Aspect::ALL.map(Key::all), ObjectId(0))
    }

    /// Everything that either of the two names.
    pub fn union(&self, other: &DirtySet) -> DirtySet {
        DirtySet::new(self.keys().chain(other.keys()), self.birth_floor.min(other.birth_floor))
    }

    /// The same marks, with objects above `floor` dirty by definition if that is more of them.
    pub fn above(mut self, floor: ObjectId) -> DirtySet {
        self.birth_floor = self.birth_floor.min(floor);
        self
    }

    /// The marks as they travel ([`DirtySet::from_wire`]).
    pub fn to_wire(&self) -> Vec<(u64, u64)> {
        self.keys.iter().map(|key| (key.base, key.tail)).collect()
    }

    /// The marks of the peer. A mark of a kind that is not known counts as everything.
    pub fn from_wire(keys: impl IntoIterator<Item = (u64, u64)>, birth_floor: ObjectId) -> DirtySet {
        let keys: Option<Vec<Key>> = keys.into_iter().map(|(base, tail)| Key::checked(base, tail)).collect();
        keys.map_or_else(DirtySet::everything, |keys| DirtySet::new(keys, birth_floor))
    }

    /// Whether one mark is contained, itself or in a coarser one.
    pub fn covers(&self, key: Key) -> bool {
        key.objects().0 > self.birth_floor
            || self.keys.contains(&key)
            || Level::COARSER.iter().any(|l| *l > key.level() && self.keys.contains(&key.at(*l)))
    }

    /// Whether nothing is marked (objects above the floor aside).
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Whether any object may differ in any aspect.
    pub fn is_everything(&self) -> bool {
        Aspect::ALL.iter().all(|a| self.keys.contains(&Key::all(*a)))
    }

    /// The marks, coarse ones and fine ones below them alike, in no order.
    pub fn keys(&self) -> impl Iterator<Item = Key> + '_ {
        self.keys.iter().copied()
    }

    /// Number of marks.
    pub fn len(&self) -> usize {
        self.keys.len()
    }
}
