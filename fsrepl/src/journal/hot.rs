//! The marks that are durable and may be leaned on without asking the table: a sharded index.

use super::key::{Key, Level};
use super::set::{Epoch, Hot};
use crossbeam::utils::CachePadded;
use parking_lot::Mutex;
use rustc_hash::FxHashMap;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

const SHARDS: usize = 64;

#[derive(Default)]
struct Shard {
    marks: FxHashMap<Key, Epoch>,
    hits: u64,
}

/// Durable marks with the epoch of their last use.
pub struct Index {
    shards: Vec<CachePadded<Mutex<Shard>>>,
    /// Marks present of each level: a level without any is not looked at.
    levels: [AtomicUsize; 5],
}

impl Index {
    /// An empty index.
    pub fn new() -> Index {
        Index { shards: (0..SHARDS).map(|_| Default::default()).collect(), levels: Default::default() }
    }

    fn shard(&self, key: Key) -> &Mutex<Shard> {
        let mixed = (key.base ^ key.tail.rotate_left(29)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        &self.shards[(mixed >> 58) as usize]
    }

    /// Whether a durable mark covers `key`; if so it counts as used in `epoch`.
    pub fn hit(&self, key: Key, epoch: Epoch) -> bool {
        self.hit_one(key, epoch)
            || Level::COARSER
                .iter()
                .any(|l| *l > key.level() && self.levels[*l as usize].load(SeqCst) != 0 && self.hit_one(key.at(*l), epoch))
    }

    fn hit_one(&self, key: Key, epoch: Epoch) -> bool {
        let mut shard = self.shard(key).lock();
        let Some(last) = shard.marks.get_mut(&key) else { return false };
        *last = epoch.max(*last);
        shard.hits += 1;
        true
    }

    /// Makes a durable mark known.
    pub fn publish(&self, key: Key, last: Epoch) {
        let mut shard = self.shard(key).lock();
        if let Some(known) = shard.marks.get_mut(&key) {
            *known = last.max(*known);
            return;
        }
        shard.marks.insert(key, last);
        self.levels[key.level() as usize].fetch_add(1, SeqCst);
    }

    /// Forgets every mark.
    pub fn clear(&self) {
        self.shards.iter().for_each(|s| s.lock().marks.clear());
        self.levels.iter().for_each(|l| l.store(0, SeqCst));
    }

    /// Marks that cost nothing so far.
    pub fn hits(&self) -> u64 {
        self.shards.iter().map(|s| s.lock().hits).sum()
    }
}

impl Hot for &Index {
    fn take(&mut self, key: Key) -> Option<Epoch> {
        let last = self.shard(key).lock().marks.remove(&key);
        if last.is_some() {
            self.levels[key.level() as usize].fetch_sub(1, SeqCst);
        }
        last
    }

    fn take_idle(&mut self, key: Key, behind: Epoch) -> bool {
        let mut shard = self.shard(key).lock();
        if shard.marks.get(&key).is_some_and(|last| *last > behind) {
            return false;
        }
        if shard.marks.remove(&key).is_some() {
            self.levels[key.level() as usize].fetch_sub(1, SeqCst);
        }
        true
    }
}
