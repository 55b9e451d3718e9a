//! The log file: block 0 is superblock A, then the ring, then superblock B.
//!
//! It is written in full before it is used, and later only overwritten, so that a write changes no
//! metadata: with O_DIRECT and RWF_DSYNC nothing but the record itself goes to the device, while an
//! ordinary fsync would flush what everybody else wrote to the same file system.

use super::key::Key;
use super::record::{BLOCK, Block, CHANGES, CONTEXT, Lost, Rebuilt, Record, Seal, Superblock};
use super::record::{rebuild, ring_len};
use super::set::Change;
use crate::id::ObjectId;
use crate::limits;
use rustix::fs::{Mode, OFlags};
use rustix::io::{Errno, ReadWriteFlags};
use std::fs::File;
use std::io::{self, IoSlice, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use zerocopy::IntoBytes;

/// Where blocks go. Returning `Ok` means that they survive a power cut.
pub trait Disk: Send {
    /// Overwrites blocks that exist, from this one on.
    fn write(&mut self, first: u64, blocks: &[Block]) -> io::Result<()>;
}

const NAME: &str = "dirty-log";
const NEW: &str = "dirty-log.new";

/// The log as a file.
struct LogFile {
    file: OwnedFd,
    /// RWF_DSYNC works; otherwise an fdatasync follows each write.
    dsync: bool,
}

impl Disk for LogFile {
    fn write(&mut self, first: u64, blocks: &[Block]) -> io::Result<()> {
        let at = first * BLOCK as u64;
        if self.dsync {
            match write_at(&self.file, blocks, at, ReadWriteFlags::DSYNC) {
                Err(Errno::OPNOTSUPP) => {
                    tracing::warn!("no synchronous writes on this file system: the dirty log uses fdatasync");
                    self.dsync = false;
                }
                done => return Ok(done?),
            }
        }
        write_at(&self.file, blocks, at, ReadWriteFlags::empty())?;
        Ok(rustix::fs::fdatasync(&self.file)?)
    }
}

fn write_at(file: &OwnedFd, blocks: &[Block], at: u64, flags: ReadWriteFlags) -> Result<(), Errno> {
    let bytes = blocks.as_bytes();
    let mut done = 0;
    while done < bytes.len() {
        match rustix::io::pwritev2(file, &[IoSlice::new(&bytes[done..])], at + done as u64, flags) {
            Ok(0) => return Err(Errno::IO),
            Ok(n) => done += n,
            Err(Errno::INTR) => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

/// The directory that holds the log, in the calls between which a power cut can fall. What is not flushed
/// may be lost or there in part; a test puts a place there that makes sure of it.
pub trait Place {
    /// A file that is being made.
    type File;
    /// Everything in file `name`, which must be a whole number of blocks and at most `most`.
    fn read(&self, name: &str, most: usize) -> Result<Vec<Block>, Lost>;
    /// Makes or empties file `name` and writes this into it.
    fn create(&self, name: &str, blocks: &[Block]) -> io::Result<Self::File>;
    /// The file's content is durable.
    fn flush(&self, file: &Self::File) -> io::Result<()>;
    /// Opens the file for writes that are durable when they return.
    fn open(&self, name: &str) -> io::Result<Box<dyn Disk>>;
    /// Gives a file the name of another one, which is gone then.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// The names are durable.
    fn flush_names(&self) -> io::Result<()>;
}

/// A directory of the file system.
pub struct Directory<D>(pub D);

impl<D: AsFd> Place for Directory<D> {
    type File = File;

    fn read(&self, name: &str, most: usize) -> Result<Vec<Block>, Lost> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let file = match rustix::fs::openat(&self.0, name, flags, Mode::empty()) {
            Err(Errno::NOENT) => return Err(Lost::Missing),
            file => File::from(file.map_err(|_| Lost::Unreadable)?),
        };
        let size = file.metadata().map_err(|_| Lost::Unreadable)?.len() as usize;
        if size > most * BLOCK || !size.is_multiple_of(BLOCK) {
            return Err(Lost::Size);
        }
        let mut blocks = vec![Block::default(); size / BLOCK];
        (&file).read_exact(blocks.as_mut_bytes()).map_err(|_| Lost::Unreadable)?;
        Ok(blocks)
    }

    fn create(&self, name: &str, blocks: &[Block]) -> io::Result<File> {
        let flags = OFlags::CREATE | OFlags::TRUNC | OFlags::WRONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let mut file = File::from(rustix::fs::openat(&self.0, name, flags, Mode::RUSR | Mode::WUSR)?);
        file.write_all(blocks.as_bytes())?;
        Ok(file)
    }

    fn flush(&self, file: &File) -> io::Result<()> {
        file.sync_all()
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn Disk>> {
        let flags = OFlags::WRONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let file = match rustix::fs::openat(&self.0, name, flags | OFlags::DIRECT, Mode::empty()) {
            Err(Errno::INVAL) => {
                tracing::warn!("no direct writes on this file system: the dirty log goes through the page cache");
                rustix::fs::openat(&self.0, name, flags, Mode::empty())?
            }
            file => file?,
        };
        Ok(Box::new(LogFile { file, dsync: true }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        Ok(rustix::fs::renameat(&self.0, from, &self.0, to)?)
    }

    fn flush_names(&self) -> io::Result<()> {
        Ok(rustix::fs::fsync(&self.0)?)
    }
}

/// Reads the log in `place`: its superblock, and its state unless that is lost.
pub fn load(place: &impl Place) -> Result<(Superblock, Rebuilt), Lost> {
    parse(&place.read(NAME, ring_len(limits::JOURNAL_SLOTS_MAX) + 2)?)
}

/// The same for blocks in memory.
pub fn parse(blocks: &[Block]) -> Result<(Superblock, Rebuilt), Lost> {
    let (Some((a, rest)), true) = (blocks.split_first(), blocks.len() >= 3) else { return Err(Lost::Size) };
    let copies = [Superblock::decode(a, 0), rest.last().and_then(|b| Superblock::decode(b, 1))];
    let found = copies.into_iter().flatten().max_by_key(|s| s.number).ok_or(Lost::Superblocks)?;
    let ring = &rest[..rest.len() - 1];
    if ring.len() != found.ring as usize {
        return Err(Lost::Size);
    }
    let state = rebuild(ring, &Seal::of(found.log), found.slots as usize)?;
    Ok((found, state))
}

/// Writes a new log with this content and puts it in the place of the old one, atomically: blocks
/// that an earlier incarnation left half-written cannot be met again.
pub fn replace(place: &impl Place, log: &mut Log) -> io::Result<()> {
    let file = place.create(NEW, &log.fill())?;
    place.flush(&file)?;
    let disk = place.open(NEW)?;
    place.rename(NEW, NAME)?;
    place.flush_names()?;
    log.disk = Some(disk);
    Ok(())
}

/// What is on the disk, and the end where records are appended. One thread at a time.
pub struct Log {
    disk: Option<Box<dyn Disk>>,
    seal: Seal,
    superblock: Superblock,
    /// The slots as the records written so far leave them: the context of a record must not run
    /// ahead of the changes before it.
    image: Vec<Key>,
    floor: ObjectId,
    next: u64,
    /// Writes that failed; see [`Record::attempt`].
    attempt: u16,
    cursor: usize,
}

impl Log {
    /// A log with this content, not written yet.
    pub fn new(image: Vec<Key>, floor: ObjectId, note: Vec<u8>) -> Log {
        let log = uuid::Uuid::new_v4();
        let (slots, ring) = (image.len() as u32, ring_len(image.len()) as u32);
        let superblock = Superblock { log, slots, ring, number: 1, note };
        Log { disk: None, seal: Seal::of(log), superblock, image, floor, next: 1, attempt: 0, cursor: 0 }
    }

    /// Every block of the log, in the order of the file: enough records to fill the ring.
    pub fn fill(&mut self) -> Vec<Block> {
        let ring = u64::from(self.superblock.ring);
        let mut blocks = vec![Block::default(); ring as usize + 2];
        // Numbers from `ring` on, so that no subtraction of a turn goes below zero.
        self.next = ring;
        for _ in 0..ring {
            let record = self.record(self.next, &[], Ending::Open);
            blocks[1 + (record.number % ring) as usize] = record.encode(&self.seal, ring);
        }
        blocks[0] = self.superblock.encode(0);
        blocks[ring as usize + 1] = self.superblock.encode(1);
        blocks
    }

    /// Uses another disk than a file.
    #[cfg(test)]
    pub fn set_disk(&mut self, disk: Box<dyn Disk>) {
        self.disk = Some(disk);
    }

    /// Makes the changes and the floor durable. After an error nothing counts as written, and the
    /// same changes must come first in the next attempt: it overwrites the same blocks.
    pub fn append(&mut self, changes: &[Change], floor: ObjectId, ending: Ending) -> io::Result<()> {
        let before = (self.next, self.cursor, self.floor);
        let undo: Vec<_> = changes.iter().rev().map(|c| Change { slot: c.slot, key: self.image[c.slot as usize] }).collect();
        let result = self.append_records(changes, floor, ending);
        if result.is_err() {
            (self.next, self.cursor, self.floor) = before;
            self.attempt = self.attempt.wrapping_add(1);
            // Of several changes of a slot the oldest content is the one to return to; all of them
            // recorded the same.
            undo.iter().for_each(|c| self.image[c.slot as usize] = c.key);
        } else if ending == Ending::Clean {
            self.image.fill(Key::FREE);
        }
        result
    }

    fn append_records(&mut self, changes: &[Change], floor: ObjectId, ending: Ending) -> io::Result<()> {
        assert!(changes.len() <= CHANGES * limits::JOURNAL_BATCH, "a write of more records than allowed");
        self.floor = floor;
        let (ring, first) = (u64::from(self.superblock.ring), self.next);
        let mut blocks = Vec::with_capacity(changes.len() / CHANGES + 1);
        let empty: [&[Change]; 1] = [&[]];
        let parts: Vec<&[Change]> = if changes.is_empty() { empty.to_vec() } else { changes.chunks(CHANGES).collect() };
        for part in parts {
            blocks.push(self.record(first, part, ending).encode(&self.seal, ring));
        }
        let until_end = (ring - first % ring).min(blocks.len() as u64) as usize;
        let disk = self.disk.as_mut().expect("a log is written to after it was given a disk");
        if until_end < blocks.len() {
            // Past the end of the ring: the later half first, so that a cut between leaves a gap
            // that recovery knows from a torn write.
            disk.write(1, &blocks[until_end..])?;
        }
        disk.write(1 + first % ring, &blocks[..until_end])
    }

    fn record(&mut self, first: u64, changes: &[Change], ending: Ending) -> Record {
        changes.iter().for_each(|c| self.image[c.slot as usize] = c.key);
        let reset = ending == Ending::Clean;
        let count = if reset { 0 } else { CONTEXT.min(self.image.len() - self.cursor) };
        let record = Record {
            number: self.next,
            attempt: self.attempt,
            first,
            floor: self.floor,
            clean: ending != Ending::Open,
            reset,
            changes: changes.to_vec(),
            from: self.cursor as u32,
            context: self.image[self.cursor..self.cursor + count].to_vec(),
        };
        self.cursor = (self.cursor + count) % self.image.len();
        self.next += 1;
        record
    }

    /// The replica's bytes.
    pub fn note(&self) -> &[u8] {
        &self.superblock.note
    }

    /// Replaces them durably: first in one copy, then in the other.
    pub fn set_note(&mut self, note: &[u8]) -> io::Result<()> {
        if note.len() > limits::JOURNAL_NOTE {
            return Err(io::Error::from(io::ErrorKind::InvalidInput));
        }
        let next = Superblock { note: note.to_vec(), number: self.superblock.number + 1, ..self.superblock.clone() };
        // Whatever becomes of the writing, its number is not used for another note.
        self.superblock.number = next.number;
        let disk = self.disk.as_mut().expect("a log is written to after it was given a disk");
        disk.write(0, &[next.encode(0)])?;
        disk.write(1 + u64::from(next.ring), &[next.encode(1)])?;
        self.superblock = next;
        Ok(())
    }
}

/// What a write says about the time after it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ending {
    /// More may come.
    Open,
    /// Closed, the marks stay.
    Kept,
    /// Closed, and nothing is marked.
    Clean,
}
