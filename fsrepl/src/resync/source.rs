//! The primary's side of a resync: what is left to do, in which order, and how far it is.

use super::plan::Plan;
use crate::apply::Volume;
use crate::id::{ObjectId, Seq};
use crate::limits::RESYNC_WINDOW;
use crate::node::faults::point;
use crate::op::{Answer, Op, Query, kind};
use crate::replica::primary::Primary;
use crate::sys::Sys;
use rustix::io::Errno;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Instant;

/// How far a resync is, for status.
pub struct Progress {
    /// Objects found so far, and done.
    pub files: (AtomicU64, AtomicU64),
    /// Bytes of content found so far, done (compared or sent), and sent.
    pub bytes: (AtomicU64, AtomicU64, AtomicU64),
    /// Whether names are still being compared: totals still grow.
    pub names: AtomicBool,
    began: Instant,
}

impl Progress {
    fn seconds(&self) -> f64 {
        self.began.elapsed().as_secs_f64().max(0.001)
    }

    /// Content compared or sent a second since the beginning.
    pub fn rate(&self) -> u64 {
        (self.bytes.1.load(Relaxed) as f64 / self.seconds()) as u64
    }

    /// Seconds that are left at the rate so far; none while the totals still grow.
    pub fn eta(&self) -> Option<f64> {
        let share = |(total, done): (&AtomicU64, &AtomicU64)| done.load(Relaxed) as f64 / total.load(Relaxed).max(1) as f64;
        let done = share((&self.bytes.0, &self.bytes.1)).min(share((&self.files.0, &self.files.1))).min(1.0);
        (!self.names.load(Relaxed) && done > 0.0).then(|| self.seconds() * (1.0 - done) / done)
    }
}

impl Default for Progress {
    fn default() -> Self {
        let zero = AtomicU64::default;
        Progress { files: (zero(), zero()), bytes: (zero(), zero(), zero()), names: AtomicBool::new(true), began: Instant::now() }
    }
}

/// Why a resync ended before its end.
#[derive(Debug, thiserror::Error)]
pub enum Broken {
    /// The connection is gone; the primary has said why.
    #[error("the connection ended")]
    Connection,
    /// This node's own file system.
    #[error("{0} cannot be read here: {1}")]
    Local(ObjectId, Errno),
    /// The bulk connection.
    #[error("comparing failed: {0}")]
    Bulk(String),
}

/// Asks the secondary over the bulk connection what it has.
pub trait Ask {
    /// Answers `query`, which must not be looked at before `after` has been applied.
    fn ask(&mut self, query: &Query, after: Seq) -> Result<Answer, String>;
}

/// One resync.
pub struct Sync<'a> {
    pub(super) volume: &'a Volume,
    pub(super) primary: &'a Primary,
    pub(super) progress: &'a Progress,
    pub(super) epoch: u32,
    #[expect(dead_code, reason = "every resync still compares everything")]
    pub(super) plan: Plan,
    pub(super) directories: VecDeque<ObjectId>,
    pub(super) contents: VecDeque<(ObjectId, u64)>,
    pub(super) queries: u64,
    window: VecDeque<(Seq, usize)>,
    in_window: usize,
    began: Instant,
}

impl<'a> Sync<'a> {
    /// Prepares the resync of session `epoch`.
    pub fn new(volume: &'a Volume, primary: &'a Primary, progress: &'a Progress, epoch: u32, plan: Plan) -> Sync<'a> {
        Sync {
            volume,
            primary,
            progress,
            epoch,
            plan,
            directories: VecDeque::from([ObjectId::ROOT]),
            contents: VecDeque::new(),
            queries: 0,
            window: VecDeque::new(),
            in_window: 0,
            began: Instant::now(),
        }
    }

    /// Runs until the secondary differs in nothing but what is being written; then [`Primary::complete`] with
    /// `done` makes the pair a mirror.
    pub fn run(mut self, ask: &mut dyn Ask, finish: impl Fn() -> bool) -> Result<(), Broken> {
        self.progress.names.store(true, Relaxed);
        // An earlier session's: in this one nothing arrives before the root is known.
        self.volume.arrivals.lock().clear();
        let mut purged = false;
        loop {
            self.take_arrivals();
            while let Some(directory) = self.directories.pop_front() {
                self.names(directory)?;
                self.take_arrivals();
            }
            if !purged {
                point("purge-before-sending");
                self.push(&Op::new(kind::SYNC_PURGE, ObjectId::ROOT), true)?;
                point("purge-sent");
                self.progress.names.store(false, Relaxed);
                purged = true;
            }
            self.content_round(ask)?;
            if self.directories.is_empty() && self.contents.is_empty() {
                let settled = self.primary.progress().0;
                self.settle(settled)?;
                if finish() {
                    tracing::info!(
                        objects = self.progress.files.1.load(Relaxed),
                        bytes_sent = self.progress.bytes.2.load(Relaxed),
                        seconds = self.began.elapsed().as_secs_f32(),
                        "resync done"
                    );
                    return Ok(());
                }
                if self.primary.mode() != crate::replica::primary::Mode::Syncing(self.epoch) {
                    return Err(Broken::Connection);
                }
            }
        }
    }

    /// Objects that live operations brought into known directories.
    fn take_arrivals(&mut self) {
        for id in std::mem::take(&mut *self.volume.arrivals.lock()) {
            let Some((directory, names, content)) = self.volume.objects.table.look(id, |entry| {
                (entry.kind == crate::objects::Kind::Directory, entry.names_epoch == self.epoch, entry.content_epoch == self.epoch)
            }) else {
                continue;
            };
            if directory && !names {
                self.directories.push_back(id);
            }
            if !directory && !content {
                self.contents.push_back((id, 0));
            }
        }
    }

    /// Sends one operation of the resync and keeps what is in flight bounded: the application's operations
    /// wait behind it.
    pub(super) fn push(&mut self, op: &Op<'_>, flush: bool) -> Result<Seq, Broken> {
        let seq = self.primary.push(op, flush).ok_or(Broken::Connection)?;
        point("resync-sent");
        let bytes = op.payload.len() + op.body.len() + 80;
        self.window.push_back((seq, bytes));
        self.in_window += bytes;
        Ok(seq)
    }

    /// Waits until the window has room. Not while holding an object's lock.
    pub(super) fn pace(&mut self) -> Result<(), Broken> {
        while self.in_window > RESYNC_WINDOW {
            let Some((seq, bytes)) = self.window.pop_front() else { break };
            self.in_window -= bytes;
            if !self.primary.wait_applied(seq) {
                return Err(Broken::Connection);
            }
        }
        Ok(())
    }

    /// Waits until the secondary has applied everything up to `seq`.
    fn settle(&mut self, seq: Seq) -> Result<(), Broken> {
        self.window.clear();
        self.in_window = 0;
        if self.primary.push_out() && self.primary.wait_applied(seq) { Ok(()) } else { Err(Broken::Connection) }
    }

    /// What is gone meanwhile needs no sync; anything else that cannot be read stops it.
    pub(super) fn unless_gone<T>(id: ObjectId, result: Sys<T>) -> Result<Option<T>, Broken> {
        match result {
            Ok(value) => Ok(Some(value)),
            Err(Errno::STALE | Errno::NOENT) => Ok(None),
            Err(why) => Err(Broken::Local(id, why)),
        }
    }
}

impl Drop for Sync<'_> {
    /// A resync that broke off leaves nothing behind: the next secondary knows none of it.
    fn drop(&mut self) {
        self.volume.cursors.clear();
    }
}
