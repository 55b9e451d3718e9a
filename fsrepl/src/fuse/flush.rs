//! Flushes block for as long as a disk takes. A request's thread does its flush itself, which is the shortest
//! way, unless that would leave too few threads for everybody else: then a small pool does it.

use crate::limits::{FLUSH_QUEUE, FLUSH_THREADS};
use crossbeam::channel::{Sender, TrySendError, bounded};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

type Job = Box<dyn FnOnce() + Send>;

pub(super) struct Flushers {
    busy: Arc<AtomicUsize>,
    allowed: usize,
    pool: Sender<Job>,
}

impl Flushers {
    /// For `threads` threads that serve requests: half of them may be flushing.
    pub(super) fn new(threads: usize) -> Flushers {
        let (pool, jobs) = bounded::<Job>(FLUSH_QUEUE);
        for number in 0..FLUSH_THREADS {
            let jobs = jobs.clone();
            let work = move || jobs.iter().for_each(|job| job());
            if let Err(why) = std::thread::Builder::new().name(format!("flush-{number}")).spawn(work) {
                tracing::warn!(%why, "fewer flush threads than wanted");
            }
        }
        Flushers { busy: Arc::default(), allowed: (threads / 2).max(1), pool }
    }

    pub(super) fn run(&self, job: Job) {
        if self.busy.fetch_add(1, Ordering::Relaxed) >= self.allowed {
            self.busy.fetch_sub(1, Ordering::Relaxed);
            match self.pool.try_send(job) {
                Ok(()) => {}
                Err(TrySendError::Full(job) | TrySendError::Disconnected(job)) => job(),
            }
            return;
        }
        job();
        self.busy.fetch_sub(1, Ordering::Relaxed);
    }
}
