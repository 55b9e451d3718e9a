//! Two replicas, and an ordered stream between them that is a queue.

use super::compare::differences;
use crate::apply::remote::{ApplyError, Incoming, apply};
use crate::apply::{Done, Exclude, HIDDEN, Outlet, Volume};
use crate::id::{ObjectId, Seq, Stamp};
use crate::journal::{DirtySet, Journal, Limits};
use crate::objects::Objects;
use crate::op::{Answer, Op, Query, Question, Said};
use crate::resync::source::{Ask, Broken, Stream, Sync};
use crate::resync::target::Target;
use crate::resync::{Plan, Progress, digest};
use crate::verify;
use parking_lot::Mutex;
use rustix::fs::{Mode, OFlags};
use std::cell::Cell;
use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

/// An operation on its way.
struct Flying {
    kind: u8,
    flags: u8,
    object: ObjectId,
    offset: u64,
    mtime: Stamp,
    aux: u32,
    body: Vec<u8>,
    payload: Vec<u8>,
}

#[derive(Default)]
struct State {
    /// None: alone. Some: syncing, in this session.
    session: Option<u32>,
    mirror: bool,
    seq: Seq,
    /// Highest number given when the session began.
    before: Seq,
    applied: Seq,
    queue: VecDeque<Flying>,
    target: Option<Target>,
    error: Option<ApplyError>,
    sent: u64,
    kinds: std::collections::BTreeMap<u8, u64>,
    /// The connection ends when this number has been given.
    cut_at: Option<Seq>,
}

/// The connection, and the secondary behind it.
pub struct Pipe {
    state: Mutex<State>,
    there: Mutex<Arc<Volume>>,
    /// Every so many operations the queue is applied; what is asked is applied in any case.
    pub lag: AtomicU64,
}

impl Pipe {
    fn enqueue(&self, state: &mut State, op: &Op<'_>) {
        state.seq += 1;
        state.sent += (op.body.len() + op.payload.len() + 80) as u64;
        *state.kinds.entry(op.kind).or_default() += 1;
        state.queue.push_back(Flying {
            kind: op.kind,
            flags: op.flags,
            object: op.object,
            offset: op.offset,
            mtime: op.mtime,
            aux: op.aux,
            body: op.body.clone(),
            payload: op.payload.to_vec(),
        });
        let lag = self.lag.load(SeqCst);
        if state.seq - state.applied > lag {
            let to = state.seq - lag / 2;
            self.apply_to(state, to);
        }
    }

    fn apply_to(&self, state: &mut State, seq: Seq) {
        let there = self.there.lock().clone();
        let objects = &there.objects;
        while state.applied < seq && state.error.is_none() {
            let Some(op) = state.queue.pop_front() else { break };
            state.applied += 1;
            let op = Incoming {
                kind: op.kind,
                flags: op.flags,
                object: op.object,
                offset: op.offset,
                mtime: op.mtime,
                aux: op.aux,
                body: &op.body,
                payload: &op.payload,
            };
            if std::env::var_os("UNDERSTUDY_SHOW").is_some() {
                eprintln!("  {} {} {} at {} {:x} +{}", state.applied, op.kind, op.object, op.offset, op.aux, op.payload.len());
            }
            let outcome = match (op.kind, &mut state.target) {
                (30..=34, Some(target)) => target.step(objects, &op),
                (_, Some(target)) => target.live(objects, &op).map(drop),
                (_, None) => apply(objects, &op).map(drop),
            };
            state.error = outcome.err();
        }
    }
}

impl Stream for Pipe {
    fn push(&self, op: &Op<'_>, _: bool) -> Option<Seq> {
        let mut state = self.state.lock();
        state.session?;
        if state.cut_at.is_some_and(|cut| state.seq >= cut) || state.error.is_some() {
            return None;
        }
        self.enqueue(&mut state, op);
        Some(state.seq)
    }

    fn push_out(&self) -> bool {
        let state = self.state.lock();
        state.error.is_none() && state.cut_at.is_none_or(|cut| state.seq < cut)
    }

    fn given(&self) -> Seq {
        let state = self.state.lock();
        if state.seq == state.before { 0 } else { state.seq }
    }

    fn wait_applied(&self, seq: Seq) -> bool {
        let mut state = self.state.lock();
        self.apply_to(&mut state, seq);
        state.error.is_none()
    }

    fn runs(&self, epoch: u32) -> bool {
        self.state.lock().session == Some(epoch)
    }
}

impl Outlet for Pipe {
    fn submit<'a>(&self, done: Done, make: &dyn Fn(Option<u32>) -> Option<Op<'a>>) -> Seq {
        let mut state = self.state.lock();
        let op = match (state.session, state.mirror) {
            (Some(epoch), _) => make(Some(epoch)),
            (None, true) => make(None),
            (None, false) => None,
        };
        if let Some(op) = op {
            self.enqueue(&mut state, &op);
        }
        let seq = state.seq;
        drop(state);
        done(Ok(()));
        seq
    }

    fn help(&self) {}

    fn stable(&self) -> bool {
        false
    }
}

/// The bulk connection: what is asked is answered when it is received, or when it is sent.
struct Questions<'a> {
    pipe: &'a Pipe,
    answers: VecDeque<Answer>,
    asked: &'a Cell<u64>,
}

impl Ask for Questions<'_> {
    fn send(&mut self, query: &Query, after: Seq) -> Result<(), String> {
        self.asked.set(self.asked.get() + 1);
        let mut state = self.pipe.state.lock();
        // The secondary counts what it has applied in this session.
        assert!(after == 0 || after > state.before, "operation {after} is no operation of this session: the secondary waits for ever");
        self.pipe.apply_to(&mut state, after);
        if state.error.is_some() {
            return Err("the secondary is gone".into());
        }
        let there = self.pipe.there.lock().clone();
        let objects = &there.objects;
        let said = match &query.question {
            Question::Digests { block, pieces } => Said::Digests(digest::answer(objects, *block, pieces)),
            Question::Stats(ids) => Said::Stats(digest::stats(objects, ids)),
            Question::Made => {
                let owed = state.target.as_ref().map(|target| target.owed.clone());
                Said::Made(owed.map(|owed| owed.lock().tell()).unwrap_or_default())
            }
            Question::Marks(_) => return Err("nobody asks that here".into()),
            Question::Details(ids) => Said::Details(verify::details(objects, ids)),
            Question::Entries { dir, after } => Said::Entries(verify::entries(objects, *dir, after)),
            Question::Blocks { direct, block, pieces } => Said::Blocks(digest::answer_from(objects, *direct, *block, pieces)),
            Question::Data(id, from) => Said::Data(verify::data(objects, *id, *from)),
        };
        self.answers.push_back(Answer { number: query.number, said });
        Ok(())
    }

    fn receive(&mut self) -> Result<Answer, String> {
        self.answers.pop_front().ok_or_else(|| "nothing was asked".into())
    }
}

/// What a session did.
#[derive(Debug, Default)]
pub struct Figures {
    /// Bytes in the ordered stream.
    pub sent: u64,
    /// Bytes of content.
    pub content: u64,
    pub questions: u64,
    /// Operations that did not fit.
    pub misfits: u64,
    /// Operations by kind.
    pub kinds: std::collections::BTreeMap<u8, u64>,
}

/// Two replicas.
pub struct Pair {
    _temp: tempfile::TempDir,
    pub here: Arc<Volume>,
    pub there: Arc<Volume>,
    pub pipe: Arc<Pipe>,
    pub root_here: PathBuf,
    pub root_there: PathBuf,
    slots: usize,
    epoch: u32,
    /// What was known to both last.
    pub floor: ObjectId,
}

fn replica(root: &std::path::Path, outlet: Option<Arc<dyn Outlet>>, slots: usize) -> Arc<Volume> {
    let hidden = root.join(HIDDEN);
    std::fs::create_dir_all(&hidden).unwrap();
    let dir = rustix::fs::open(root, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).unwrap();
    let journal = Journal::create(rustix::fs::open(&hidden, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).unwrap(), Limits { slots });
    Arc::new(Volume {
        objects: Objects::new(dir).unwrap(),
        exclude: Exclude::default(),
        journal: Some(Arc::new(journal.unwrap())),
        outlet,
        arrivals: Default::default(),
        cursors: Default::default(),
        ongoing: Default::default(),
    })
}

/// Nothing is marked any more.
fn clean(journal: &Journal, seq: Seq, floor: ObjectId) {
    journal.in_sync(seq);
    for _ in 0..crate::limits::JOURNAL_IDLE_CUTS + 2 {
        journal.cut(floor);
        journal.stable(u64::MAX).unwrap();
    }
    journal.alone();
    assert!(journal.dirty().is_empty() && journal.dirty().birth_floor == floor, "{:?}", journal.dirty());
}

impl Pair {
    /// Two empty directories; the journals hold `slots` marks before they get coarse.
    pub fn new(slots: usize) -> Pair {
        let temp = tempfile::tempdir().unwrap();
        let (root_here, root_there) = (temp.path().join("here"), temp.path().join("there"));
        std::fs::create_dir(&root_here).unwrap();
        std::fs::create_dir(&root_there).unwrap();
        let there = replica(&root_there, None, slots);
        let pipe = Arc::new(Pipe { state: Mutex::default(), there: Mutex::new(there.clone()), lag: AtomicU64::new(0) });
        let here = replica(&root_here, Some(pipe.clone()), slots);
        Pair { _temp: temp, here, there, pipe, root_here, root_there, slots, epoch: 0, floor: ObjectId(0) }
    }

    fn journal(volume: &Volume) -> &Journal {
        volume.journal.as_ref().unwrap()
    }

    /// The marks of both.
    pub fn plan(&self) -> Plan {
        let mut plan = Plan::changed(&Self::journal(&self.here).dirty(), &Self::journal(&self.there).dirty());
        plan.dirty = plan.dirty.union(&DirtySet::new([], self.floor));
        plan
    }

    /// The secondary was a primary meanwhile: what it named by itself counts no more.
    pub fn forget_there(&self) {
        self.there.objects.forget_above(self.floor).unwrap();
    }

    /// One session: `between` happens whenever it can; the connection ends after `cut` operations.
    pub fn session(&mut self, plan: Plan, between: &dyn Fn(), cut: Option<u64>) -> Result<Figures, Broken> {
        self.epoch += 1;
        let hidden = rustix::fs::open(self.root_there.join(HIDDEN), OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).unwrap();
        let target = Target::new(&self.there.objects, &hidden, Exclude::default(), self.there.journal.clone()).unwrap();
        {
            let mut state = self.pipe.state.lock();
            let seq = state.seq;
            *state = State {
                session: Some(self.epoch),
                seq,
                before: seq,
                applied: seq,
                target: Some(target),
                cut_at: cut.map(|cut| seq + cut),
                ..State::default()
            };
        }
        let progress = Progress::default();
        let asked = Cell::new(0);
        let mut questions = Questions { pipe: &self.pipe, answers: VecDeque::new(), asked: &asked };
        let mut sync = Sync::new(&self.here, &*self.pipe, &progress, self.epoch, plan);
        sync.between = Some(between);
        let finish = || {
            if !self.here.arrivals.lock().is_empty() {
                return false;
            }
            let mut state = self.pipe.state.lock();
            (state.session, state.mirror) = (None, true);
            true
        };
        let outcome = sync.run(&mut questions, finish);
        let mut state = self.pipe.state.lock();
        let seq = state.seq;
        let mut figures = Figures {
            sent: state.sent,
            content: progress.bytes.2.load(SeqCst),
            questions: asked.get(),
            kinds: state.kinds.clone(),
            ..Figures::default()
        };
        if let Err(why) = outcome {
            if let Some(error) = state.error.take() {
                panic!("the secondary cannot apply: {error}");
            }
            // What was on its way is lost.
            *state = State { seq, applied: seq, ..State::default() };
            return Err(why);
        }
        self.pipe.apply_to(&mut state, seq);
        assert!(state.error.is_none(), "{:?}", state.error);
        let target = state.target.take().unwrap();
        figures.misfits = target.misfits;
        target.done(&self.there.objects).unwrap().wait().unwrap();
        drop(state);
        self.floor = ObjectId(self.here.objects.table.birth_floor().0 - 1);
        clean(Self::journal(&self.here), seq, self.floor);
        let hidden = rustix::fs::open(self.root_there.join(HIDDEN), OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).unwrap();
        // As a secondary that is in sync has it.
        let journal = Arc::new(Journal::create(hidden, Limits { slots: self.slots }).unwrap());
        clean(&journal, seq, self.floor);
        self.set_journal_there(journal);
        Ok(figures)
    }

    /// Asks the secondary of a mirror.
    pub fn asking<T>(&self, act: impl FnOnce(&Arc<Pipe>, &mut dyn Ask) -> T) -> T {
        let asked = Cell::new(0);
        let mut questions = Questions { pipe: &self.pipe, answers: VecDeque::new(), asked: &asked };
        act(&self.pipe, &mut questions)
    }

    fn set_journal_there(&mut self, journal: Arc<Journal>) {
        // As after a restart: only what the table keeps is known.
        let objects = Objects::new(rustix::io::dup(self.there.objects.root()).unwrap()).unwrap();
        let old = &self.there.objects;
        old.write_old_times(0);
        for (id, _) in old.table.known_in(ObjectId::ROOT, ObjectId(u64::MAX)) {
            objects.table.insert(id, old.table.get(id).unwrap());
        }
        let there = Arc::new(Volume {
            objects,
            exclude: Exclude::default(),
            journal: Some(journal),
            outlet: None,
            arrivals: Default::default(),
            cursors: Default::default(),
            ongoing: Default::default(),
        });
        *self.pipe.there.lock() = there.clone();
        self.there = there;
    }

    /// The connection is lost; both know it.
    pub fn part(&self) {
        let mut state = self.pipe.state.lock();
        let seq = state.seq;
        self.pipe.apply_to(&mut state, seq);
        assert!(state.error.is_none(), "a mirror that cannot apply: {:?}", state.error);
        state.mirror = false;
    }

    /// What differs between the trees.
    pub fn differences(&self) -> Vec<String> {
        self.here.objects.write_old_times(0);
        self.there.objects.write_old_times(0);
        differences(&self.root_here, &self.root_there)
    }

    pub fn must_be_equal(&self, what: &str) {
        let lines = self.differences();
        assert!(lines.is_empty(), "{what}:\n{}", lines.join("\n"));
        let hidden = self.root_there.join(HIDDEN);
        assert_eq!(std::fs::read_dir(hidden.join("parked")).unwrap().count(), 0, "{what}: something is left parked");
    }
}
