//! The primary's side of a resync: what is left to do, in which order.

use super::ids::IdSet;
use super::plan::Plan;
use super::progress::Progress;
use super::round::{Large, Round};
use super::scope::Scope;
use crate::apply::Volume;
use crate::id::{ObjectId, Seq};
use crate::journal::{Aspect, Key, Level};
use crate::limits::RESYNC_WINDOW;
use crate::node::faults::point;
use crate::objects::Kind;
use crate::op::{Answer, Op, Query, Question, Said, kind};
use crate::replica::primary::{Mode, Primary};
use crate::sys::Sys;
use rustc_hash::{FxHashMap, FxHashSet};
use rustix::io::Errno;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

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
    /// Healing does not help. The next resync compares everything.
    #[error("{0} differs there again and again")]
    Hopeless(ObjectId),
}

/// Asks the secondary over the bulk connection what it has. Answers come in the order of the questions.
pub trait Ask {
    /// Asks `query`, which must not be looked at before `after` has been applied.
    fn send(&mut self, query: &Query, after: Seq) -> Result<(), String>;
    /// The next answer; waits until it comes or the session ends.
    fn receive(&mut self) -> Result<Answer, String>;
}

/// The ordered stream, as a resync uses it.
pub trait Stream {
    /// Sends one operation, now or with a later one; none when the connection is gone.
    fn push(&self, op: &Op<'_>, flush: bool) -> Option<Seq>;
    /// Sends what was kept. False when the connection is gone.
    fn push_out(&self) -> bool;
    /// Highest number given in this session, 0 if none was: what earlier sessions sent, this one's secondary may
    /// never have seen, and it would be waited for in vain.
    fn given(&self) -> Seq;
    /// Waits until the secondary has applied `seq`. False when the connection is gone.
    fn wait_applied(&self, seq: Seq) -> bool;
    /// Whether session `epoch` still runs.
    fn runs(&self, epoch: u32) -> bool;
}

impl Stream for Primary {
    fn push(&self, op: &Op<'_>, flush: bool) -> Option<Seq> {
        Primary::push(self, op, flush)
    }

    fn push_out(&self) -> bool {
        Primary::push_out(self)
    }

    fn given(&self) -> Seq {
        Primary::given(self)
    }

    fn wait_applied(&self, seq: Seq) -> bool {
        Primary::wait_applied(self, seq)
    }

    fn runs(&self, epoch: u32) -> bool {
        self.mode() == Mode::Syncing(epoch)
    }
}

impl<T: Stream> Stream for Arc<T> {
    fn push(&self, op: &Op<'_>, flush: bool) -> Option<Seq> {
        T::push(self, op, flush)
    }

    fn push_out(&self) -> bool {
        T::push_out(self)
    }

    fn given(&self) -> Seq {
        T::given(self)
    }

    fn wait_applied(&self, seq: Seq) -> bool {
        T::wait_applied(self, seq)
    }

    fn runs(&self, epoch: u32) -> bool {
        T::runs(self, epoch)
    }
}

/// One resync.
pub struct Sync<'a> {
    pub(super) volume: &'a Volume,
    pub(super) stream: &'a dyn Stream,
    pub(super) progress: &'a Progress,
    pub(super) epoch: u32,
    pub(super) plan: Plan,
    pub(super) scope: Arc<Scope>,
    pub(super) directories: VecDeque<ObjectId>,
    /// Objects whose content or attributes may differ, with their size as it was found.
    pub(super) contents: VecDeque<(ObjectId, u64)>,
    /// Of those, what has been compared by size and time already, and differs.
    pub(super) differing: VecDeque<(ObjectId, u64)>,
    /// Ids from here on were not given when the work was listed.
    pub(super) born: ObjectId,
    /// The file that goes on in the next round.
    pub(super) large: Option<Large>,
    pub(super) rounds: VecDeque<Round>,
    /// Objects that the secondary has made and that hold nothing there.
    pub(super) empty: IdSet,
    /// How often an object was found to differ that was known.
    pub(super) surprises: FxHashMap<u64, u32>,
    /// Questions about content are looked at when this has been applied: names, and what live operations placed.
    pub(super) named: Seq,
    /// Most bytes to send in a second; 0 for no limit.
    pub max_rate: u64,
    /// Happens whenever no lock is held.
    #[cfg(test)]
    pub(super) between: Option<&'a dyn Fn()>,
    /// Parts of marked extents that lie behind the end of their file, by object.
    pub(super) tails: FxHashMap<u64, Vec<(u64, u64)>>,
    /// For reading content.
    pub(super) buffer: Vec<u8>,
    sent: u64,
    queries: u64,
    answers: FxHashMap<u64, Said>,
    window: VecDeque<(Seq, usize)>,
    in_window: usize,
    began: Instant,
}

impl<'a> Sync<'a> {
    /// Prepares the resync of session `epoch`.
    pub fn new(volume: &'a Volume, stream: &'a impl Stream, progress: &'a Progress, epoch: u32, plan: Plan) -> Sync<'a> {
        Sync {
            volume,
            stream,
            progress,
            epoch,
            scope: Arc::new(Scope::new(epoch, &plan)),
            plan,
            directories: VecDeque::new(),
            contents: VecDeque::new(),
            differing: VecDeque::new(),
            born: ObjectId::ROOT,
            large: None,
            rounds: VecDeque::new(),
            empty: IdSet::default(),
            surprises: FxHashMap::default(),
            named: 0,
            max_rate: 0,
            #[cfg(test)]
            between: None,
            tails: FxHashMap::default(),
            buffer: Vec::new(),
            sent: 0,
            queries: 0,
            answers: FxHashMap::default(),
            window: VecDeque::new(),
            in_window: 0,
            began: Instant::now(),
        }
    }

    /// Runs until the secondary differs in nothing but what is being written; then `finish` makes the pair a mirror
    /// unless something has arrived meanwhile.
    pub fn run(mut self, ask: &mut dyn Ask, finish: impl Fn() -> bool) -> Result<(), Broken> {
        self.progress.names.store(true, Relaxed);
        // An earlier session's: in this one nothing arrives before a directory is known.
        self.volume.arrivals.lock().clear();
        self.begin();
        let mut purged = false;
        loop {
            self.take_arrivals();
            while let Some(directory) = self.directories.pop_front() {
                self.names(directory)?;
                self.take_arrivals();
            }
            self.named = self.stream.given();
            self.ask_made(ask)?;
            self.take_arrivals();
            if !self.directories.is_empty() {
                continue;
            }
            if !purged {
                point("purge-before-sending");
                self.push(&Op::new(kind::SYNC_PURGE, ObjectId::ROOT), true)?;
                point("purge-sent");
                self.progress.names.store(false, Relaxed);
                purged = true;
            }
            if self.content(ask)? {
                continue;
            }
            // What was sent last may not have fitted.
            if self.ask_made(ask)? || !self.volume.arrivals.lock().is_empty() {
                continue;
            }
            if finish() {
                tracing::info!(
                    objects = self.progress.files.1.load(Relaxed),
                    bytes_sent = self.progress.bytes.2.load(Relaxed),
                    seconds = self.began.elapsed().as_secs_f32(),
                    "resync done"
                );
                return Ok(());
            }
            if !self.stream.runs(self.epoch) {
                return Err(Broken::Connection);
            }
        }
    }

    /// From here on live operations travel where the secondary knows what they change.
    ///
    /// Until now none did, in this session: each of them had its mark before it was not sent. So what the journal
    /// holds once the scope counts is added to the plan: nothing fell between both.
    fn begin(&mut self) {
        self.volume.ongoing.begin(Scope::new(self.epoch, &self.plan));
        if !self.plan.dirty.is_everything()
            && let Some(journal) = &self.volume.journal
        {
            self.plan.dirty = self.plan.dirty.union(&journal.dirty());
        }
        self.scope = self.volume.ongoing.begin(Scope::new(self.epoch, &self.plan));
        if self.scope.everything {
            self.directories.push_back(ObjectId::ROOT);
        } else {
            self.expand();
        }
    }

    /// The existing objects that the plan names.
    fn expand(&mut self) {
        let table = &self.volume.objects.table;
        self.born = table.birth_floor();
        let mut found: FxHashSet<(ObjectId, bool)> = FxHashSet::default();
        for key in self.plan.dirty.keys() {
            let (first, last) = key.objects();
            let names = key.aspect() == Aspect::Entries;
            let wanted = |kind: Kind| match key.aspect() {
                Aspect::Content => kind == Kind::File,
                Aspect::Entries => kind == Kind::Directory,
                Aspect::Attrs => true,
            };
            if matches!(key.level(), Level::Extent | Level::Object) {
                found.extend(table.look(first, |entry| entry.kind).filter(|kind| wanted(*kind)).map(|_| (first, names)));
            } else {
                found.extend(table.known_in(first, last).into_iter().filter(|(_, kind)| wanted(*kind)).map(|(id, _)| (id, names)));
            }
        }
        let born = ObjectId(self.plan.dirty.birth_floor.0.saturating_add(1));
        found.extend(table.known_in(born, ObjectId(u64::MAX)).into_iter().map(|(id, kind)| (id, kind == Kind::Directory)));
        let mut found: Vec<_> = found.into_iter().filter(|(id, _)| !self.volume.objects.table.is_local(*id)).collect();
        found.sort_unstable();
        for (id, names) in found {
            if names {
                self.directories.push_back(id);
            } else {
                self.add_content(id);
            }
        }
    }

    /// The content or the attributes of an object may differ.
    pub(super) fn add_content(&mut self, id: ObjectId) {
        // What the secondary says of it must come after all that has travelled.
        self.named = self.stream.given();
        let size = self.volume.objects.any_fd(id).and_then(rustix::fs::fstat).map_or(0, |stat| stat.st_size as u64);
        let size = match self.volume.objects.table.look(id, |entry| entry.kind) {
            Some(Kind::File) if self.scope.unknown(id) => size,
            Some(Kind::File) => self.scope.extents(id).iter().map(|at| size.saturating_sub(*at).min(crate::limits::JOURNAL_EXTENT)).sum(),
            _ => 0,
        };
        self.contents.push_back((id, size));
        self.progress.files.0.fetch_add(1, Relaxed);
        self.progress.bytes.0.fetch_add(size, Relaxed);
    }

    /// Objects that live operations brought into known directories.
    pub(super) fn take_arrivals(&mut self) {
        let arrived = std::mem::take(&mut *self.volume.arrivals.lock());
        for id in arrived {
            if self.volume.objects.table.look(id, |entry| entry.kind) == Some(Kind::Directory) && !self.volume.names_known(id, self.epoch) {
                self.directories.push_back(id);
            } else if !self.volume.content_known(id, self.epoch) {
                self.add_content(id);
            }
        }
    }

    /// Sends one operation of the resync and keeps what is in flight bounded: the application's operations
    /// wait behind it.
    pub(super) fn push(&mut self, op: &Op<'_>, flush: bool) -> Result<Seq, Broken> {
        let seq = self.stream.push(op, flush).ok_or(Broken::Connection)?;
        point("resync-sent");
        self.progress.given.store(seq, Relaxed);
        let bytes = op.payload.len() + op.body.len() + 80;
        self.window.push_back((seq, bytes));
        self.in_window += bytes;
        self.sent += bytes as u64;
        Ok(seq)
    }

    /// Waits until the window has room, and no more was sent than the rate allows. Not while holding an object's
    /// lock.
    pub(super) fn pace(&mut self) -> Result<(), Broken> {
        #[cfg(test)]
        if let Some(between) = self.between {
            between();
        }
        while self.in_window > RESYNC_WINDOW {
            let Some((seq, bytes)) = self.window.pop_front() else { break };
            self.in_window -= bytes;
            if !self.stream.wait_applied(seq) {
                return Err(Broken::Connection);
            }
        }
        while let Some(pause) = self.ahead_of_rate() {
            if !self.stream.push_out() {
                return Err(Broken::Connection);
            }
            std::thread::sleep(pause.min(Duration::from_millis(100)));
        }
        Ok(())
    }

    fn ahead_of_rate(&self) -> Option<Duration> {
        if self.max_rate == 0 {
            return None;
        }
        let due = Duration::from_secs_f64(self.sent as f64 / self.max_rate as f64);
        // A tenth of a second at a time: pauses shorter than that are not kept.
        due.checked_sub(self.began.elapsed()).filter(|pause| *pause > Duration::from_millis(10))
    }

    /// Asks the secondary; the answer comes with [`Sync::answer`].
    pub(super) fn ask(&mut self, ask: &mut dyn Ask, question: Question, after: Seq) -> Result<u64, Broken> {
        if !self.stream.push_out() {
            return Err(Broken::Connection);
        }
        self.queries += 1;
        let query = Query { number: self.queries, question };
        ask.send(&query, after).map_err(Broken::Bulk)?;
        Ok(self.queries)
    }

    /// The answer to question `number`.
    pub(super) fn answer(&mut self, ask: &mut dyn Ask, number: u64) -> Result<Said, Broken> {
        loop {
            if let Some(said) = self.answers.remove(&number) {
                return Ok(said);
            }
            let answer = ask.receive().map_err(Broken::Bulk)?;
            self.progress.steps.fetch_add(1, Relaxed);
            if answer.number > self.queries {
                return Err(Broken::nonsense());
            }
            self.answers.insert(answer.number, answer.said);
        }
    }

    /// Nobody knows what the secondary has: the next resync compares everything.
    pub(super) fn give_up(&self, id: ObjectId) -> Broken {
        if let Some(journal) = &self.volume.journal
            && let Err(why) = journal.begin().mark_keys(Aspect::ALL.into_iter().map(Key::all))
        {
            tracing::error!(%why, "change tracking cannot be written");
        }
        Broken::Hopeless(id)
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

impl Broken {
    pub(super) fn nonsense() -> Broken {
        Broken::Bulk("the answer is not to this question".into())
    }
}

impl Drop for Sync<'_> {
    /// A resync that broke off leaves nothing behind: the next secondary knows none of it.
    fn drop(&mut self) {
        self.volume.ongoing.end();
        self.volume.cursors.clear();
    }
}
