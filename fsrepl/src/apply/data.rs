//! Content: read, write, truncate's cousins, flush.

use super::identity;
use super::volume::{Caller, Done, Tracked, Volume};
use crate::id::{ObjectId, Stamp};
use crate::limits::COPY_CHUNK;
use crate::objects::{Live, mtime};
use crate::op::{self, Fallocate, Op, kind};
use crate::sys::{self, Sys};
use parking_lot::Mutex;
use rustix::fd::AsFd;
use rustix::io::Errno;
use std::sync::Arc;

/// One end of a copy.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// File.
    pub id: ObjectId,
    /// Offset in it.
    pub offset: u64,
}

impl Volume {
    /// Reads up to `into.len()` bytes; fewer only at the end of the file.
    pub fn read(&self, id: ObjectId, offset: u64, into: &mut [u8]) -> Sys<usize> {
        let live = self.objects.live(id)?;
        let mut done = 0;
        while done < into.len() {
            match rustix::io::pread(&*live, &mut into[done..], offset + done as u64) {
                Ok(0) => break,
                Ok(n) => done += n,
                Err(Errno::INTR) => {}
                Err(why) if done == 0 => return Err(why),
                Err(_) => break,
            }
        }
        Ok(done)
    }

    /// Whether the file system beneath refuses direct I/O of this piece: not in whole blocks of its device.
    pub fn misaligned(&self, id: ObjectId, offset: u64, length: u64) -> bool {
        use rustix::fs::{AtFlags, StatxFlags, statx};
        let Ok(live) = self.objects.live(id) else { return false };
        // 0 where the file system takes anything, or the kernel does not say.
        let align = statx(&*live, c"", AtFlags::EMPTY_PATH, StatxFlags::DIOALIGN).map_or(0, |file| u64::from(file.stx_dio_offset_align));
        align > 1 && (offset | length) & (align - 1) != 0
    }

    /// Writes; `done` gets the number of bytes. `kills` tells that the kernel wants set-id bits cleared.
    pub fn write(&self, who: Caller, id: ObjectId, offset: u64, data: &[u8], kills: bool, done: impl FnOnce(Sys<u32>) + Send + 'static) {
        let held = self.objects.locks.one(id);
        let tracked = self.track();
        match self.write_here(who, id, offset, data, &tracked) {
            Err(why) => self.send_remains(id, tracked, why, Box::new(move |_| done(Err(why)))),
            Ok((live, written, had_set_id)) => {
                let stamp = self.written_at(id, &live);
                let ended: Done = Box::new(move |result| done(result.map(|()| written as u32)));
                let ended = self.also_stable(&live, ended);
                let make = |sync: Option<u32>| {
                    let sent = self.sent_part(sync, id, offset, written)?;
                    Some(Op { offset, payload: &data[..sent], ..Op::new(kind::WRITE, id).mtime(stamp) })
                };
                let seq = self.send_data(self.stays(id), ended, &make);
                tracked.finish(seq);
                if kills && had_set_id {
                    self.send_mode(id, &live);
                }
            }
        }
        drop(held);
        self.help();
    }

    /// How much of a write of `length` bytes the secondary must be told: all of it, but during a resync only
    /// what lies before the cursor; the rest will be read when the cursor gets there.
    fn sent_part(&self, sync: Option<u32>, id: ObjectId, offset: u64, length: usize) -> Option<usize> {
        match sync {
            Some(epoch) if !self.data_known(id, epoch) => {
                let at = self.cursors.get(id)?;
                (offset < at).then(|| length.min((at - offset) as usize))
            }
            _ => Some(length),
        }
    }

    /// Whether a change of a file's layout (size, holes) travels. In the middle of a resync of this very file it
    /// does, and what was compared beyond the cursor no longer counts.
    pub(super) fn layout_travels(&self, sync: Option<u32>, id: ObjectId) -> bool {
        match sync {
            Some(epoch) if !self.data_known(id, epoch) => {
                self.cursors.disturb(id);
                self.cursors.get(id).is_some()
            }
            _ => true,
        }
    }

    fn write_here(&self, who: Caller, id: ObjectId, offset: u64, data: &[u8], tracked: &Tracked<'_>) -> Sys<(Arc<Live>, usize, bool)> {
        let live = self.objects.live(id)?;
        let fd = live.for_writing()?;
        if live.appends() && rustix::fs::fstat(fd)?.st_size as u64 != offset {
            return Err(Errno::PERM);
        }
        let had_set_id = who.uid != 0 && live.has_set_id();
        tracked.extent(id, offset, data.len() as u64)?;
        let written = identity::as_writer(who.uid, who.gid, who.pid, &live, || {
            self.objects.with_room(|| {
                loop {
                    match rustix::io::pwrite(fd, data, offset) {
                        Err(Errno::INTR) => {}
                        other => break other,
                    }
                }
            })
        })?;
        Ok((live, written, had_set_id))
    }

    /// Modification time of a write that was just made.
    fn written_at(&self, id: ObjectId, live: &Live) -> Stamp {
        let kernel = || rustix::fs::fstat(live).ok().map(|stat| mtime(&stat));
        if live.appends() {
            // Nobody may set the times of an append-only file: they are the kernel's.
            return kernel().unwrap_or_default();
        }
        self.objects.times.advance(id, kernel)
    }

    /// Where an acknowledgement means stable storage, the request ends when this node's disk has it too.
    pub(super) fn also_stable(&self, live: &Arc<Live>, done: Done) -> Done {
        if !self.outlet.as_ref().is_some_and(|outlet| outlet.stable()) || self.objects.table.is_local(live.id) {
            return done;
        }
        // Flushed before it is sent, while the lock is held: simple, and this mode waits for two disks anyway.
        let flushed = flush(live, false);
        Box::new(move |result| done(result.and(flushed)))
    }

    /// Sends the permission bits as they are now, after the kernel cleared some of them.
    fn send_mode(&self, id: ObjectId, live: &Arc<Live>) {
        let Ok(mut stat) = rustix::fs::fstat(&**live) else { return };
        self.objects.times.overlay(id, &mut stat);
        self.send(self.stays(id), Box::new(|_| ()), |sync| {
            sync.is_none_or(|epoch| self.content_known(id, epoch)).then(|| super::meta::attr_op(id, &stat, op::ATTR_OWNER_MODE))
        });
    }

    /// A call that failed may have changed the file all the same: before the kernel finds no room it stamps the
    /// file, clears set-id bits and, in a fallocate, extends it. The secondary gets what is there now.
    fn send_remains(&self, id: ObjectId, tracked: Tracked<'_>, why: Errno, ended: Done) {
        tracked.failed(why);
        let Ok(mut stat) = self.objects.live(id).and_then(|live| rustix::fs::fstat(&*live)) else { return ended(Ok(())) };
        if let Some(pending) = self.objects.times.take(id) {
            self.objects.times.set(id, pending.max(mtime(&stat)));
            self.objects.times.overlay(id, &mut stat);
        }
        let seq = self.send(self.stays(id), ended, |sync| {
            self.layout_travels(sync, id).then(|| super::meta::attr_op(id, &stat, op::ATTR_SIZE | op::ATTR_OWNER_MODE))
        });
        tracked.finish(seq);
    }

    /// Flushes one object on both nodes at once.
    pub fn fsync(&self, id: ObjectId, data_only: bool, done: impl FnOnce(Sys<()>) + Send + 'static) {
        let held = self.objects.locks.one(id);
        let live = match self.objects.live(id) {
            Ok(live) => live,
            Err(why) => return done(Err(why)),
        };
        if !data_only && let Err(why) = self.objects.write_time_locked(id) {
            return done(Err(why));
        }
        let stays = self.stays(id);
        let (here, there) = both(Box::new(done));
        self.send(stays, there, |sync| {
            let flags = op::STABLE | if data_only { op::VARIANT } else { 0 };
            sync.is_none().then(|| Op { flags, ..Op::new(kind::FSYNC, id) })
        });
        drop(held);
        let flushed = flush(&live, data_only);
        if let Err(why) = flushed {
            tracing::error!(%id, %why, "this node's disk refuses to flush");
            self.doubt();
        }
        here(flushed);
        self.help();
    }

    /// fallocate(2) in every mode the file system beneath has.
    pub fn fallocate(&self, who: Caller, id: ObjectId, offset: u64, length: u64, mode: i32, done: impl FnOnce(Sys<()>) + Send + 'static) {
        let held = self.objects.locks.one(id);
        let tracked = self.track();
        let outcome = (|| {
            let live = self.objects.live(id)?;
            let fd = live.for_writing()?;
            // What is moved may come to lie behind the end that the file has now.
            let touched = if shifts(mode) { rustix::fs::fstat(fd)?.st_size as u64 + length } else { 0 };
            tracked.extent(id, offset, length.max(touched.saturating_sub(offset)))?;
            let had_set_id = who.uid != 0 && live.has_set_id();
            identity::as_writer(who.uid, who.gid, who.pid, &live, || self.objects.with_room(|| sys::fallocate(fd, mode, offset, length)))?;
            let stat = rustix::fs::fstat(fd)?;
            self.objects.times.take(id);
            Ok((live, stat, had_set_id))
        })();
        match outcome {
            Err(why) => self.send_remains(id, tracked, why, Box::new(move |_| done(Err(why)))),
            Ok((live, stat, had_set_id)) => {
                let ended = self.also_stable(&live, Box::new(done));
                let seq = self.send(self.stays(id), ended, |sync| {
                    if let Some(epoch) = sync.filter(|epoch| shifts(mode) && !self.content_known(id, *epoch)) {
                        self.shifted(id, epoch);
                        return None;
                    }
                    if !self.layout_travels(sync, id) {
                        return None;
                    }
                    let op = Op { offset, aux: mode as u32, ..Op::new(kind::FALLOCATE, id) };
                    Some(op.mtime(mtime(&stat)).body(&Fallocate { length }))
                });
                tracked.finish(seq);
                if had_set_id {
                    self.send_mode(id, &live);
                }
            }
        }
        drop(held);
        self.help();
    }

    /// `SEEK_DATA` and `SEEK_HOLE`.
    pub fn seek(&self, id: ObjectId, offset: i64, whence: i32) -> Sys<i64> {
        sys::seek(self.objects.live(id)?.as_fd(), offset, whence)
    }

    /// Copies within this node; what travels is the data that arrived.
    pub fn copy(&self, who: Caller, from: Place, to: Place, length: u64, done: impl FnOnce(Sys<u32>) + Send + 'static) {
        let held = self.objects.locks.many(&[from.id, to.id]);
        let tracked = self.track();
        match self.copy_here(who, from, to, length, &tracked) {
            Err(why) => self.send_remains(to.id, tracked, why, Box::new(move |_| done(Err(why)))),
            Ok((live, data)) => {
                let stamp = self.written_at(to.id, &live);
                let copied = data.len() as u32;
                let ended = self.also_stable(&live, Box::new(move |result| done(result.map(|()| copied))));
                let make = |sync: Option<u32>| {
                    let sent = self.sent_part(sync, to.id, to.offset, data.len()).filter(|sent| *sent > 0)?;
                    Some(Op { offset: to.offset, payload: &data[..sent], ..Op::new(kind::WRITE, to.id).mtime(stamp) })
                };
                let seq = self.send_data(self.stays(to.id), ended, &make);
                tracked.finish(seq);
            }
        }
        drop(held);
        self.help();
    }

    fn copy_here(&self, who: Caller, from: Place, to: Place, length: u64, tracked: &Tracked<'_>) -> Sys<(Arc<Live>, Vec<u8>)> {
        let (source, target) = (self.objects.live(from.id)?, self.objects.live(to.id)?);
        let length = (length as usize).min(COPY_CHUNK);
        let fd = target.for_writing()?;
        tracked.extent(to.id, to.offset, length as u64)?;
        let (mut off_in, mut off_out) = (from.offset, to.offset);
        let copied = identity::as_writer(who.uid, who.gid, who.pid, &target, || {
            rustix::fs::copy_file_range(&*source, Some(&mut off_in), fd, Some(&mut off_out), length)
        })?;
        let mut data = vec![0; copied];
        if self.outlet.is_some() {
            let got = self.read(to.id, to.offset, &mut data)?;
            data.truncate(got);
        }
        Ok((target, data))
    }
}

/// Whether fallocate(2) in this mode moves all data behind its offset.
fn shifts(mode: i32) -> bool {
    mode & (libc::FALLOC_FL_COLLAPSE_RANGE | libc::FALLOC_FL_INSERT_RANGE) != 0
}

/// fsync(2) or fdatasync(2), whichever is asked for.
pub(crate) fn flush(live: &Live, data_only: bool) -> Sys<()> {
    let fd = live.as_fd();
    if data_only { rustix::fs::fdatasync(fd) } else { rustix::fs::fsync(fd) }
}

/// Splits an end into two halves: the request ends when both have ended, with the first error.
fn both(done: Done) -> (Done, Done) {
    struct Halves {
        done: Option<Done>,
        error: Option<Errno>,
        left: u8,
    }
    let shared = Arc::new(Mutex::new(Halves { done: Some(done), error: None, left: 2 }));
    let half = |shared: Arc<Mutex<Halves>>| -> Done {
        Box::new(move |result: Sys<()>| {
            let mut halves = shared.lock();
            halves.error = halves.error.or(result.err());
            halves.left -= 1;
            if halves.left == 0
                && let Some(done) = halves.done.take()
            {
                let outcome = halves.error.map_or(Ok(()), Err);
                drop(halves);
                done(outcome);
            }
        })
    };
    (half(shared.clone()), half(shared))
}
