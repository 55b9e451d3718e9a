//! Content: object after object, each piece under the object's lock. What the secondary already has, by
//! digest, is not sent. Small files go in rounds, so that one question covers many.

use super::digest::{self, Digest, read_fully};
use super::source::{Ask, Broken, Sync};
use crate::apply::{identity, read_xattrs};
use crate::id::ObjectId;
use crate::limits::{COMPARE_BLOCK, FRAME_BODY, RESYNC_PIECE, RESYNC_ROUND};
use crate::objects::{Kind, Live, flags, mtime};
use crate::op::{self, Fallocate, Op, Query, Question, Said, SyncMeta, Xattr, kind};
use crate::sys;
use rustix::fd::AsFd;
use rustix::fs::{AtFlags, Stat};
use rustix::io::Errno;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

/// What the secondary has of one piece: the size of its file, and digests of the blocks it has there.
type There = (u64, Vec<Digest>);

const PUNCH: u32 = (libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE) as u32;

impl Sync<'_> {
    /// Syncs up to a round of objects.
    pub(super) fn content_round(&mut self, ask: &mut dyn Ask) -> Result<(), Broken> {
        identity::as_root();
        let mut round = Vec::new();
        let mut bytes = 0;
        while round.len() < RESYNC_ROUND && bytes < RESYNC_PIECE as u64 {
            let Some((id, size)) = self.contents.pop_front() else { break };
            // Under another name it was here before, or it was born known.
            if self.volume.content_known(id, self.epoch) {
                self.progress.files.1.fetch_add(1, Relaxed);
                self.progress.bytes.1.fetch_add(size, Relaxed);
                continue;
            }
            bytes += size.min(RESYNC_PIECE as u64);
            round.push((id, size));
        }
        let asked: Vec<(ObjectId, u64, u32)> =
            round.iter().filter(|(_, size)| *size > 0).map(|(id, size)| (*id, 0, (*size).min(RESYNC_PIECE as u64) as u32)).collect();
        let mut answers = self.question(ask, asked)?.into_iter();
        for (id, size) in round {
            let there = if size > 0 { answers.next().unwrap_or((digest::UNKNOWN, Vec::new())) } else { (digest::UNKNOWN, Vec::new()) };
            self.object(ask, id, there)?;
            self.progress.files.1.fetch_add(1, Relaxed);
            self.pace()?;
        }
        Ok(())
    }

    fn question(&mut self, ask: &mut dyn Ask, pieces: Vec<(ObjectId, u64, u32)>) -> Result<Vec<There>, Broken> {
        if pieces.is_empty() {
            return Ok(Vec::new());
        }
        if !self.primary.push_out() {
            return Err(Broken::Connection);
        }
        self.queries += 1;
        let asked = pieces.len();
        let query = Query { number: self.queries, question: Question::Digests(pieces) };
        let answer = ask.ask(&query, self.primary.progress().0).map_err(Broken::Bulk)?;
        match answer.said {
            Said::Digests(there) if answer.number == query.number && there.len() == asked => Ok(there),
            _ => Err(Broken::Bulk("the answer is not to this question".into())),
        }
    }

    /// Brings one object up to date. [`digest::UNKNOWN`] says that nobody asked what the secondary has.
    fn object(&mut self, ask: &mut dyn Ask, id: ObjectId, mut there: There) -> Result<(), Broken> {
        let volume = self.volume;
        let mut at = 0;
        loop {
            let held = volume.objects.locks.one(id);
            if volume.objects.is_orphan(id) || volume.content_known(id, self.epoch) {
                volume.cursors.set(id, None);
                return Ok(());
            }
            let Some((live, stat)) = Self::unless_gone(id, self.open(id))? else {
                volume.cursors.set(id, None);
                return Ok(());
            };
            let size = if live.kind == Kind::File { stat.st_size as u64 } else { 0 };
            // A file that grew since it was listed may be there in parts that nobody asked about.
            let unknown = there.0 == digest::UNKNOWN && size > 0;
            let blind = unknown || volume.cursors.is_blind(id);
            if at == 0 {
                volume.cursors.set(id, Some(0));
            }
            if at < size {
                at = self.piece(id, &live, at, size, &there, blind)?;
                volume.cursors.set(id, Some(at));
            }
            if at >= size {
                self.meta(id, &live, &stat)?;
                volume.objects.table.change(id, |entry| entry.content_epoch = self.epoch);
                volume.cursors.set(id, None);
                return Ok(());
            }
            drop(held);
            self.pace()?;
            let length = (size - at).min(RESYNC_PIECE as u64) as u32;
            there = if there.0 != digest::UNKNOWN && there.0 > at && !blind {
                self.question(ask, vec![(id, at, length)])?.pop().unwrap_or((digest::UNKNOWN, Vec::new()))
            } else {
                (there.0, Vec::new())
            };
        }
    }

    fn open(&self, id: ObjectId) -> sys::Sys<(Arc<Live>, Stat)> {
        let objects = &self.volume.objects;
        let live = match objects.table.look(id, |entry| entry.kind) {
            Some(Kind::File | Kind::Directory) => objects.live(id)?,
            _ => objects.any_fd(id)?,
        };
        let mut stat = rustix::fs::statat(&*live, c"", AtFlags::EMPTY_PATH)?;
        objects.times.overlay(id, &mut stat);
        Ok((live, stat))
    }

    /// Sends what differs in the piece that begins at `at`; returns where it ends.
    fn piece(&mut self, id: ObjectId, live: &Live, at: u64, size: u64, there: &There, blind: bool) -> Result<u64, Broken> {
        let data = next_data(live, at).map_err(|why| Broken::Local(id, why))?.unwrap_or(size).min(size);
        let end = if data == size { size } else { data - data % COMPARE_BLOCK as u64 };
        if end <= at {
            return self.compare(id, live, at, size, there, blind);
        }
        if blind || there.0 > at {
            self.punch(id, at, end - at)?;
        }
        self.progress.bytes.1.fetch_add(end - at, Relaxed);
        Ok(end)
    }

    /// A hole here, where the secondary may have something.
    fn punch(&mut self, id: ObjectId, offset: u64, length: u64) -> Result<(), Broken> {
        let op = Op { offset, aux: PUNCH, ..Op::new(kind::FALLOCATE, id).body(&Fallocate { length }) };
        self.push(&op, false).map(drop)
    }

    fn compare(&mut self, id: ObjectId, live: &Live, at: u64, size: u64, there: &There, blind: bool) -> Result<u64, Broken> {
        let mut buffer = vec![0; (size - at).min(RESYNC_PIECE as u64) as usize];
        let got = read_fully(live.as_fd(), at, &mut buffer).map_err(|why| Broken::Local(id, why))?;
        buffer.truncate(got);
        let here = if there.1.is_empty() || blind { Vec::new() } else { digest::of(&buffer) };
        for (number, block) in buffer.chunks(COMPARE_BLOCK).enumerate() {
            let same = !blind && here.get(number).is_some_and(|here| there.1.get(number) == Some(here));
            if !same {
                self.block(id, live, at + (number * COMPARE_BLOCK) as u64, block, blind || there.0 > at)?;
            }
        }
        self.progress.bytes.1.fetch_add(got as u64, Relaxed);
        Ok(if got == 0 { size } else { at + got as u64 })
    }

    /// One block that differs: its data is sent, its holes stay holes.
    fn block(&mut self, id: ObjectId, live: &Live, offset: u64, block: &[u8], occupied: bool) -> Result<(), Broken> {
        let local = |why| Broken::Local(id, why);
        let end = offset + block.len() as u64;
        let mut at = offset;
        while at < end {
            let data = next_data(live, at).map_err(local)?.unwrap_or(end).min(end);
            if data > at && occupied {
                self.punch(id, at, data - at)?;
            }
            if data == end {
                break;
            }
            let hole = next_hole(live, data).map_err(local)?.min(end);
            let piece = &block[(data - offset) as usize..(hole - offset) as usize];
            self.progress.bytes.2.fetch_add(piece.len() as u64, Relaxed);
            self.push(&Op { offset: data, payload: piece, ..Op::new(kind::WRITE, id) }, false)?;
            at = hole;
        }
        Ok(())
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

/// Where data begins at or after `at`; none if there is only a hole.
fn next_data(live: &Live, at: u64) -> sys::Sys<Option<u64>> {
    match sys::seek(live.as_fd(), at as i64, libc::SEEK_DATA) {
        Ok(data) => Ok(Some(data as u64)),
        Err(Errno::NXIO) => Ok(None),
        // A file system that knows no holes.
        Err(Errno::INVAL) => Ok(Some(at)),
        Err(why) => Err(why),
    }
}

/// Where the data at `at` ends.
fn next_hole(live: &Live, at: u64) -> sys::Sys<u64> {
    match sys::seek(live.as_fd(), at as i64, libc::SEEK_HOLE) {
        Ok(hole) if hole as u64 > at => Ok(hole as u64),
        Ok(_) | Err(Errno::INVAL) => Ok(u64::MAX),
        Err(why) => Err(why),
    }
}
