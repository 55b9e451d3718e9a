//! Locks on objects: a fixed table, so that millions of objects need no lock of their own.
//!
//! What must hold: operations on one object take their sequence number and are applied locally under its
//! lock, so that both happen in the same order. Several locks are taken together and in one order only.

use crate::id::ObjectId;
use crate::limits::LOCK_SHARDS;
use parking_lot::{Mutex, MutexGuard};

/// The table.
pub struct Locks {
    shards: Box<[Mutex<()>]>,
}

/// Locks held until dropped.
pub struct Held<'a> {
    _guards: [Option<MutexGuard<'a, ()>>; 4],
}

impl Default for Locks {
    fn default() -> Self {
        Locks { shards: (0..LOCK_SHARDS).map(|_| Mutex::new(())).collect() }
    }
}

impl Locks {
    fn shard(id: ObjectId) -> usize {
        (id.0.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as usize % LOCK_SHARDS
    }

    /// Locks one object.
    pub fn one(&self, id: ObjectId) -> Held<'_> {
        Held { _guards: [Some(self.shards[Self::shard(id)].lock()), None, None, None] }
    }

    /// Locks one object if nobody holds it.
    pub fn try_one(&self, id: ObjectId) -> Option<Held<'_>> {
        Some(Held { _guards: [Some(self.shards[Self::shard(id)].try_lock()?), None, None, None] })
    }

    /// Locks up to four objects; ids may repeat.
    pub fn many(&self, ids: &[ObjectId]) -> Held<'_> {
        assert!(ids.len() <= 4, "no operation touches more than four objects");
        let mut shards = [usize::MAX; 4];
        for (slot, id) in shards.iter_mut().zip(ids) {
            *slot = Self::shard(*id);
        }
        shards.sort_unstable();
        let mut guards = [None, None, None, None];
        let mut previous = usize::MAX;
        for (guard, shard) in guards.iter_mut().zip(shards) {
            if shard != usize::MAX && shard != previous {
                *guard = Some(self.shards[shard].lock());
                previous = shard;
            }
        }
        Held { _guards: guards }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_object_twice_does_not_deadlock() {
        let locks = Locks::default();
        let held = locks.many(&[ObjectId(7), ObjectId(7), ObjectId(8)]);
        assert!(locks.try_one(ObjectId(7)).is_none());
        drop(held);
        assert!(locks.try_one(ObjectId(7)).is_some());
    }
}
