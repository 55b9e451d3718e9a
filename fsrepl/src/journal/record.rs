//! The dirty log's bytes: sealed blocks, records, superblocks, and rebuilding the marks from them.
//!
//! A block is 4 KiB and made of 512-byte sectors that carry number and digest each. A power cut in
//! the middle of a write leaves whole sectors, old and new ones; anything else is damage. This is
//! what tells a torn tail, which nobody relied on, from a record that was relied on and is lost.

use super::key::Key;
use super::set::Change;
use crate::id::ObjectId;
use crate::limits;
use std::fmt;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Bytes of a block.
pub const BLOCK: usize = 4096;
const SECTOR: usize = 512;
const SECTORS: usize = BLOCK / SECTOR;
const SECTOR_DATA: usize = SECTOR - 16;
const DATA: usize = SECTORS * SECTOR_DATA;

/// A block as the disk wants it: aligned for O_DIRECT.
#[derive(Clone, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, align(4096))]
pub struct Block(pub [u8; BLOCK]);

impl Default for Block {
    fn default() -> Block {
        Block([0; BLOCK])
    }
}

/// What names a log, so that blocks of another one are not taken for its own.
#[derive(Clone)]
pub struct Seal([u8; 32]);

impl Seal {
    /// The seal of the log with this id.
    pub fn of(log: uuid::Uuid) -> Seal {
        Seal(blake3::derive_key("understudy dirty log records 1", log.as_bytes()))
    }

    /// The seal of superblocks, which name the log.
    pub fn superblock() -> Seal {
        Seal(blake3::derive_key("understudy dirty log superblock 1", &[]))
    }

    fn digest(&self, position: u64, sector: usize, bytes: &[u8]) -> [u8; 8] {
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        hasher.update(bytes).update(&position.to_le_bytes()).update(&[sector as u8]);
        let mut short = [0; 8];
        short.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
        short
    }

    fn close(&self, position: u64, number: u64, data: &[u8; DATA]) -> Block {
        let mut block = Block::default();
        for (i, sector) in block.0.chunks_exact_mut(SECTOR).enumerate() {
            let (bytes, digest) = sector.split_at_mut(SECTOR - 8);
            bytes[..SECTOR_DATA].copy_from_slice(&data[i * SECTOR_DATA..][..SECTOR_DATA]);
            bytes[SECTOR_DATA..].copy_from_slice(&number.to_le_bytes());
            digest.copy_from_slice(&self.digest(position, i, bytes));
        }
        block
    }

    fn open(&self, position: u64, block: &Block) -> Opened {
        let mut data = Box::new([0; DATA]);
        let mut numbers = [0; SECTORS];
        for (i, sector) in block.0.chunks_exact(SECTOR).enumerate() {
            let (bytes, digest) = sector.split_at(SECTOR - 8);
            if digest != self.digest(position, i, bytes) {
                return Opened::Damaged;
            }
            data[i * SECTOR_DATA..][..SECTOR_DATA].copy_from_slice(&bytes[..SECTOR_DATA]);
            numbers[i] = u64_at(bytes, SECTOR_DATA);
        }
        if numbers.iter().all(|number| *number == numbers[0]) { Opened::Whole(numbers[0], data) } else { Opened::Torn(numbers) }
    }
}

enum Opened {
    Whole(u64, Box<[u8; DATA]>),
    /// Sectors of several writes, with the number of each.
    Torn([u64; SECTORS]),
    Damaged,
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(std::array::from_fn(|i| bytes[at + i]))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(std::array::from_fn(|i| bytes[at + i]))
}

fn put(data: &mut [u8], at: &mut usize, bytes: &[u8]) {
    data[*at..*at + bytes.len()].copy_from_slice(bytes);
    *at += bytes.len();
}

/// Changes in one record.
pub const CHANGES: usize = 64;
/// Slots whose content each record repeats.
pub const CONTEXT: usize = 160;
const HEADER: usize = 48;
const _: () = assert!(HEADER + CHANGES * 20 + CONTEXT * 16 <= DATA);

const FLAG_CLEAN: u32 = 1;
const FLAG_RESET: u32 = 2;

/// Bits of a sector's number that hold the record's; above them is the attempt.
const NUMBER_BITS: u32 = 48;
const NUMBER: u64 = (1 << NUMBER_BITS) - 1;

/// One record of the ring.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its number; records are numbered from 1 without gaps.
    pub number: u64,
    /// Tells it from a record of the same number that could not be written, and may be there in part.
    pub attempt: u16,
    /// The first record of the same write.
    pub first: u64,
    /// Objects above are dirty by definition.
    pub floor: ObjectId,
    /// The journal was closed after this record.
    pub clean: bool,
    /// All slots are free before the changes apply.
    pub reset: bool,
    /// Slot changes, in order.
    pub changes: Vec<Change>,
    /// The first slot repeated.
    pub from: u32,
    /// Contents of the slots from there on, after the changes.
    pub context: Vec<Key>,
}

impl Record {
    /// The block for this record.
    pub fn encode(&self, seal: &Seal, ring: u64) -> Block {
        assert!(self.changes.len() <= CHANGES && self.context.len() <= CONTEXT);
        let mut data = [0; DATA];
        let at = &mut 0;
        let flags = (u32::from(self.clean) * FLAG_CLEAN) | (u32::from(self.reset) * FLAG_RESET);
        put(&mut data, at, &self.number.to_le_bytes());
        put(&mut data, at, &self.first.to_le_bytes());
        put(&mut data, at, &self.floor.0.to_le_bytes());
        put(&mut data, at, &flags.to_le_bytes());
        put(&mut data, at, &(self.changes.len() as u32).to_le_bytes());
        put(&mut data, at, &self.from.to_le_bytes());
        put(&mut data, at, &(self.context.len() as u32).to_le_bytes());
        *at = HEADER;
        for change in &self.changes {
            put(&mut data, at, &change.slot.to_le_bytes());
            put(&mut data, at, &change.key.base.to_le_bytes());
            put(&mut data, at, &change.key.tail.to_le_bytes());
        }
        for key in &self.context {
            put(&mut data, at, &key.base.to_le_bytes());
            put(&mut data, at, &key.tail.to_le_bytes());
        }
        seal.close(self.number % ring, self.number | u64::from(self.attempt) << NUMBER_BITS, &data)
    }

    fn decode(stamp: u64, data: &[u8; DATA], slots: usize) -> Option<Record> {
        let flags = u32_at(data, 24);
        let (changes, from, context) = (u32_at(data, 28), u32_at(data, 32), u32_at(data, 36));
        let fits = changes as usize <= CHANGES && context as usize <= CONTEXT && from as usize + context as usize <= slots;
        if !fits {
            return None;
        }
        let key = |at| Key::checked(u64_at(data, at), u64_at(data, at + 8));
        let change = |i| {
            let at = HEADER + i * 20;
            let change = Change { slot: u32_at(data, at), key: key(at + 4)? };
            ((change.slot as usize) < slots).then_some(change)
        };
        let after = HEADER + changes as usize * 20;
        let number = u64_at(data, 0);
        (number == stamp & NUMBER).then_some(())?;
        Some(Record {
            number,
            attempt: (stamp >> NUMBER_BITS) as u16,
            first: u64_at(data, 8),
            floor: ObjectId(u64_at(data, 16)),
            clean: flags & FLAG_CLEAN != 0,
            reset: flags & FLAG_RESET != 0,
            changes: (0..changes as usize).map(change).collect::<Option<_>>()?,
            from,
            context: (0..context as usize).map(|i| key(after + i * 16)).collect::<Option<_>>()?,
        })
    }
}

/// The fixed facts of a log and the replica's own note; written twice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Superblock {
    /// Which log this is.
    pub log: uuid::Uuid,
    /// Size of the slot table.
    pub slots: u32,
    /// Records in the ring.
    pub ring: u32,
    /// Grows with every writing; the higher copy holds.
    pub number: u64,
    /// Bytes of the replica.
    pub note: Vec<u8>,
}

const MAGIC: u64 = u64::from_le_bytes(*b"usdirty1");

impl Superblock {
    /// The block for one of the two copies.
    pub fn encode(&self, copy: u64) -> Block {
        assert!(self.note.len() <= limits::JOURNAL_NOTE);
        let mut data = [0; DATA];
        let at = &mut 0;
        put(&mut data, at, &MAGIC.to_le_bytes());
        put(&mut data, at, self.log.as_bytes());
        put(&mut data, at, &self.slots.to_le_bytes());
        put(&mut data, at, &self.ring.to_le_bytes());
        put(&mut data, at, &(self.note.len() as u32).to_le_bytes());
        put(&mut data, at, &self.note);
        Seal::superblock().close(copy, self.number, &data)
    }

    /// Reads one copy.
    pub fn decode(block: &Block, copy: u64) -> Option<Superblock> {
        let Opened::Whole(number, data) = Seal::superblock().open(copy, block) else { return None };
        let (slots, ring) = (u32_at(&data[..], 24), u32_at(&data[..], 28));
        let note = u32_at(&data[..], 32) as usize;
        let known = u64_at(&data[..], 0) == MAGIC
            && (limits::JOURNAL_SLOTS_MIN..=limits::JOURNAL_SLOTS_MAX).contains(&(slots as usize))
            && ring as usize == ring_len(slots as usize)
            && note <= limits::JOURNAL_NOTE;
        known.then(|| Superblock {
            log: uuid::Uuid::from_bytes(std::array::from_fn(|i| data[8 + i])),
            slots,
            ring,
            number,
            note: data[36..36 + note].to_vec(),
        })
    }
}

/// Records after which every slot has been repeated.
pub fn turn(slots: usize) -> usize {
    slots.div_ceil(CONTEXT)
}

/// Records of a ring that holds two turns however a write is torn.
pub fn ring_len(slots: usize) -> usize {
    (2 * turn(slots) + 2 * limits::JOURNAL_BATCH).next_power_of_two()
}

/// Why the marks of a log cannot be known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lost {
    /// There is no log.
    Missing,
    /// The log was made for no peer yet.
    New,
    /// No readable superblock.
    Superblocks,
    /// The file has not the size its superblock says.
    Size,
    /// A record has a broken digest, or is one that should long be overwritten.
    Records,
    /// The device did not give the log.
    Unreadable,
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Lost::Missing => "the dirty log is missing",
            Lost::New => "the dirty log is new",
            Lost::Superblocks => "both superblocks of the dirty log are damaged",
            Lost::Size => "the dirty log has the wrong size",
            Lost::Records => "records of the dirty log are damaged",
            Lost::Unreadable => "the dirty log cannot be read",
        })
    }
}

/// The state a ring holds.
#[derive(Debug)]
pub struct Rebuilt {
    /// Contents of all slots.
    pub slots: Vec<Key>,
    /// Objects above are dirty by definition.
    pub floor: ObjectId,
    /// The journal had been closed.
    pub clean: bool,
}

/// Rebuilds the state as of the last whole write. Only the newest write may be incomplete: it was
/// never acknowledged. Everything else must be there.
pub fn rebuild(blocks: &[Block], seal: &Seal, slots: usize) -> Result<Rebuilt, Lost> {
    let ring = blocks.len() as u64;
    let mut records = vec![None; blocks.len()];
    let mut torn = Vec::new();
    for (i, block) in blocks.iter().enumerate() {
        match seal.open(i as u64, block) {
            Opened::Whole(stamp, data) => records[i] = Some(Record::decode(stamp, &data, slots).ok_or(Lost::Records)?),
            Opened::Torn(stamps) => {
                let numbers = stamps.map(|stamp| stamp & NUMBER);
                let high = numbers.into_iter().max().unwrap_or(0);
                // Old sectors are a turn of the ring older; those of an attempt that failed have the same number.
                if numbers.into_iter().any(|n| n != high && n + ring != high) {
                    return Err(Lost::Records);
                }
                torn.push(high);
            }
            Opened::Damaged => return Err(Lost::Records),
        }
    }
    let last = records.iter().flatten().max_by_key(|r| r.number).ok_or(Lost::Records)?;
    let (newest, first) = (last.number, last.first);
    if first > newest || newest - first >= limits::JOURNAL_BATCH as u64 || newest + 1 < 2 * ring {
        return Err(Lost::Records);
    }
    // Torn are blocks of the newest write, or of the one after it if none of its blocks is whole.
    if torn.iter().any(|n| *n < first || *n >= first + 2 * limits::JOURNAL_BATCH as u64) {
        return Err(Lost::Records);
    }
    let record = |number: u64| records[(number % ring) as usize].as_ref().filter(|r| r.number == number);
    let oldest = newest + 1 - ring;
    if (oldest..first).any(|n| record(n).is_none() && !torn.contains(&(n + ring))) {
        return Err(Lost::Records);
    }
    // What an earlier attempt left of the same write does not go together with what this one adds.
    let part = |number: u64| record(number).is_some_and(|r| r.attempt == last.attempt);
    let end = (first..=newest).find(|n| !part(*n)).map_or(newest, |gap| gap - 1);
    let start = end + 1 - 2 * turn(slots) as u64;
    let run = (start..=end).map(|n| record(n).ok_or(Lost::Records)).collect::<Result<Vec<_>, _>>()?;
    Ok(replay(&run, slots, end == newest && torn.is_empty()))
}

fn replay(run: &[&Record], slots: usize, whole: bool) -> Rebuilt {
    let mut state = Rebuilt { slots: vec![Key::FREE; slots], floor: ObjectId(0), clean: false };
    for record in run {
        if record.reset {
            state.slots.fill(Key::FREE);
        }
        for change in &record.changes {
            state.slots[change.slot as usize] = change.key;
        }
        let from = record.from as usize;
        state.slots[from..from + record.context.len()].copy_from_slice(&record.context);
        state.floor = record.floor;
        state.clean = record.clean && whole;
    }
    state
}
