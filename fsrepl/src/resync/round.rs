//! Rounds of content: what is asked together, and asked ahead of what is being sent.

use super::digest::{self, Digest};
use super::progress::Doing;
use super::source::{Ask, Broken, Sync};
use crate::id::{ObjectId, Stamp};
use crate::limits::{COMPARE_BLOCK, COMPARE_FINE, RESYNC_AHEAD, RESYNC_PIECE, RESYNC_ROUND, RESYNC_ROUND_BYTES};
use crate::objects::{Kind, Live};
use crate::op::{Digests, Question, Said};
use rustc_hash::FxHashMap;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

/// What the secondary said of one object.
#[derive(Debug, Default)]
pub struct There {
    /// Size of its file; none where nobody asked.
    pub size: Option<u64>,
    /// Digests of blocks of [`COMPARE_BLOCK`] by their offset.
    pub coarse: FxHashMap<u64, Digest>,
    /// Digests of parts of [`COMPARE_FINE`] by their offset.
    pub fine: FxHashMap<u64, Digest>,
    /// Size and time, where only those were asked.
    pub stats: Option<(u64, Stamp)>,
}

/// What one round does with one object.
#[derive(Debug, Default)]
pub struct Work {
    pub id: ObjectId,
    /// As it was found, for progress.
    pub size: u64,
    /// All of it may differ, not only `ranges`.
    pub whole: bool,
    /// The secondary has nothing of it.
    pub empty: bool,
    /// Pieces to look at: offset and end.
    pub ranges: VecDeque<(u64, u64)>,
    /// An earlier round, or this one, has sent the beginning.
    pub begun: bool,
    /// The object is done with this round.
    pub last: bool,
    /// Size and time are compared first.
    pub glance: bool,
    pub there: There,
}

/// Objects that one question covers.
#[derive(Debug, Default)]
pub struct Round {
    pub works: Vec<Work>,
    /// The question, and for each of its pieces the work and the offset.
    asked: Option<(u64, Vec<(usize, u64)>)>,
}

/// A file that does not fit into one round.
#[derive(Debug)]
pub struct Large {
    id: ObjectId,
    size: u64,
    whole: bool,
    begun: bool,
    /// What is left of it.
    ranges: VecDeque<(u64, u64)>,
}

type Pieces = Vec<(ObjectId, u64, u32)>;

impl Sync<'_> {
    /// The next round, with its question answered; others are asked ahead meanwhile.
    pub(super) fn next_round(&mut self, ask: &mut dyn Ask) -> Result<Option<Round>, Broken> {
        while self.rounds.len() <= RESYNC_AHEAD {
            let Some(round) = self.make_round(ask)? else { break };
            self.rounds.push_back(round);
        }
        let Some(mut round) = self.rounds.pop_front() else { return Ok(None) };
        if let Some(work) = round.works.first() {
            *self.progress.doing.lock() = Doing::Content(work.id);
        }
        if let Some((number, places)) = round.asked.take() {
            match self.answer(ask, number)? {
                Said::Digests(said) if said.len() == places.len() => enter(&mut round.works, &places, said, COMPARE_BLOCK),
                Said::Stats(said) if said.len() == places.len() => {
                    said.into_iter().zip(&places).for_each(|(stats, (work, _))| round.works[*work].there.stats = stats);
                }
                _ => return Err(Broken::nonsense()),
            }
        }
        Ok(Some(round))
    }

    /// Whether a round is under way.
    pub(super) fn between_rounds(&self) -> bool {
        self.rounds.is_empty() && self.large.is_none()
    }

    fn make_round(&mut self, ask: &mut dyn Ask) -> Result<Option<Round>, Broken> {
        let glance = self.scope.everything && !self.plan.hash;
        let mut round = Round::default();
        let mut pieces: Pieces = Vec::new();
        let mut places = Vec::new();
        let mut glances = Vec::new();
        let mut bytes = 0;
        while round.works.len() < RESYNC_ROUND && bytes < RESYNC_ROUND_BYTES {
            let work = if let Some(large) = self.large.take() {
                Some(self.go_on(large, RESYNC_ROUND_BYTES - bytes, &mut bytes))
            } else if let Some((id, size)) = self.differing.pop_front() {
                self.begin_object(id, size, RESYNC_ROUND_BYTES - bytes, &mut bytes)?
            } else if glance && !pieces.is_empty() {
                // Questions of one kind in a round.
                break;
            } else if let Some((id, size)) = self.contents.pop_front() {
                let file = self.volume.objects.table.look(id, |entry| entry.kind) == Some(Kind::File);
                if glance && file && !self.empty.contains(id) {
                    glances.push(id);
                    places.push((round.works.len(), 0));
                    Some(Work { id, size, glance: true, whole: true, ..Work::default() })
                } else {
                    self.begin_object(id, size, RESYNC_ROUND_BYTES - bytes, &mut bytes)?
                }
            } else {
                break;
            };
            let Some(work) = work else { continue };
            if !work.glance && self.worth_asking(&work) {
                for (from, to) in pieces_of(&work.ranges) {
                    pieces.push((work.id, from, (to - from) as u32));
                    places.push((round.works.len(), from));
                }
            }
            round.works.push(work);
            if !pieces.is_empty() && !glances.is_empty() {
                break;
            }
        }
        if round.works.is_empty() {
            return Ok(None);
        }
        let question = match (pieces.is_empty(), glances.is_empty()) {
            (true, true) => return Ok(Some(round)),
            (true, false) => Question::Stats(glances),
            _ => Question::Digests { block: COMPARE_BLOCK as u32, pieces },
        };
        let number = self.ask(ask, question, self.named)?;
        round.asked = Some((number, places));
        Ok(Some(round))
    }

    /// What can be sent without asking costs no question: what the secondary does not have, and what is no larger
    /// than a digest is worth and known to differ.
    fn worth_asking(&self, work: &Work) -> bool {
        let small = work.last && work.whole && work.ranges.iter().map(|(from, to)| to - from).sum::<u64>() <= COMPARE_FINE as u64;
        !work.empty && !work.ranges.is_empty() && (self.scope.everything || !small)
    }

    /// None if there is nothing to do any more.
    fn begin_object(&mut self, id: ObjectId, size: u64, most: u64, bytes: &mut u64) -> Result<Option<Work>, Broken> {
        let volume = self.volume;
        // Under another name it was here before, or it was born known.
        if volume.objects.is_orphan(id) || volume.content_known(id, self.epoch) {
            self.passed_over(size);
            return Ok(None);
        }
        let kind = volume.objects.table.look(id, |entry| entry.kind);
        if kind != Some(Kind::File) {
            return Ok(Some(Work { id, size, last: true, ..Work::default() }));
        }
        let (whole, empty) = (self.scope.unknown(id), self.empty.contains(id));
        if whole && empty {
            return Ok(Some(Work { id, size, whole, empty, ranges: VecDeque::from([(0, u64::MAX)]), last: true, ..Work::default() }));
        }
        let Some(live) = Self::unless_gone(id, volume.objects.for_reading(id))? else {
            self.passed_over(size);
            return Ok(None);
        };
        let now = rustix::fs::fstat(&*live).map_err(|why| Broken::Local(id, why))?.st_size as u64;
        let ranges = if whole {
            VecDeque::from([(0, now)])
        } else {
            // To their ends: the file may grow into them.
            self.scope.extents(id).iter().map(|at| (*at, at + crate::limits::JOURNAL_EXTENT)).collect()
        };
        Ok(Some(self.go_on_with(&live, Large { id, size, whole, begun: false, ranges }, most, bytes)))
    }

    fn passed_over(&self, size: u64) {
        self.progress.files.1.fetch_add(1, Relaxed);
        self.progress.bytes.1.fetch_add(size, Relaxed);
    }

    fn go_on(&mut self, large: Large, most: u64, bytes: &mut u64) -> Work {
        match self.volume.objects.for_reading(large.id) {
            Ok(live) => self.go_on_with(&live, large, most, bytes),
            // Gone, or found out when it is sent.
            Err(_) => {
                let Large { id, size, whole, begun, ranges } = large;
                Work { id, size, whole, begun, ranges, last: true, ..Work::default() }
            }
        }
    }

    /// Takes pieces of up to `most` bytes of data from a file; what is left is for the next round. Holes are passed
    /// over: nothing is asked about them.
    fn go_on_with(&mut self, live: &Arc<Live>, mut large: Large, most: u64, bytes: &mut u64) -> Work {
        let mut work = Work { id: large.id, size: large.size, whole: large.whole, begun: large.begun, ..Work::default() };
        let mut taken = 0;
        while let Some((from, to)) = large.ranges.pop_front() {
            let block = COMPARE_BLOCK as u64;
            // A hint: what is written meanwhile is looked at when it is sent.
            let data = digest::next_data(live, from).ok().flatten().unwrap_or(to).min(to);
            let first = (data - data % block).max(from);
            if first > from {
                work.ranges.push_back((from, first));
            }
            let until = to.min(first + (most - taken).next_multiple_of(block).max(block));
            let until = digest::next_hole(live, data)
                .map_or(until, |hole| if hole < until { until.min(hole.next_multiple_of(block)) } else { until })
                .max(first);
            if until > first {
                work.ranges.push_back((first, until));
                taken += until - first;
            }
            if until < to && first < to {
                large.ranges.push_front((until, to));
            }
            if taken >= most || work.ranges.len() >= RESYNC_ROUND {
                break;
            }
        }
        *bytes += taken;
        work.last = large.ranges.is_empty();
        if !work.last {
            large.begun = true;
            self.large = Some(large);
        }
        work
    }

    /// Asks for finer digests of blocks that differ, and enters the answer.
    pub(super) fn refine(&mut self, ask: &mut dyn Ask, works: &mut [Work], blocks: &[(usize, u64)]) -> Result<(), Broken> {
        let pieces: Pieces = blocks.iter().map(|(work, at)| (works[*work].id, *at, COMPARE_BLOCK as u32)).collect();
        let number = self.ask(ask, Question::Digests { block: COMPARE_FINE as u32, pieces }, self.named)?;
        match self.answer(ask, number)? {
            Said::Digests(said) if said.len() == blocks.len() => {
                enter(works, blocks, said, COMPARE_FINE);
                Ok(())
            }
            _ => Err(Broken::nonsense()),
        }
    }
}

/// Pieces that one digest answer covers each.
fn pieces_of(ranges: &VecDeque<(u64, u64)>) -> Vec<(u64, u64)> {
    let piece = RESYNC_PIECE as u64;
    // Long holes are no pieces: they are told as such.
    let short = ranges.iter().filter(|(from, to)| to - from <= 2 * RESYNC_ROUND_BYTES);
    short.flat_map(|(from, to)| (*from..*to).step_by(RESYNC_PIECE).map(move |at| (at, (at + piece).min(*to)))).collect()
}

/// Notes an answer with the objects it is about.
fn enter(works: &mut [Work], places: &[(usize, u64)], said: Digests, block: usize) {
    for ((size, digests), (work, from)) in said.into_iter().zip(places) {
        let there = &mut works[*work].there;
        if size == digest::UNKNOWN {
            continue;
        }
        there.size = Some(size);
        let known = if block == COMPARE_FINE { &mut there.fine } else { &mut there.coarse };
        for (number, digest) in digests.chunks_exact(digest::HOLE.len()).enumerate() {
            if let Ok(digest) = digest.try_into() {
                known.insert(from + (number * block) as u64, digest);
            }
        }
    }
}
