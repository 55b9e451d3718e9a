//! The write-ahead dirty set of the primary.
//!
//! Before a system call changes the tree, what it changes is marked, durably. After any crash the
//! marks name everything in which the two replicas may differ, so that a resync costs what
//! changed. A mark that is there already (hot) costs one sharded lock; objects younger than the
//! birth floor are dirty by definition and cost one load; a new mark costs one flush, shared by
//! all threads that need one at that time.
//!
//! Order of one operation: [`Journal::begin`] → `mark_*` → the system call → take its sequence
//! number → [`Op::finish`]. A mark is cleared only when every operation that leaned on it has a
//! number at or below the stable watermark (both disks flushed), and never without a peer in sync.
//!
//! `key`, `set` and `record` are pure; `flight` and `hot` are shared state without I/O; `ring` is
//! the file; this file puts them together and shares flushes.

mod flight;
mod hot;
mod key;
mod record;
mod ring;
mod set;
#[cfg(test)]
mod tests;

pub use key::{Aspect, Key, Level};
pub use record::Lost;
pub use set::DirtySet;

use crate::id::{ObjectId, Seq};
use crate::limits;
use flight::Flight;
use hot::Index;
use parking_lot::{Condvar, Mutex, MutexGuard};
use record::CHANGES;
use ring::{Ending, Log};
use set::{Epoch, Marked, Set, Ticket};
use std::collections::VecDeque;
use std::io;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

/// What bounds a journal.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Marks held at a time.
    pub slots: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { slots: limits::JOURNAL_SLOTS }
    }
}

impl Limits {
    fn slots(self) -> usize {
        self.slots.clamp(limits::JOURNAL_SLOTS_MIN, limits::JOURNAL_SLOTS_MAX)
    }
}

/// What the last run left.
#[derive(Clone, Debug)]
pub struct Recovered {
    /// The last run ended with [`Journal::close_clean`]; `dirty` may still hold marks, for a peer
    /// that was away.
    pub clean: bool,
    /// Set when the marks are lost: `dirty` is everything, and only a full compare will do.
    pub full_compare_reason: Option<Lost>,
    /// What may differ.
    pub dirty: DirtySet,
    /// Objects above may differ in everything.
    pub birth_floor: ObjectId,
    /// What the replica had written with [`Journal::set_note`]; empty when lost.
    pub note: Vec<u8>,
}

/// Figures since the journal was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Synchronous writes of the log.
    pub flushes: u64,
    /// Marks found hot.
    pub hot_hits: u64,
    /// Marks that had to be made or waited for.
    pub cold_marks: u64,
    /// Times that marks were made coarser because the table was full.
    pub coarsenings: u64,
    /// Slots in use.
    pub slots_used: u64,
}

/// An epoch that is over and whose operations are all numbered.
struct Sealed {
    epoch: Epoch,
    bound: Seq,
    floor: ObjectId,
}

struct Core {
    set: Set,
    /// The last change on disk.
    written: Ticket,
    /// A thread is writing, outside this lock.
    flushing: bool,
    /// Writings that failed, and why the last one did: waiters compare the count.
    failures: u64,
    failure: io::ErrorKind,
    in_sync: bool,
    closed: bool,
    /// The epoch that is over but not drained, with the floor announced at its end.
    cutting: Option<(Epoch, ObjectId)>,
    sealed: VecDeque<Sealed>,
    /// Uses up to this epoch are stable.
    behind: Option<Epoch>,
    /// The floor that may be on disk; the announced one is ahead of it.
    floor: ObjectId,
    floor_written: ObjectId,
}

/// The journal. All methods may be called from any thread.
pub struct Journal {
    flight: Flight,
    index: Index,
    core: Mutex<Core>,
    flushed: Condvar,
    log: Mutex<Log>,
    /// Objects above need no mark.
    announced: AtomicU64,
    flushes: AtomicU64,
    cold: AtomicU64,
}

impl Journal {
    /// A new log in `dir` (the `.understudy` directory) in place of any old one. Everything is
    /// dirty until a peer has been brought in sync.
    pub fn create(dir: impl AsFd, limits: Limits) -> io::Result<Journal> {
        let (journal, log) = Journal::prepare(limits.slots(), &DirtySet::everything(), Vec::new());
        journal.install(&ring::Directory(dir), log)
    }

    /// A new log in `dir` in place of any old one, with nothing marked: this replica equals its peer, and both have
    /// all objects up to `floor`.
    pub fn create_equal(dir: impl AsFd, limits: Limits, floor: ObjectId) -> io::Result<Journal> {
        let (journal, log) = Journal::prepare(limits.slots(), &DirtySet::new([], floor), Vec::new());
        journal.install(&ring::Directory(dir), log)
    }

    /// Both nodes have all objects up to `floor`. For a node that follows: whoever leads uses [`Journal::cut`].
    pub fn raise_floor(&self, floor: ObjectId) -> io::Result<()> {
        let mut core = self.core.lock();
        core.floor = core.floor.max(floor);
        self.announced.fetch_max(core.floor.0, SeqCst);
        self.settle(core)
    }

    /// Opens the log in `dir` and says what the last run left. A log that is missing or damaged is
    /// made anew, with everything dirty.
    pub fn open(dir: impl AsFd, limits: Limits) -> io::Result<(Journal, Recovered)> {
        Journal::open_in(&ring::Directory(dir), limits)
    }

    fn open_in(place: &impl ring::Place, limits: Limits) -> io::Result<(Journal, Recovered)> {
        let recovered = Recovered::from_loaded(ring::load(place));
        let (journal, log) = Journal::prepare(limits.slots(), &recovered.dirty, recovered.note.clone());
        Ok((journal.install(place, log)?, recovered))
    }

    /// A journal with these marks, and the log that holds the same, not written yet.
    fn prepare(slots: usize, dirty: &DirtySet, note: Vec<u8>) -> (Journal, Log) {
        let index = Index::new();
        let mut set = Set::new(slots);
        let mut keys: Vec<Key> = dirty.keys().collect();
        keys.sort_by_key(|k| std::cmp::Reverse(k.level()));
        keys.iter().for_each(|k| set.restore(*k, &mut &index));
        set.calm();
        set.drain(usize::MAX);
        set.marks().for_each(|(key, last)| index.publish(key, last));
        let log = Log::new(set.image(), dirty.birth_floor, note);
        let core = Core {
            written: set.made(),
            set,
            flushing: false,
            failures: 0,
            failure: io::ErrorKind::Other,
            in_sync: false,
            closed: false,
            cutting: None,
            sealed: VecDeque::new(),
            behind: None,
            floor: dirty.birth_floor,
            floor_written: dirty.birth_floor,
        };
        let journal = Journal {
            flight: Flight::new(),
            index,
            core: Mutex::new(core),
            flushed: Condvar::new(),
            log: Mutex::new(Log::new(Vec::new(), ObjectId(0), Vec::new())),
            announced: AtomicU64::new(dirty.birth_floor.0),
            flushes: AtomicU64::new(0),
            cold: AtomicU64::new(0),
        };
        (journal, log)
    }

    fn install(self, place: &impl ring::Place, mut log: Log) -> io::Result<Journal> {
        ring::replace(place, &mut log)?;
        *self.log.lock() = log;
        Ok(self)
    }

    /// An operation begins. Take this before its first mark.
    pub fn begin(&self) -> Op<'_> {
        Op { journal: self, epoch: self.flight.enter(), seq: 0 }
    }

    /// The peer holds everything: resync has healed all marks, and operations travel. `at` is the
    /// highest number given so far. From now on checkpoints clear.
    pub fn in_sync(&self, at: Seq) {
        self.flight.note(at);
        let mut core = self.core.lock();
        core.in_sync = true;
        core.sealed.iter_mut().for_each(|s| s.bound = s.bound.max(at));
    }

    /// There is no peer, or it is being resynced: nothing is cleared or evicted any more.
    pub fn alone(&self) {
        self.core.lock().in_sync = false;
    }

    /// Call when a checkpoint operation is issued, and now and then while alone. `birth` is the
    /// highest object id given so far: once this cut is stable, only younger objects are dirty by
    /// definition. Any value is safe. Does nothing while operations from before the last cut are
    /// still not numbered.
    pub fn cut(&self, birth: ObjectId) {
        let mut core = self.core.lock();
        core.set.calm();
        self.seal(&mut core);
        if !core.in_sync || core.cutting.is_some() || core.closed {
            return;
        }
        let epoch = self.flight.now();
        // Both take effect before the next epoch begins: its operations cannot lean on what retires.
        let floor = self.announced.fetch_max(birth.0, SeqCst).max(birth.0);
        core.set.retire_coarse(epoch, &mut &self.index);
        self.flight.advance();
        core.cutting = Some((epoch, ObjectId(floor)));
        self.seal(&mut core);
    }

    /// Both disks hold every operation up to `stable`: clears what only those used.
    pub fn stable(&self, stable: Seq) -> io::Result<()> {
        let mut core = self.core.lock();
        self.seal(&mut core);
        if !core.in_sync || core.closed || self.flight.is_lossy() {
            return Ok(());
        }
        while core.sealed.front().is_some_and(|s| s.bound <= stable) {
            let Some(sealed) = core.sealed.pop_front() else { break };
            core.behind = Some(sealed.epoch);
            core.floor = core.floor.max(sealed.floor);
        }
        let Some(behind) = core.behind else { return Ok(()) };
        let idle = self.flight.now().saturating_sub(limits::JOURNAL_IDLE_CUTS);
        core.set.clear(behind, idle, &mut &self.index);
        self.settle(core)
    }

    /// Both disks hold every operation up to `stable`; then [`Journal::cut`] for the next time.
    pub fn checkpoint(&self, stable: Seq, birth: ObjectId) -> io::Result<()> {
        self.stable(stable)?;
        self.cut(birth);
        Ok(())
    }

    /// Notes the bound of the epoch that is over, when it can be known.
    fn seal(&self, core: &mut Core) {
        let Some((epoch, floor)) = core.cutting else { return };
        if let Some(bound) = self.flight.bound(epoch) {
            core.sealed.push_back(Sealed { epoch, bound, floor });
            core.cutting = None;
        }
    }

    /// The last word of a run: every operation is finished and none will come; marks are refused
    /// from here on. In sync and with both disks holding everything up to `stable`, nothing stays
    /// marked; otherwise the marks are kept.
    pub fn close_clean(&self, stable: Seq, birth: ObjectId) -> io::Result<()> {
        let mut core = self.core.lock();
        core.closed = true;
        self.settle(core)?;
        let mut core = self.core.lock();
        // Nothing is hot and nobody is young any more: an operation that is not counted yet meets
        // the closed table.
        self.index.clear();
        self.announced.store(u64::MAX, SeqCst);
        if !self.flight.is_quiet() {
            return Err(io::Error::new(io::ErrorKind::ResourceBusy, "operations are under way"));
        }
        let equal = core.in_sync && !self.flight.is_lossy() && self.flight.highest() <= stable;
        let (floor, ending) = if equal { (core.floor.max(birth), Ending::Clean) } else { (core.floor, Ending::Kept) };
        self.log.lock().append(&[], floor, ending)?;
        if equal {
            core.set.reset();
            core.floor = floor;
        }
        Ok(())
    }

    /// What may differ from the peer now.
    pub fn dirty(&self) -> DirtySet {
        let core = self.core.lock();
        core.set.dirty(core.floor)
    }

    /// Figures since opening.
    pub fn counters(&self) -> Counters {
        let core = self.core.lock();
        Counters {
            flushes: self.flushes.load(SeqCst),
            hot_hits: self.index.hits(),
            cold_marks: self.cold.load(SeqCst),
            coarsenings: core.set.coarsenings,
            slots_used: core.set.used() as u64,
        }
    }

    /// What the replica noted last.
    pub fn note(&self) -> Vec<u8> {
        self.log.lock().note().to_vec()
    }

    /// Replaces the replica's note, durably (at most [`limits::JOURNAL_NOTE`] bytes).
    pub fn set_note(&self, note: &[u8]) -> io::Result<()> {
        self.log.lock().set_note(note)
    }

    fn mark(&self, keys: impl Iterator<Item = Key>, epoch: Epoch) -> io::Result<()> {
        let mut cold = keys.filter(|k| !self.index.hit(*k, epoch)).peekable();
        if cold.peek().is_none() {
            return Ok(());
        }
        let mut core = self.core.lock();
        if core.closed {
            return Err(io::Error::other("the dirty log is closed"));
        }
        let mut need = 0;
        for key in cold {
            self.cold.fetch_add(1, SeqCst);
            let behind = core.behind.filter(|_| core.in_sync && !self.flight.is_lossy());
            let marked = core.set.mark(key, epoch, behind, &mut &self.index);
            self.offer(&core, marked);
            need = marked.ticket.max(need);
        }
        self.wait_for(core, need)
    }

    /// A mark that is durable but was not hot, like one that had been about to go.
    fn offer(&self, core: &Core, marked: Marked) {
        if marked.ticket <= core.written {
            self.index.publish(marked.key, marked.last);
        }
    }

    /// Waits until the change is on disk. Whoever finds nobody writing writes for all.
    fn wait_for(&self, mut core: MutexGuard<'_, Core>, ticket: Ticket) -> io::Result<()> {
        let failures = core.failures;
        while core.written < ticket {
            if core.failures != failures {
                return Err(core.failure.into());
            }
            if core.flushing {
                self.flushed.wait(&mut core);
            } else {
                self.flush(&mut core)?;
            }
        }
        Ok(())
    }

    /// Waits until everything decided so far is on disk, the floor included.
    fn settle(&self, mut core: MutexGuard<'_, Core>) -> io::Result<()> {
        let made = core.set.made();
        while core.written < made || core.floor_written < core.floor || core.flushing {
            if core.flushing {
                self.flushed.wait(&mut core);
            } else {
                self.flush(&mut core)?;
            }
        }
        Ok(())
    }

    /// Writes what is queued, with the lock released meanwhile.
    fn flush(&self, core: &mut MutexGuard<'_, Core>) -> io::Result<()> {
        let (changes, floor) = (core.set.drain(CHANGES * limits::JOURNAL_BATCH), core.floor);
        core.flushing = true;
        let result = MutexGuard::unlocked(core, || self.log.lock().append(&changes, floor, Ending::Open));
        core.flushing = false;
        self.flushed.notify_all();
        if let Err(error) = result {
            core.set.put_back(&changes);
            core.failures += 1;
            core.failure = error.kind();
            return Err(error);
        }
        self.flushes.fetch_add(1, SeqCst);
        core.floor_written = floor;
        for change in changes {
            core.written += 1;
            if let Some(last) = core.set.placed(change, core.written) {
                self.index.publish(change.key, last);
            }
        }
        Ok(())
    }
}

impl Recovered {
    fn from_loaded(loaded: Result<(record::Superblock, record::Rebuilt), Lost>) -> Recovered {
        match loaded {
            Ok((superblock, state)) => Recovered {
                clean: state.clean,
                full_compare_reason: None,
                dirty: DirtySet::new(state.slots, state.floor),
                birth_floor: state.floor,
                note: superblock.note,
            },
            Err(lost) => Recovered {
                clean: false,
                full_compare_reason: Some(lost),
                dirty: DirtySet::everything(),
                birth_floor: ObjectId(0),
                note: Vec::new(),
            },
        }
    }
}

/// One operation between its marks and its number. Dropped without [`Op::finish`] it says that
/// nothing was changed (the system call failed); dropped by a panic it says that nobody knows, and
/// nothing is cleared any more in this run.
#[must_use = "the marks are safe from being cleared only while this lives"]
pub struct Op<'a> {
    journal: &'a Journal,
    epoch: Epoch,
    seq: Seq,
}

impl Op<'_> {
    /// `len` bytes of a file's content from `offset` on are about to change.
    pub fn mark_extent(&self, object: ObjectId, offset: u64, len: u64) -> io::Result<()> {
        if self.is_young(object) {
            return Ok(());
        }
        self.journal.mark(key::extents(object, offset, len), self.epoch)
    }

    /// Names in a directory are about to change.
    pub fn mark_entries(&self, directory: ObjectId) -> io::Result<()> {
        self.mark_object(Aspect::Entries, directory)
    }

    /// Attributes are about to change.
    pub fn mark_attrs(&self, object: ObjectId) -> io::Result<()> {
        self.mark_object(Aspect::Attrs, object)
    }

    /// What these keys name may differ from now on: one flush for all of them.
    pub fn mark_keys(&self, keys: impl Iterator<Item = Key>) -> io::Result<()> {
        self.journal.mark(keys.filter(|key| !self.is_young(key.objects().0)), self.epoch)
    }

    fn mark_object(&self, aspect: Aspect, object: ObjectId) -> io::Result<()> {
        if self.is_young(object) {
            return Ok(());
        }
        self.journal.mark(std::iter::once(Key::object(aspect, object)), self.epoch)
    }

    fn is_young(&self, object: ObjectId) -> bool {
        object.0 > self.journal.announced.load(SeqCst)
    }

    /// Nobody knows what the disk holds: nothing is cleared any more in this run.
    pub fn doubt(&self) {
        self.journal.flight.lose();
    }

    /// The change is made and has this number.
    pub fn finish(mut self, seq: Seq) {
        self.seq = seq;
    }
}

impl Drop for Op<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() && self.seq == 0 {
            self.journal.flight.lose();
        }
        self.journal.flight.leave(self.epoch, self.seq);
    }
}
