//! Content: object after object, each piece under the object's lock. What the secondary already has, by
//! digest, is not sent. Rounds cover many objects, and the answers for the next one are asked while this one is
//! sent.

use super::digest::{self, Digest, next_data, next_hole, read_fully};
use super::round::Work;
use super::source::{Ask, Broken, Sync};
use crate::apply::{identity, read_xattrs};
use crate::id::ObjectId;
use crate::limits::{COMPARE_BLOCK, COMPARE_FINE, FRAME_BODY, RESYNC_PIECE};
use crate::objects::{Kind, Live, flags, mtime};
use crate::op::{self, Fallocate, Op, SyncMeta, Xattr, kind};
use rustix::fd::AsFd;
use rustix::fs::{AtFlags, Stat};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

const PUNCH: u32 = (libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE) as u32;

/// What has to happen to one piece.
enum Todo {
    /// A hole here, where the secondary may have something: offset, length.
    Hole(u64, u64),
    /// Data that differs.
    Block(u64, Vec<u8>),
}

/// What became of an object in this round.
enum Outcome {
    Done,
    /// Blocks in these places differ; finer digests tell where.
    Differs(Vec<u64>),
}

impl Sync<'_> {
    /// Brings all objects on the list up to date. True if directories have arrived meanwhile.
    pub(super) fn content(&mut self, ask: &mut dyn Ask) -> Result<bool, Broken> {
        identity::as_root();
        while let Some(mut round) = self.next_round(ask)? {
            let mut open = Vec::new();
            let mut blocks = Vec::new();
            for number in 0..round.works.len() {
                if let Outcome::Differs(differing) = self.object(&mut round.works[number], true)? {
                    open.push(number);
                    blocks.extend(differing.into_iter().map(|at| (number, at)));
                }
                self.pace()?;
            }
            if !open.is_empty() {
                self.refine(ask, &mut round.works, &blocks)?;
                for number in open {
                    self.object(&mut round.works[number], false)?;
                    self.pace()?;
                }
            }
            if self.between_rounds() {
                self.take_arrivals();
            }
        }
        Ok(!self.directories.is_empty())
    }

    /// Looks at what a round says of one object. `asking`: where blocks differ, say so instead of sending all of
    /// them; then nothing that has to stay in order is sent.
    fn object(&mut self, work: &mut Work, asking: bool) -> Result<Outcome, Broken> {
        let volume = self.volume;
        let id = work.id;
        let mut differing = Vec::new();
        let mut left = VecDeque::new();
        loop {
            let held = volume.objects.locks.one(id);
            if volume.objects.is_orphan(id) || volume.content_known(id, self.epoch) {
                return Ok(self.end(work));
            }
            let Some((live, stat)) = Self::unless_gone(id, self.open(id))? else { return Ok(self.end(work)) };
            let file = live.kind == Kind::File;
            if file && work.whole != self.scope.unknown(id) {
                // It became unknown while it was on the way, and is on the list again.
                return Ok(self.end(work));
            }
            if work.glance && self.is_equal_at_a_glance(work, &stat) {
                return self.finish(work, &live, &stat);
            }
            if work.glance {
                self.differing.push_back((id, work.size));
                return Ok(Outcome::Done);
            }
            let size = if file { stat.st_size as u64 } else { 0 };
            if work.whole && volume.cursors.get(id).is_none() {
                if work.begun {
                    // Its data was shifted: it is on the list again.
                    return Ok(self.end(work));
                }
                volume.cursors.set(id, Some(0));
                // Whoever has to begin again, also under another name of it, finds something there.
                work.empty &= self.empty.remove(id);
            }
            work.begun = true;
            let Some((from, to)) = work.ranges.pop_front() else {
                if differing.is_empty() && work.last {
                    // It may have grown since the round was made, or since a marked extent ended with it.
                    self.regrown(work, size);
                    if !work.ranges.is_empty() {
                        continue;
                    }
                    let at = volume.cursors.get(id).filter(|at| work.whole && *at < size);
                    let Some(at) = at else { return self.finish(work, &live, &stat) };
                    work.ranges.push_back((at, size));
                    continue;
                }
                work.ranges = left;
                return Ok(if differing.is_empty() { Outcome::Done } else { Outcome::Differs(differing) });
            };
            let end = to.min(size);
            if !work.whole && to > size {
                self.tails.entry(id.0).or_default().push((from.max(size), to));
            }
            if from < end {
                // What differs is only looked for from the first block on that does, where the order counts.
                let only_look = asking && work.whole && !differing.is_empty();
                let until = self.piece(work, &live, (from, end), asking, only_look, &mut differing, &mut left)?;
                if work.whole && differing.is_empty() {
                    volume.cursors.set(id, Some(until));
                }
                if until < to.min(size) {
                    work.ranges.push_front((until, to));
                }
            }
            let through = work.ranges.is_empty() && differing.is_empty() && left.is_empty() && work.last;
            if through && (!work.whole || volume.cursors.get(id).is_some_and(|at| at >= size)) {
                self.regrown(work, size);
                if work.ranges.is_empty() {
                    return self.finish(work, &live, &stat);
                }
            }
            drop(held);
            self.pace()?;
        }
    }

    /// A marked extent that reached beyond the end of a partial file: what the secondary has there would go with
    /// the size, but now the file reaches into it. While it has the object's lock, the caller is told what to
    /// look at again.
    fn regrown(&mut self, work: &mut Work, size: u64) {
        let Some(tails) = self.tails.get_mut(&work.id.0) else { return };
        tails.retain(|(from, to)| {
            let within = *from < size;
            if within {
                work.ranges.push_back((*from, *to));
            }
            !within
        });
    }

    /// Nothing is left to do for this object.
    fn end(&mut self, work: &Work) -> Outcome {
        self.volume.cursors.set(work.id, None);
        self.tails.remove(&work.id.0);
        if work.last {
            self.progress.files.1.fetch_add(1, Relaxed);
        }
        Outcome::Done
    }

    /// Its attributes, and then the secondary knows the object.
    fn finish(&mut self, work: &Work, live: &Arc<Live>, stat: &Stat) -> Result<Outcome, Broken> {
        self.meta(work.id, live, stat)?;
        self.volume.objects.table.change(work.id, |entry| entry.content_epoch = self.epoch);
        Ok(self.end(work))
    }

    fn is_equal_at_a_glance(&self, work: &Work, stat: &Stat) -> bool {
        let equal = work.there.stats == Some((stat.st_size as u64, mtime(stat)));
        if equal {
            self.progress.bytes.1.fetch_add(work.size, Relaxed);
        }
        equal
    }

    fn open(&self, id: ObjectId) -> crate::sys::Sys<(Arc<Live>, Stat)> {
        let objects = &self.volume.objects;
        let live = objects.for_reading(id)?;
        let mut stat = rustix::fs::statat(&*live, c"", AtFlags::EMPTY_PATH)?;
        objects.times.overlay(id, &mut stat);
        Ok((live, stat))
    }

    /// Sends what differs at the beginning of a range; returns where that ends.
    #[expect(clippy::too_many_arguments, reason = "what one pass over an object collects")]
    fn piece(
        &mut self,
        work: &Work,
        live: &Live,
        (from, to): (u64, u64),
        asking: bool,
        only_look: bool,
        differing: &mut Vec<u64>,
        left: &mut VecDeque<(u64, u64)>,
    ) -> Result<u64, Broken> {
        let id = work.id;
        let local = |why| Broken::Local(id, why);
        let blind = work.whole && self.volume.cursors.is_blind(id);
        if blind && only_look {
            left.push_back((from, to));
            return Ok(to);
        }
        if work.there.coarse.is_empty() || blind {
            return self.plain(work, live, (from, to), blind);
        }
        // A long hole at once, anything else by pieces.
        let data = next_data(live, from).map_err(local)?.unwrap_or(to).min(to);
        let block = COMPARE_BLOCK as u64;
        let until = to.min((data - data % block).max(from) + RESYNC_PIECE as u64);
        let (mut todo, mut unsure, mut at) = (Vec::new(), Vec::new(), from);
        digest::blocks(live, from, until - from, COMPARE_BLOCK, |offset, data| {
            if offset > at {
                todo.push(Todo::Hole(at, offset - at));
            }
            at = offset + data.len() as u64;
            let there = work.there.coarse.get(&offset);
            if there == Some(&digest::of(data)) {
                return;
            }
            if asking && data.len() > COMPARE_FINE && there.is_some_and(|there| *there != digest::HOLE) {
                unsure.push(offset);
            }
            todo.push(Todo::Block(offset, data.to_vec()));
        })
        .map_err(local)?;
        if until > at {
            todo.push(Todo::Hole(at, until - at));
        }
        if only_look || !unsure.is_empty() {
            differing.append(&mut unsure);
            left.push_back((from, until));
            return Ok(until);
        }
        for todo in todo {
            match todo {
                Todo::Hole(offset, length) => self.hole(work, offset, length, false)?,
                Todo::Block(offset, data) => self.block(work, live, offset, &data)?,
            }
        }
        self.progress.bytes.1.fetch_add(until - from, Relaxed);
        Ok(until)
    }

    /// Whether the secondary may have something at `offset`.
    fn occupied(work: &Work, offset: u64, blind: bool) -> bool {
        blind || !work.empty && work.there.size.is_none_or(|size| size > offset)
    }

    /// A hole here, where the secondary may have something.
    fn hole(&mut self, work: &Work, offset: u64, length: u64, blind: bool) -> Result<(), Broken> {
        let block = COMPARE_BLOCK as u64;
        let is_hole = |at: u64| work.there.coarse.get(&at) == Some(&digest::HOLE) || work.there.size.is_some_and(|size| size <= at);
        let known =
            !blind && offset.is_multiple_of(block) && length <= 16 * block && (offset..offset + length).step_by(COMPARE_BLOCK).all(is_hole);
        if known || !Self::occupied(work, offset, blind) {
            return Ok(());
        }
        let op = Op { offset, aux: PUNCH, ..Op::new(kind::FALLOCATE, work.id).body(&Fallocate { length }) };
        self.push(&op, false).map(drop)
    }

    /// One block that differs: its data is sent as far as it does, its holes stay holes.
    fn block(&mut self, work: &Work, live: &Live, offset: u64, data: &[u8]) -> Result<(), Broken> {
        if !work.there.fine.contains_key(&offset) {
            return self.data(work, live, offset, data, Self::occupied(work, offset, false));
        }
        let mut here: Vec<Digest> = vec![digest::HOLE; data.len().div_ceil(COMPARE_FINE)];
        digest::blocks(live, offset, data.len() as u64, COMPARE_FINE, |at, part| {
            here[(at - offset) as usize / COMPARE_FINE] = digest::of(part);
        })
        .map_err(|why| Broken::Local(work.id, why))?;
        let same = |number: usize| work.there.fine.get(&(offset + (number * COMPARE_FINE) as u64)) == Some(&here[number]);
        let mut number = 0;
        while number < here.len() {
            let first = number;
            while number < here.len() && !same(number) {
                number += 1;
            }
            if number > first {
                let (from, to) = (first * COMPARE_FINE, (number * COMPARE_FINE).min(data.len()));
                self.data(work, live, offset + from as u64, &data[from..to], true)?;
            }
            number += 1;
        }
        Ok(())
    }

    fn data(&mut self, work: &Work, live: &Live, offset: u64, data: &[u8], occupied: bool) -> Result<(), Broken> {
        let local = |why| Broken::Local(work.id, why);
        let end = offset + data.len() as u64;
        let mut at = offset;
        while at < end {
            let begin = next_data(live, at).map_err(local)?.unwrap_or(end).min(end);
            if begin > at && occupied {
                let op = Op { offset: at, aux: PUNCH, ..Op::new(kind::FALLOCATE, work.id).body(&Fallocate { length: begin - at }) };
                self.push(&op, false)?;
            }
            if begin == end {
                break;
            }
            let hole = next_hole(live, begin).map_err(local)?.min(end);
            self.write(work.id, begin, &data[(begin - offset) as usize..(hole - offset) as usize])?;
            at = hole;
        }
        Ok(())
    }

    fn write(&mut self, id: ObjectId, offset: u64, data: &[u8]) -> Result<(), Broken> {
        self.progress.bytes.2.fetch_add(data.len() as u64, Relaxed);
        self.push(&Op { offset, payload: data, ..Op::new(kind::WRITE, id) }, false).map(drop)
    }

    /// Sends the beginning of a range without comparing.
    fn plain(&mut self, work: &Work, live: &Live, (from, to): (u64, u64), blind: bool) -> Result<u64, Broken> {
        let local = |why| Broken::Local(work.id, why);
        let data = next_data(live, from).map_err(local)?.unwrap_or(to).min(to);
        if data > from && Self::occupied(work, from, blind) {
            self.hole(work, from, data - from, true)?;
        }
        let until = next_hole(live, data).map_err(local)?.min(to).min(data + RESYNC_PIECE as u64);
        let mut reached = data;
        if data < until {
            let mut buffer = std::mem::take(&mut self.buffer);
            buffer.resize((until - data) as usize, 0);
            let got = read_fully(live.as_fd(), data, &mut buffer).map_err(local)?;
            self.write(work.id, data, &buffer[..got])?;
            reached = if got == buffer.len() { until } else { to };
            self.buffer = buffer;
        }
        self.progress.bytes.1.fetch_add(reached - from, Relaxed);
        Ok(reached)
    }

    pub(super) fn meta(&mut self, id: ObjectId, live: &Live, stat: &Stat) -> Result<(), Broken> {
        let Some(xattrs) = Self::unless_gone(id, read_xattrs(live.as_fd()))? else { return Ok(()) };
        let file = live.kind == Kind::File;
        let flags = if file || live.kind == Kind::Directory { flags::get(live) } else { None };
        let (xattrs, large) = split_large(xattrs);
        let body =
            SyncMeta { mode: stat.st_mode, uid: stat.st_uid, gid: stat.st_gid, size: file.then_some(stat.st_size as u64), xattrs, flags };
        self.push(&Op::new(kind::SYNC_META, id).mtime(mtime(stat)).body(&body), false)?;
        for (name, value) in large {
            let body = Xattr { name, mode: stat.st_mode & 0o7777 };
            self.push(&Op { payload: &value, ..Op::new(kind::SETXATTR, id).mtime(mtime(stat)).body(&body) }, false)?;
        }
        Ok(())
    }
}

type Xattrs = Vec<(op::Bytes, op::Bytes)>;

/// What fits into the body of one frame, and what travels by itself: some file systems keep many large values.
fn split_large(xattrs: Xattrs) -> (Xattrs, Xattrs) {
    let mut room = FRAME_BODY / 4;
    xattrs.into_iter().partition(|(name, value)| {
        let size = name.len() + value.len() + 16;
        let fits = size <= room;
        room -= if fits { size } else { 0 };
        fits
    })
}
