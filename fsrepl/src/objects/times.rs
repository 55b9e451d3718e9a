//! Modification times decided in memory and not yet written to the file: a hot file costs one
//! utimensat(2) each [`crate::limits::LAZY_TIMES`], not one each write.

use crate::id::{ObjectId, Stamp};
use parking_lot::Mutex;
use rustc_hash::FxHashMap;
use rustix::fs::Stat;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

const SHARDS: usize = 64;

struct Pending {
    stamp: Stamp,
    since_ms: u64,
}

/// The times, by object.
pub struct Times {
    shards: Box<[Mutex<FxHashMap<u64, Pending>>]>,
    count: AtomicUsize,
    start: Instant,
}

impl Default for Times {
    fn default() -> Self {
        Times { shards: (0..SHARDS).map(|_| Mutex::default()).collect(), count: AtomicUsize::new(0), start: Instant::now() }
    }
}

/// The time as the kernel stamps files: one tick of resolution, so that stamps of ours and of the kernel
/// beneath never run backwards against each other.
pub fn now() -> Stamp {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::RealtimeCoarse);
    Stamp { sec: now.tv_sec, nsec: now.tv_nsec as u32 }
}

impl Times {
    fn shard(&self, id: ObjectId) -> &Mutex<FxHashMap<u64, Pending>> {
        &self.shards[id.0 as usize % SHARDS]
    }

    fn clock(&self) -> u64 {
        self.start.elapsed().as_millis() as u64
    }

    /// Decides the modification time of `id`. The caller holds the object's lock.
    pub fn set(&self, id: ObjectId, stamp: Stamp) {
        let mut shard = self.shard(id).lock();
        if let Some(pending) = shard.get_mut(&id.0) {
            pending.stamp = stamp;
            return;
        }
        shard.insert(id.0, Pending { stamp, since_ms: self.clock() });
        self.count.fetch_add(1, Ordering::Relaxed);
    }

    /// Decides the modification time of a write that was just made, and never an earlier one than before.
    /// The first one since the last was written is the kernel's own (`kernel` asks for it): kernels since
    /// 6.13 give some stamps finer than a tick. The caller holds the object's lock.
    pub fn advance(&self, id: ObjectId, kernel: impl FnOnce() -> Option<Stamp>) -> Stamp {
        let mut shard = self.shard(id).lock();
        if let Some(pending) = shard.get_mut(&id.0) {
            pending.stamp = pending.stamp.max(now());
            return pending.stamp;
        }
        let stamp = kernel().unwrap_or_else(now);
        shard.insert(id.0, Pending { stamp, since_ms: self.clock() });
        self.count.fetch_add(1, Ordering::Relaxed);
        stamp
    }

    /// Takes the decided time away: to write it, or because a newer one is on disk.
    pub fn take(&self, id: ObjectId) -> Option<Stamp> {
        if self.count.load(Ordering::Relaxed) == 0 {
            return None;
        }
        let taken = self.shard(id).lock().remove(&id.0)?;
        self.count.fetch_sub(1, Ordering::Relaxed);
        Some(taken.stamp)
    }

    /// Shows the decided time in attributes read from disk.
    pub fn overlay(&self, id: ObjectId, stat: &mut Stat) {
        if self.count.load(Ordering::Relaxed) == 0 {
            return;
        }
        if let Some(pending) = self.shard(id).lock().get(&id.0) {
            stat.st_mtime = pending.stamp.sec;
            stat.st_mtime_nsec = u64::from(pending.stamp.nsec) as _;
            if (stat.st_ctime, stat.st_ctime_nsec) < (stat.st_mtime, stat.st_mtime_nsec) {
                stat.st_ctime = stat.st_mtime;
                stat.st_ctime_nsec = stat.st_mtime_nsec;
            }
        }
    }

    /// Objects whose time has waited for at least `age_ms` milliseconds.
    pub fn older_than(&self, age_ms: u64) -> Vec<ObjectId> {
        let now = self.clock();
        let mut old = Vec::new();
        for shard in &self.shards {
            old.extend(
                shard.lock().iter().filter(|(_, pending)| now.saturating_sub(pending.since_ms) >= age_ms).map(|(id, _)| ObjectId(*id)),
            );
        }
        old
    }
}
