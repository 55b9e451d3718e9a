//! The secondary's side of a session: operations are applied in the order in which they arrive, by one
//! thread; what has to be on stable storage is flushed by a small pool, so that nobody waits for a disk but
//! those who asked for it. One acknowledgement covers everything that one receive brought.
//!
//! The prefix promise holds by construction: the primary issues an operation `after` those whose
//! acknowledgement it has seen, and this node acknowledged only what it had applied. That is checked.

use super::primary::Source;
use crate::apply::remote::{ApplyError, Incoming, Touched, apply};
use crate::apply::{Exclude, flush};
use crate::bell::Bell;
use crate::id::{ObjectId, Seq, Stamp};
use crate::journal::{Aspect, Journal, Key};
use crate::limits::{APPLY_FLUSHERS, FLUSH_QUEUE, INLINE_FLUSH_PAUSE, INLINE_FLUSH_US};
use crate::node::faults::point;
use crate::objects::Objects;
use crate::op::{self, Made, kind};
use crate::resync::target::{Owed, Purging, Target, differs};
use crate::sys;
use crate::uring::Link;
use crate::wire::{Frame, FrameReader, Header, Sealer, WireError};
use crossbeam::channel::{Receiver, Sender, bounded};
use parking_lot::Mutex;
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

/// Code of the end of a session that this node ended because it cannot go on.
pub const CANNOT_FOLLOW: &str = "cannot_follow";

/// What a session tells its node. Called from the session's threads.
pub trait Keeper: Send + Sync {
    /// Both replicas are equal and on this disk, with all objects up to `floor`: record it before it is
    /// acknowledged.
    fn in_sync(&self, floor: ObjectId) -> Result<(), String>;
    /// Checkpoint `number`: this disk has all that was sent before, with all objects up to `floor`.
    fn checkpoint(&self, floor: ObjectId, number: u32) -> Result<(), String>;
    /// The primary left in order; everything is on this disk, with all objects up to `floor`.
    fn left(&self, floor: ObjectId) -> Result<(), String>;
}

/// Why a session ended.
#[derive(Debug, thiserror::Error)]
pub enum Ended {
    /// The connection.
    #[error("the connection to the primary ended: {0}")]
    Wire(#[from] WireError),
    /// An operation could not be applied.
    #[error("{0}")]
    Apply(#[from] ApplyError),
    /// The primary broke the rules.
    #[error("the primary sent something that makes no sense: {0}")]
    Nonsense(String),
}

struct Voice {
    sealer: Sealer,
    out: Vec<u8>,
}

/// A flush that somebody waits for.
struct Flush {
    seq: Seq,
    data_only: bool,
    what: What,
}

enum What {
    Objects(Touched),
    /// Everything, with ids up to this one; as this checkpoint, if it is one.
    All(ObjectId, u32),
    InSync(ObjectId),
    Left(ObjectId),
}

/// One session with a primary.
pub struct Session {
    objects: Arc<Objects>,
    link: Arc<dyn Link>,
    voice: Mutex<Voice>,
    applied: AtomicU64,
    heard: AtomicU64,
    sent: AtomicU64,
    /// The pair was a mirror in this session.
    synced: AtomicBool,
    over: AtomicBool,
    /// Rings when it is.
    end: Bell,
    /// Why this node ended the session, if it did.
    cause: Mutex<Option<(String, &'static str)>>,
    keeper: Arc<dyn Keeper>,
    /// What may differ from the primary by this node's doing.
    journal: Option<Arc<Journal>>,
    /// What the primary still has to send in this resync.
    owed: Mutex<Arc<Mutex<Owed>>>,
    /// Surplus that is being removed: the pair is in sync when it is gone.
    purging: Mutex<Option<Purging>>,
    start: Instant,
    /// How long the last flush took.
    flush_us: AtomicU64,
    flush_delay: Duration,
}

impl Session {
    /// Takes over a connection whose handshake is done.
    pub fn new(
        objects: Arc<Objects>,
        link: Arc<dyn Link>,
        sealer: Sealer,
        keeper: Arc<dyn Keeper>,
        journal: Option<Arc<Journal>>,
    ) -> Arc<Session> {
        Arc::new(Session {
            objects,
            link,
            voice: Mutex::new(Voice { sealer, out: Vec::with_capacity(4096) }),
            applied: AtomicU64::new(0),
            heard: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            synced: AtomicBool::new(false),
            over: AtomicBool::new(false),
            end: Bell::default(),
            cause: Mutex::default(),
            keeper,
            journal,
            owed: Mutex::default(),
            purging: Mutex::default(),
            start: Instant::now(),
            flush_us: AtomicU64::new(u64::MAX),
            flush_delay: crate::node::faults::flush_delay(),
        })
    }

    /// The session's own clock.
    pub fn now(&self) -> Duration {
        self.start.elapsed()
    }

    /// When the primary was heard last, and when something was sent last. Bytes that wait to be read while an
    /// operation is being applied count as heard.
    pub fn heard_and_sent(&self) -> (Duration, Duration) {
        if self.link.readable(Duration::ZERO).unwrap_or(false) {
            self.hear();
        }
        (Duration::from_micros(self.heard.load(SeqCst)), Duration::from_micros(self.sent.load(SeqCst)))
    }

    fn hear(&self) {
        self.heard.store(self.start.elapsed().as_micros() as u64, SeqCst);
    }

    /// Ends the connection because of the primary.
    pub fn hang_up_because(&self, reason: String, code: &'static str) {
        self.cause.lock().get_or_insert((reason, code));
        self.hang_up();
    }

    /// Why this node ended the session, if it did.
    pub fn cause(&self) -> Option<(String, &'static str)> {
        self.cause.lock().clone()
    }

    /// This node told the primary that it cannot go on, so the primary goes on without it.
    pub fn has_failed(&self) -> bool {
        self.cause().is_some_and(|(_, code)| code == CANNOT_FOLLOW)
    }

    /// Ends the connection.
    pub fn hang_up(&self) {
        self.link.shutdown();
    }

    /// Whether the session has ended.
    pub fn is_over(&self) -> bool {
        self.over.load(SeqCst)
    }

    /// Waits for its end, at most `patience`; whether it is over.
    pub fn wait_over(&self, patience: Duration) -> bool {
        self.end.wait(patience)
    }

    /// The objects of this session.
    pub fn objects(&self) -> &Arc<Objects> {
        &self.objects
    }

    /// Highest operation applied.
    pub fn applied(&self) -> Seq {
        self.applied.load(SeqCst)
    }

    /// The pair was a mirror in this session.
    pub fn was_in_sync(&self) -> bool {
        self.synced.load(SeqCst)
    }

    /// Acknowledges everything applied so far.
    pub fn acknowledge(&self) -> Result<(), WireError> {
        self.say(kind::ACK, &[])
    }

    fn say(&self, kind: u8, body: &[u8]) -> Result<(), WireError> {
        let mut voice = self.voice.lock();
        let mut header = Header::new(kind).order(self.applied.load(SeqCst), 0);
        let Voice { sealer, out } = &mut *voice;
        out.clear();
        sealer.seal(&mut header, body, &[], out)?;
        self.sent.store(self.start.elapsed().as_micros() as u64, SeqCst);
        Ok(self.link.send_all(out)?)
    }

    /// Tells the primary that this node cannot go on, and why.
    pub fn fail(&self, reason: &str) {
        self.cause.lock().get_or_insert((reason.to_owned(), CANNOT_FOLLOW));
        // If even this cannot be said, the closed connection says enough.
        let _ = self.say(kind::FAILED, &op::encode(&op::Failed { reason: reason.to_owned() }));
    }

    /// Serves the session until it ends. `hidden` is the hidden directory of this replica.
    pub fn serve(self: &Arc<Session>, reader: FrameReader<Source>, hidden: &OwnedFd, exclude: Exclude) -> Ended {
        let (flushes, jobs) = bounded::<Flush>(FLUSH_QUEUE);
        let workers: Vec<_> = (0..APPLY_FLUSHERS)
            .filter_map(|number| {
                let (session, jobs) = (self.clone(), jobs.clone());
                std::thread::Builder::new().name(format!("disk-{number}")).spawn(move || session.flusher(&jobs)).ok()
            })
            .collect();
        let ended = match Target::new(&self.objects, hidden, exclude, self.journal.clone()) {
            Ok(target) => {
                *self.owed.lock() = target.owed.clone();
                self.receive(reader, target, &flushes)
            }
            Err(why) => ApplyError::System { what: "prepare the resync", why }.into(),
        };
        if let Ended::Apply(ApplyError::System { why: Errno::NOSPC | Errno::DQUOT, .. }) = &ended
            && let Some(keep) = self.objects.keep()
            && let Err(why) = keep.give_up_for_room()
        {
            tracing::error!(%why, "the last consistent state cannot be given up");
        }
        if let Ended::Apply(error) = &ended
            && differs(error)
        {
            self.distrust();
        }
        if !matches!(ended, Ended::Wire(_)) {
            self.fail(&format!("the secondary cannot go on: {ended}"));
        }
        drop(flushes);
        self.over.store(true, SeqCst);
        self.end.ring();
        self.hang_up();
        for worker in workers {
            let _ = worker.join();
        }
        self.objects.write_old_times(0);
        ended
    }

    /// What is here is not what both nodes take it for, and nobody knows in how much: the next resync compares
    /// everything.
    fn distrust(&self) {
        let Some(journal) = &self.journal else { return };
        if let Err(why) = journal.begin().mark_keys(Aspect::ALL.into_iter().map(Key::all)) {
            tracing::error!(%why, "change tracking cannot be written");
        }
    }

    /// What the primary has to be told about objects that this session made anew.
    pub fn made(&self) -> Vec<Made> {
        let owed = self.owed.lock().clone();
        let mut owed = owed.lock();
        owed.tell()
    }

    fn receive(&self, mut reader: FrameReader<Source>, target: Target, flushes: &Sender<Flush>) -> Ended {
        let mut order =
            Order { session: self, target: Some(target), flushes, open: None, first: true, due: Vec::new(), quick: Inline::default() };
        loop {
            match order.batch(&mut reader) {
                Ok(()) => {}
                Err(ended) => return ended,
            }
        }
    }

    fn flusher(&self, jobs: &Receiver<Flush>) {
        for job in jobs {
            if !self.flush_and_say(&job) {
                return;
            }
        }
    }

    /// Flushes and acknowledges; false when the session is over.
    fn flush_and_say(&self, job: &Flush) -> bool {
        let began = Instant::now();
        if !self.flush_delay.is_zero() {
            std::thread::sleep(self.flush_delay);
        }
        if let Err(reason) = self.flush_one(job) {
            tracing::error!(%reason, "this node's disk refuses");
            self.fail(&format!("the secondary's disk refuses: {reason}"));
            self.hang_up();
            return false;
        }
        self.flush_us.store(began.elapsed().as_micros() as u64, SeqCst);
        self.say(kind::ACK, &job.seq.to_le_bytes()).is_ok()
    }

    fn flush_one(&self, job: &Flush) -> Result<(), String> {
        let words = |why: Errno| why.to_string();
        match &job.what {
            What::Objects(Touched::Nothing) => Ok(()),
            What::Objects(Touched::Objects(objects)) => {
                objects.iter().filter(|live| live.flushable()).try_for_each(|live| flush(live, job.data_only)).map_err(words)
            }
            What::All(floor, _) | What::InSync(floor) | What::Left(floor) => {
                self.objects.write_old_times(0);
                sys::syncfs(self.objects.root()).map_err(words)?;
                point("flushed-all");
                self.objects.table.commit(*floor).map_err(|why| why.to_string())?;
                point("committed");
                match job.what {
                    What::InSync(floor) => {
                        if let Some(purging) = self.purging.lock().take() {
                            purging.wait().map_err(words)?;
                            sys::syncfs(self.objects.root()).map_err(words)?;
                        }
                        point("done-before-record");
                        self.keeper.in_sync(floor)?;
                        point("done-recorded");
                        self.synced.store(true, SeqCst);
                        Ok(())
                    }
                    What::Left(floor) => self.keeper.left(floor),
                    What::All(floor, number) if number > 0 => self.keeper.checkpoint(floor, number),
                    _ => Ok(()),
                }
            }
        }
    }
}

/// The order of a session: what arrives is checked, applied and counted.
struct Order<'a> {
    session: &'a Session,
    target: Option<Target>,
    flushes: &'a Sender<Flush>,
    /// Operation of which more frames follow.
    open: Option<Seq>,
    /// The first operation of a session may have any number.
    first: bool,
    /// Flushes that the current batch asks for.
    due: Vec<Flush>,
    quick: Inline,
}

/// Whether this thread flushes by itself: the shortest way when nobody else waits for it and the disk is quick;
/// otherwise everybody's operations would wait for one flush.
#[derive(Default)]
struct Inline {
    /// Flushes for which the pool is used, because operations had to wait behind the last one done here.
    crowded: u32,
}

impl Inline {
    fn allows(&mut self, session: &Session) -> bool {
        if self.crowded > 0 {
            self.crowded -= 1;
            return false;
        }
        session.flush_us.load(SeqCst) <= INLINE_FLUSH_US && !session.link.readable(Duration::ZERO).unwrap_or(true)
    }

    fn judge(&mut self, session: &Session) {
        if session.link.readable(Duration::ZERO).unwrap_or(true) {
            self.crowded = INLINE_FLUSH_PAUSE;
        }
    }
}

impl Order<'_> {
    /// Receives once, applies all of it, acknowledges once.
    fn batch(&mut self, reader: &mut FrameReader<Source>) -> Result<(), Ended> {
        reader.fill()?;
        self.session.hear();
        let before = self.session.applied.load(SeqCst);
        let mut asked = false;
        while let Some(frame) = reader.next()? {
            asked |= frame.header.kind == kind::PING;
            self.frame(&frame)?;
        }
        let applied = self.session.applied.load(SeqCst) - before;
        // What only waits for the disk is acknowledged with its flush: one wake-up of the primary less. An idle pair's word is
        // answered by the thread that has woken up for it anyway.
        if applied > self.due.len() as Seq || asked && applied == 0 {
            self.session.acknowledge()?;
        }
        self.flush_due()
    }

    fn flush_due(&mut self) -> Result<(), Ended> {
        let alone = self.due.len() == 1 && matches!(self.due[0].what, What::Objects(_));
        if alone && self.quick.allows(self.session) {
            let going = self.due.pop().is_none_or(|flush| self.session.flush_and_say(&flush));
            self.quick.judge(self.session);
            return if going { Ok(()) } else { Err(Ended::Nonsense("a flush failed".into())) };
        }
        for flush in self.due.drain(..) {
            // Bounded: when the disk is far behind, receiving waits for it, and so does the primary.
            if self.flushes.send(flush).is_err() {
                return Err(Ended::Nonsense("the flush threads ended".into()));
            }
        }
        Ok(())
    }

    fn frame(&mut self, frame: &Frame<'_>) -> Result<(), Ended> {
        let header = frame.header;
        if header.kind == kind::PING {
            return Ok(());
        }
        let seq = header.seq.get();
        let applied = self.session.applied.load(SeqCst);
        let expected = self.open.unwrap_or(applied + 1);
        if seq != expected && !(self.first && seq > 0) {
            return Err(Ended::Nonsense(format!("operation {seq} where {expected} was expected")));
        }
        if !self.first && header.after.get() > applied {
            return Err(Ended::Nonsense(format!("operation {seq} comes after {}, which was never acknowledged", header.after.get())));
        }
        self.first = false;
        let op = Incoming {
            kind: header.kind,
            flags: header.flags,
            object: ObjectId(header.object.get()),
            offset: header.offset.get(),
            mtime: Stamp { sec: header.mtime_sec.get(), nsec: header.mtime_nsec.get() },
            aux: header.aux.get(),
            body: frame.body,
            payload: frame.payload,
        };
        let what = self.apply(&op).inspect_err(|ended| {
            // A resync that cannot be applied is tried again and again: why its session ended is told once.
            if self.session.was_in_sync() {
                tracing::error!(kind = op.kind, object = %op.object, seq, %ended, "an operation cannot be applied");
            } else {
                tracing::debug!(kind = op.kind, object = %op.object, seq, %ended, "an operation of a resync cannot be applied");
            }
        })?;
        if header.flags & op::MORE != 0 && header.kind == kind::WRITE {
            self.open = Some(seq);
            return Ok(());
        }
        self.open = None;
        if self.target.is_some() {
            point("resync-applied");
        }
        self.session.applied.store(seq, SeqCst);
        if let Some(what) = what {
            let flush = Flush { seq, data_only: op.flags & op::VARIANT != 0 || op.kind == kind::WRITE, what };
            self.due.push(flush);
        }
        Ok(())
    }

    /// Applies one frame; gives what has to be flushed before the operation is complete, if anything.
    fn apply(&mut self, op: &Incoming<'_>) -> Result<Option<What>, Ended> {
        let objects = &self.session.objects;
        let stable = op.flags & op::STABLE != 0;
        let over = || Ended::Nonsense("a step of a resync that is over".into());
        let touched = match op.kind {
            kind::SYNC_NAMES | kind::PARK | kind::PLACE | kind::SYNC_PURGE | kind::SYNC_META => {
                self.target.as_mut().ok_or_else(over)?.step(objects, op)?;
                Touched::Nothing
            }
            kind::SYNC_DONE => {
                let purging = self.target.take().ok_or_else(over)?.done(objects)?;
                *self.session.purging.lock() = Some(purging);
                return Ok(Some(What::InSync(ObjectId(op.offset))));
            }
            kind::SYNC_ALL => return Ok(Some(What::All(ObjectId(op.offset), op.aux))),
            kind::LEAVE => return Ok(Some(What::Left(ObjectId(op.offset)))),
            _ => match &mut self.target {
                Some(target) => target.live(objects, op)?,
                None => apply(objects, op)?,
            },
        };
        Ok(stable.then_some(What::Objects(touched)))
    }
}
