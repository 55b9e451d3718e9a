//! Comparing both copies while the application writes: names, attributes, extended attributes, and content by digests
//! of blocks. Nothing is changed here.
//!
//! First everything is compared without holding anybody up. What seems to differ may only be on its way. So it is
//! looked at again under the object's lock, and the secondary answers after it has applied everything sent until
//! then: at that point of the stream both copies of this object must be equal, and only what differs there is reported.
//!
//! Objects are walked by their ids, not by their names: each that was there when the walk began is met once,
//! whatever is renamed meanwhile; what is born later was mirrored from its first byte.

mod content;
mod detail;
mod found;
mod names;
mod place;
#[cfg(test)]
mod tests;

pub use detail::{data, details, entries};
pub use found::{Difference, Found, How};
pub(crate) use place::of as place_of;

use crate::apply::Volume;
use crate::id::ObjectId;
use crate::limits::{OBJECTS_RANGE, RESYNC_ROUND};
use crate::objects::Kind;
use crate::op::{Detail, Query, Question, Said};
use crate::resync::ids::IdSet;
use crate::resync::{Ask, Stream};
use crate::sys::Sys;
use detail::detail;
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// How a verify is done.
#[derive(Clone, Copy, Debug, Default)]
pub struct Manner {
    /// Content is read from the disks, not from the page caches.
    pub direct: bool,
    /// Most bytes of content that each node reads in a second; 0 for no limit.
    pub max_rate: u64,
}

/// How far it is.
#[derive(Debug)]
pub struct Progress {
    /// Objects there are (about), and looked at.
    pub objects: (AtomicU64, AtomicU64),
    /// Bytes of content compared.
    pub bytes: AtomicU64,
    /// Differences found.
    pub differences: AtomicU64,
    /// What seemed to differ and was looked at again under its lock.
    pub rechecked: AtomicU64,
    began: Instant,
}

impl Default for Progress {
    fn default() -> Progress {
        let zero = AtomicU64::default;
        Progress { objects: (zero(), zero()), bytes: zero(), differences: zero(), rechecked: zero(), began: Instant::now() }
    }
}

impl Progress {
    /// Seconds since the beginning.
    pub fn seconds(&self) -> f64 {
        self.began.elapsed().as_secs_f64().max(0.001)
    }

    /// Bytes of content compared a second.
    pub fn rate(&self) -> u64 {
        (self.bytes.load(Relaxed) as f64 / self.seconds()) as u64
    }

    /// Seconds that are left if the objects to come are like those that were.
    pub fn eta(&self) -> Option<f64> {
        let (all, done) = (self.objects.0.load(Relaxed), self.objects.1.load(Relaxed));
        (done > 0).then(|| self.seconds() * all.saturating_sub(done) as f64 / done as f64)
    }
}

/// Why it ended before its end.
#[derive(Debug, thiserror::Error)]
pub enum Broken {
    /// The secondary.
    #[error("the secondary does not answer any more: {0}")]
    Gone(String),
    /// This node's own file system.
    #[error("{0} cannot be read here: {1}")]
    Local(String, Errno),
    /// Direct reading is not possible.
    #[error("{0} has no direct reading: do without --direct")]
    NotDirect(&'static str),
    /// It was told to.
    #[error("it was stopped")]
    Stopped,
}

/// Numbers of questions, over all walks of this process: one may be stopped while its answers are on their way. Higher
/// ones than any resync asks on the same connection.
static ASKED: AtomicU64 = AtomicU64::new(1 << 40);

/// One walk over both copies.
pub struct Verify<'a> {
    volume: &'a Volume,
    stream: &'a dyn Stream,
    ask: &'a mut dyn Ask,
    manner: Manner,
    progress: &'a Progress,
    stop: &'a AtomicBool,
    found: Found,
    /// Objects that the secondary does not have,
    absent: IdSet,
    /// and objects of which a name was told as missing.
    named: IdSet,
    /// Numbers of this walk's questions.
    first: u64,
    last: u64,
    answers: BTreeMap<u64, Said>,
}

impl<'a> Verify<'a> {
    /// Prepares a walk. Nobody else asks over `ask` meanwhile.
    pub fn new(
        volume: &'a Volume,
        stream: &'a impl Stream,
        ask: &'a mut dyn Ask,
        manner: Manner,
        progress: &'a Progress,
        stop: &'a AtomicBool,
    ) -> Verify<'a> {
        let first = ASKED.load(Relaxed);
        let (absent, named) = (IdSet::default(), IdSet::default());
        let (found, answers) = (Found::default(), BTreeMap::new());
        Verify { volume, stream, ask, manner, progress, stop, found, absent, named, first, last: first, answers }
    }

    /// Compares everything.
    pub fn run(mut self) -> Result<Found, Broken> {
        let table = &self.volume.objects.table;
        let end = table.birth_floor();
        self.progress.objects.0.store(table.len() as u64, Relaxed);
        let mut at = ObjectId::ROOT;
        while at < end {
            let last = ObjectId((at.0 + OBJECTS_RANGE - 1).min(end.0 - 1));
            for part in table.known_in(at, last).chunks(RESYNC_ROUND) {
                self.part(part)?;
            }
            at = ObjectId(last.0 + 1);
        }
        self.report_absent();
        Ok(self.found)
    }

    /// Compares only these objects.
    pub fn only(mut self, ids: &[ObjectId]) -> Result<Found, Broken> {
        self.progress.objects.0.store(ids.len() as u64, Relaxed);
        let kind = |id: &ObjectId| Some((*id, self.volume.objects.table.look(*id, |entry| entry.kind)?));
        let known: Vec<_> = ids.iter().filter_map(kind).collect();
        for part in known.chunks(RESYNC_ROUND) {
            self.part(part)?;
        }
        self.report_absent();
        Ok(self.found)
    }

    fn part(&mut self, part: &[(ObjectId, Kind)]) -> Result<(), Broken> {
        crate::apply::identity::as_root();
        let objects = &self.volume.objects;
        let mirrored: Vec<_> = part.iter().filter(|(id, _)| !objects.table.is_local(*id) && !objects.is_orphan(*id)).copied().collect();
        let mut left: Vec<ObjectId> = mirrored.iter().map(|(id, _)| *id).collect();
        while !left.is_empty() {
            self.go_on()?;
            let number = self.ask(Question::Details(left.clone()))?;
            let here: Vec<_> = left.iter().map(|id| self.here(*id)).collect();
            let Said::Details(there) = self.answer(number)? else { return Err(nonsense()) };
            if there.is_empty() || there.len() > left.len() {
                return Err(nonsense());
            }
            for ((id, here), there) in left.iter().zip(here).zip(&there) {
                // What is gone here needs no comparing: its name is compared with its directory.
                if here?.is_some_and(|here| there.as_ref() != Some(&here)) {
                    self.recheck(*id)?;
                }
            }
            left.drain(..there.len());
        }
        let files = mirrored.iter().filter(|(_, kind)| *kind == Kind::File).map(|(id, _)| *id);
        self.content(files.collect())?;
        self.progress.objects.1.fetch_add(part.len() as u64, Relaxed);
        Ok(())
    }

    /// This node's details of an object; none if it is gone.
    fn here(&self, id: ObjectId) -> Result<Option<Detail>, Broken> {
        let volume = self.volume;
        match detail(&volume.objects, id, &volume.exclude) {
            Ok((detail, _)) => Ok(Some(detail)),
            Err(why) => self.unless_gone(id, Err(why)),
        }
    }

    fn unless_gone<T>(&self, id: ObjectId, result: Sys<T>) -> Result<Option<T>, Broken> {
        match result {
            Ok(value) => Ok(Some(value)),
            Err(Errno::STALE | Errno::NOENT) => Ok(None),
            Err(why) => Err(Broken::Local(place::of(self.volume, id), why)),
        }
    }

    /// The object seemed to differ: under its lock, and after everything sent so far, it must not.
    fn recheck(&mut self, id: ObjectId) -> Result<(), Broken> {
        self.progress.rechecked.fetch_add(1, Relaxed);
        let volume = self.volume;
        let held = volume.objects.locks.one(id);
        if volume.objects.is_orphan(id) || volume.objects.table.is_local(id) {
            return Ok(());
        }
        let Some(here) = self.here(id)? else { return Ok(()) };
        let number = self.ask(Question::Details(vec![id]))?;
        let Said::Details(there) = self.answer(number)? else { return Err(nonsense()) };
        let there = there.into_iter().next().ok_or_else(nonsense)?;
        if self.is_excluded(id) {
            return Ok(());
        }
        let Some(there) = there else {
            self.absent.insert(id);
            return Ok(());
        };
        if here.names != there.names {
            self.names(id)?;
        }
        drop(held);
        let what = detail::differing(&here, &there);
        if !what.is_empty() {
            let path = place::of(volume, id);
            self.enter(id, Difference { path, kind: How::Attributes, what, ranges: Vec::new() });
        }
        Ok(())
    }

    /// What was replicated before it was excluded is in the table still.
    fn is_excluded(&self, id: ObjectId) -> bool {
        !self.volume.exclude.is_empty() && self.volume.exclude.covers(&place::of(self.volume, id))
    }

    /// A missing object is told by its names; one whose names are all there is not in the secondary's table.
    fn report_absent(&mut self) {
        for id in std::mem::take(&mut self.absent).sorted() {
            if self.named.contains(id) || self.volume.objects.is_orphan(id) || self.volume.objects.stat(id).is_err() {
                continue;
            }
            self.found.suspect(id);
            let path = place::of(self.volume, id);
            self.enter(id, Difference { path, kind: How::Missing, what: Vec::new(), ranges: Vec::new() });
        }
    }

    fn enter(&mut self, id: ObjectId, difference: Difference) {
        self.found.enter(id, difference);
        self.progress.differences.store(self.found.count, Relaxed);
    }

    /// Asks; the secondary looks at it when it has applied all that was sent until now.
    fn ask(&mut self, question: Question) -> Result<u64, Broken> {
        if !self.stream.push_out() {
            return Err(Broken::Gone("the connection ended".into()));
        }
        self.last = ASKED.fetch_add(1, Relaxed);
        let query = Query { number: self.last, question };
        self.ask.send(&query, self.stream.given()).map_err(Broken::Gone)?;
        Ok(self.last)
    }

    fn answer(&mut self, number: u64) -> Result<Said, Broken> {
        loop {
            if let Some(said) = self.answers.remove(&number) {
                return Ok(said);
            }
            let answer = self.ask.receive().map_err(Broken::Gone)?;
            if answer.number > self.last {
                return Err(nonsense());
            }
            // What an earlier walk that was stopped asked, nobody waits for.
            if answer.number >= self.first {
                self.answers.insert(answer.number, answer.said);
            }
        }
    }

    fn go_on(&self) -> Result<(), Broken> {
        if self.stop.load(Relaxed) { Err(Broken::Stopped) } else { Ok(()) }
    }

    /// So many bytes were read: waits until that is no more than was allowed. Not while holding a lock.
    fn pace(&self, bytes: u64) -> Result<(), Broken> {
        let read = self.progress.bytes.fetch_add(bytes, Relaxed) + bytes;
        loop {
            self.go_on()?;
            if self.manner.max_rate == 0 {
                return Ok(());
            }
            let due = Duration::from_secs_f64(read as f64 / self.manner.max_rate as f64);
            let Some(ahead) = due.checked_sub(self.progress.began.elapsed()).filter(|ahead| *ahead > Duration::from_millis(10)) else {
                return Ok(());
            };
            std::thread::sleep(ahead.min(Duration::from_millis(100)));
        }
    }
}

fn nonsense() -> Broken {
    Broken::Gone("the answer is not to this question".into())
}
