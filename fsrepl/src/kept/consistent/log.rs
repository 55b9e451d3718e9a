//! The undo log: what was there before a resync changed it. Appended to, flushed before the change that a record
//! speaks of; its form is in `docs/formats.md`.
//!
//! What was flushed is believed by the digests of the records' heads; what came after the last word about a flush may
//! be torn and is believed only as a whole. Payloads are checked before anything is put back.

use crate::limits::{CONSISTENT_BODY, CONSISTENT_TORN};
use crate::op::{self, Bytes};
use crate::sys::Handle;
use rustix::fd::OwnedFd;
use rustix::fs::{Mode, OFlags, openat};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use std::ffi::CStr;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;
use uuid::Uuid;

/// A record, where its payload lies (offset, length), and where the next one begins.
type Found = (Record, (u64, u64), u64);

const FILE: &CStr = c"log";
const MAGIC: &[u8; 8] = b"usundo1\n";
/// The header has a block of its own, written over in place.
pub const BLOCK: usize = 4096;
const DIGEST: usize = 16;
/// Length of a body, length of a payload, digest of both and of the body, digest of the payload.
const HEAD: usize = 4 + 8 + DIGEST + DIGEST;
/// A word about a flush is shorter than this.
const FLUSHED: usize = 64;

/// What the log is good for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stage {
    /// Made, and nothing changed yet; what it starts from may not be on the disk.
    Prepared,
    /// Every change since the beginning is in it.
    Keeping,
    /// Not any more: why.
    GivenUp(String),
}

/// The first block.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// Of this log: the digests of its records depend on it.
    pub id: Uuid,
    /// What it is good for.
    pub stage: Stage,
    /// Generation of the data that is kept.
    pub generation: Uuid,
    /// Generation of the primary that brings another one.
    pub follows: Uuid,
    /// When it began (RFC 3339).
    pub since: String,
    /// In which boot.
    pub boot: String,
    /// Bytes that may be kept.
    pub budget: u64,
}

/// A local object: its inode number and its handle.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Object {
    /// Inode number.
    pub inode: u64,
    /// Type of the handle.
    pub handle_type: i32,
    /// Its bytes.
    pub handle: Bytes,
}

impl Object {
    /// With this handle.
    pub fn new(inode: u64, handle: &Handle) -> Object {
        let (handle_type, bytes) = handle.parts();
        Object { inode, handle_type, handle: Bytes::from(bytes.to_vec()) }
    }

    /// The handle.
    pub fn handle(&self) -> Option<Handle> {
        Handle::from_parts(self.handle_type, &self.handle)
    }
}

/// One thing as it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Record {
    /// What is before this is on the disk, and this much of the budget was used by then.
    Flushed(u64),
    /// Attributes.
    Attributes(Attributes),
    /// A name in a directory: what it was, and whether that was a directory; none for nothing.
    Name { dir: Object, name: Bytes, was: Option<(Object, bool)> },
    /// Content of an object, from this offset on: the payload.
    Data { inode: u64, offset: u64 },
    /// No data was there.
    Hole { inode: u64, offset: u64, length: u64 },
    /// The whole content shares its blocks with a file beside the log, named by the inode number.
    Clone { inode: u64 },
}

/// Everything of an object but its content and its names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attributes {
    /// Which.
    pub object: Object,
    /// Type and mode.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Size, of files.
    pub size: u64,
    /// Modification time.
    pub mtime: (i64, u32),
    /// Extended attributes.
    pub xattrs: Vec<(Bytes, Bytes)>,
    /// Inode flags, where there are some.
    pub flags: Option<u32>,
}

fn digest(parts: &[&[u8]]) -> [u8; DIGEST] {
    let mut hasher = blake3::Hasher::new();
    for part in parts {
        hasher.update(part);
    }
    let mut digest = [0; DIGEST];
    digest.copy_from_slice(&hasher.finalize().as_bytes()[..DIGEST]);
    digest
}

fn damaged(what: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, format!("the undo log is damaged: {what}"))
}

/// The log of one resync.
pub struct Log {
    file: File,
    header: Header,
    end: u64,
    /// Records wait for a flush.
    pending: bool,
    /// The next record is preceded by a word about the last flush.
    flushed: bool,
}

impl Log {
    /// A new one in `home`, durable with its name once `home` is flushed.
    pub fn create(home: &OwnedFd, header: Header) -> io::Result<Log> {
        let flags = OFlags::CREATE | OFlags::RDWR | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = File::from(openat(home, FILE, flags, Mode::RUSR | Mode::WUSR)?);
        let mut log = Log { file, header, end: BLOCK as u64, pending: false, flushed: false };
        log.write_header()?;
        Ok(log)
    }

    /// The one that is there; none where there is none. `see` is told every record with the place and length of its payload.
    pub fn open(home: &OwnedFd, mut see: impl FnMut(Record, (u64, u64))) -> io::Result<Option<Log>> {
        let file = match openat(home, FILE, OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty()) {
            Err(Errno::NOENT) => return Ok(None),
            other => File::from(other?),
        };
        let header = read_header(&file)?;
        let mut log = Log { file, header, end: BLOCK as u64, pending: false, flushed: false };
        log.end = log.recover(&mut see)?;
        // What is torn is written over.
        log.file.set_len(log.end)?;
        Ok(Some(log))
    }

    /// The header.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Bytes so far.
    pub fn length(&self) -> u64 {
        self.end
    }

    /// Changes the stage, on disk when this returns. Needs no room.
    pub fn set_stage(&mut self, stage: Stage) -> io::Result<()> {
        self.header.stage = stage;
        self.write_header()
    }

    /// Nothing in it is needed any more: its room is given back.
    pub fn shrink(&mut self) -> io::Result<()> {
        self.end = BLOCK as u64;
        self.file.set_len(self.end)
    }

    fn write_header(&mut self) -> io::Result<()> {
        let body = op::encode(&self.header);
        let mut block = vec![0; BLOCK];
        let at = MAGIC.len() + 4;
        if at + DIGEST + body.len() > BLOCK {
            return Err(damaged("its header does not fit"));
        }
        block[..MAGIC.len()].copy_from_slice(MAGIC);
        block[MAGIC.len()..at].copy_from_slice(&(body.len() as u32).to_le_bytes());
        block[at..at + DIGEST].copy_from_slice(&digest(&[MAGIC, &body]));
        block[at + DIGEST..at + DIGEST + body.len()].copy_from_slice(&body);
        self.file.write_all_at(&block, 0)?;
        self.file.sync_all()
    }

    /// Adds a record; durable with the next [`Log::flush`].
    pub fn add(&mut self, record: &Record, payload: &[u8], used: u64) -> io::Result<u64> {
        let before = self.end;
        if std::mem::take(&mut self.flushed) {
            self.append(&Record::Flushed(used), &[])?;
        }
        self.append(record, payload)?;
        Ok(self.end - before)
    }

    fn append(&mut self, record: &Record, payload: &[u8]) -> io::Result<()> {
        let body = op::encode(record);
        if body.len() > CONSISTENT_BODY {
            return Err(damaged("a record is too long"));
        }
        let mut bytes = Vec::with_capacity(HEAD + body.len() + payload.len());
        bytes.extend_from_slice(&(body.len() as u32).to_le_bytes());
        bytes.extend_from_slice(&(payload.len() as u64).to_le_bytes());
        let sum = self.head_digest(self.end, &bytes, &body);
        bytes.extend_from_slice(&sum);
        bytes.extend_from_slice(&self.payload_digest(self.end, payload));
        bytes.extend_from_slice(&body);
        bytes.extend_from_slice(payload);
        self.file.write_all_at(&bytes, self.end)?;
        self.end += bytes.len() as u64;
        self.pending = true;
        Ok(())
    }

    fn head_digest(&self, at: u64, lengths: &[u8], body: &[u8]) -> [u8; DIGEST] {
        digest(&[self.header.id.as_bytes(), &at.to_le_bytes(), lengths, body])
    }

    fn payload_digest(&self, at: u64, payload: &[u8]) -> [u8; DIGEST] {
        digest(&[self.header.id.as_bytes(), &at.to_le_bytes(), b"payload", payload])
    }

    /// What was added is on the disk when this returns.
    pub fn flush(&mut self) -> io::Result<()> {
        if self.pending {
            self.file.sync_data()?;
            (self.pending, self.flushed) = (false, true);
        }
        Ok(())
    }

    /// Reads on as far as there are whole records; gives the end.
    fn recover(&self, see: &mut impl FnMut(Record, (u64, u64))) -> io::Result<u64> {
        let length = self.file.metadata()?.len();
        let sure = self.last_flush(length)?;
        let mut at = BLOCK as u64;
        while let Some((record, payload, next)) = self.read(at, length)? {
            // Flushed once: a good head is enough. What came later may be torn, and counts as a whole only.
            if at >= sure && !self.is_whole(at, payload)? {
                break;
            }
            see(record, payload);
            at = next;
        }
        if self.goes_on_behind(at, length)? {
            return Err(damaged("what was flushed cannot be read"));
        }
        Ok(at)
    }

    /// Whether there is a word about a flush behind a record that cannot be read: then this is no torn end.
    fn goes_on_behind(&self, from: u64, length: u64) -> io::Result<bool> {
        if length - from > CONSISTENT_TORN {
            return Ok(true);
        }
        let mut tail = vec![0; (length - from) as usize];
        self.file.read_exact_at(&mut tail, from)?;
        let is_one = |at: usize| {
            let Some(head) = tail.get(at..at + HEAD) else { return false };
            let length = u32::from_le_bytes([head[0], head[1], head[2], head[3]]) as usize;
            let short = (1..FLUSHED).contains(&length) && head[4..12] == [0; 8];
            let Some(body) = tail.get(at + HEAD..at + HEAD + length).filter(|_| short) else { return false };
            head[12..12 + DIGEST] == self.head_digest(from + at as u64, &head[..12], body)
                && matches!(op::decode(body), Ok(Record::Flushed(_)))
        };
        Ok((0..tail.len()).any(is_one))
    }

    /// The place of the last word about a flush.
    fn last_flush(&self, length: u64) -> io::Result<u64> {
        let (mut at, mut sure) = (BLOCK as u64, BLOCK as u64);
        while let Some((record, _, next)) = self.read(at, length)? {
            if matches!(record, Record::Flushed(_)) {
                sure = at;
            }
            at = next;
        }
        Ok(sure)
    }

    /// The record at `at`, where its payload is, and where the next one begins. None at the end, or where it is torn.
    fn read(&self, at: u64, length: u64) -> io::Result<Option<Found>> {
        let mut head = [0; HEAD];
        if at + HEAD as u64 > length {
            return Ok(None);
        }
        self.file.read_exact_at(&mut head, at)?;
        let body_length = u32::from_le_bytes([head[0], head[1], head[2], head[3]]) as usize;
        let mut eight = [0; 8];
        eight.copy_from_slice(&head[4..12]);
        let payload = u64::from_le_bytes(eight);
        let behind = at + (HEAD + body_length) as u64;
        if body_length > CONSISTENT_BODY || behind > length || length - behind < payload {
            return Ok(None);
        }
        let mut body = vec![0; body_length];
        self.file.read_exact_at(&mut body, at + HEAD as u64)?;
        if head[12..12 + DIGEST] != self.head_digest(at, &head[..12], &body) {
            return Ok(None);
        }
        let record = op::decode(&body).map_err(|why| damaged(&why))?;
        Ok(Some((record, (behind, payload), behind + payload)))
    }

    fn is_whole(&self, at: u64, (from, length): (u64, u64)) -> io::Result<bool> {
        let mut wanted = [0; DIGEST];
        self.file.read_exact_at(&mut wanted, at + 12 + DIGEST as u64)?;
        let mut hasher = blake3::Hasher::new();
        hasher.update(self.header.id.as_bytes()).update(&at.to_le_bytes()).update(b"payload");
        let mut buffer = vec![0; 1 << 20];
        let mut done = 0;
        while done < length {
            let take = (length - done).min(buffer.len() as u64) as usize;
            self.file.read_exact_at(&mut buffer[..take], from + done)?;
            hasher.update(&buffer[..take]);
            done += take as u64;
        }
        Ok(hasher.finalize().as_bytes()[..DIGEST] == wanted)
    }

    /// Reads all payloads: nothing may be put back from a log that is not whole.
    pub fn check(&self) -> io::Result<()> {
        let mut at = BLOCK as u64;
        while let Some((_, payload, next)) = self.read(at, self.end)? {
            if !self.is_whole(at, payload)? {
                return Err(damaged("saved content cannot be read"));
            }
            at = next;
        }
        if at == self.end { Ok(()) } else { Err(damaged("a record cannot be read")) }
    }

    /// Part of a payload.
    pub fn payload(&self, at: u64, into: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(into, at)
    }
}

/// The header of the log in `home`, without reading the rest.
pub fn peek(home: &OwnedFd) -> io::Result<Option<Header>> {
    match openat(home, FILE, OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty()) {
        Err(Errno::NOENT) => Ok(None),
        other => read_header(&File::from(other?)).map(Some),
    }
}

fn read_header(file: &File) -> io::Result<Header> {
    let mut block = vec![0; BLOCK];
    file.read_exact_at(&mut block, 0).map_err(|_| damaged("it has no header"))?;
    let at = MAGIC.len() + 4;
    if block[..MAGIC.len()] != *MAGIC {
        return Err(damaged("another version wrote it, or none"));
    }
    let length = u32::from_le_bytes([block[8], block[9], block[10], block[11]]) as usize;
    let body = block.get(at + DIGEST..at + DIGEST + length).ok_or_else(|| damaged("its header is too long"))?;
    if block[at..at + DIGEST] != digest(&[MAGIC, body]) {
        return Err(damaged("its header cannot be read"));
    }
    op::decode(body).map_err(|why| damaged(&why))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn header() -> Header {
        Header {
            id: Uuid::new_v4(),
            stage: Stage::Keeping,
            generation: Uuid::new_v4(),
            follows: Uuid::new_v4(),
            since: "2026-11-27T00:00:00Z".into(),
            boot: "boot".into(),
            budget: 1 << 40,
        }
    }

    fn home(path: &Path) -> OwnedFd {
        rustix::fs::open(path, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).unwrap()
    }

    fn all(home: &OwnedFd) -> io::Result<Vec<Record>> {
        let mut records = Vec::new();
        let log = Log::open(home, |record, _| records.push(record))?.expect("there is one");
        log.check()?;
        Ok(records)
    }

    /// Some records, flushed in two parts, and the length after the first.
    fn written(home: &OwnedFd) -> (Vec<Record>, u64) {
        let mut log = Log::create(home, header()).unwrap();
        let records: Vec<_> = (0..6).map(|n| Record::Data { inode: n, offset: n * 4096 }).collect();
        records[..3].iter().for_each(|record| assert!(log.add(record, &[7; 100], 1).is_ok()));
        log.flush().unwrap();
        let flushed = log.length();
        records[3..].iter().for_each(|record| assert!(log.add(record, &[9; 100], 2).is_ok()));
        (records, flushed)
    }

    fn of_data(records: Vec<Record>) -> Vec<Record> {
        records.into_iter().filter(|record| !matches!(record, Record::Flushed(_))).collect()
    }

    #[test]
    fn a_torn_end_is_cut_off_and_never_believed() {
        let temp = tempfile::tempdir().unwrap();
        let home = home(temp.path());
        let (records, flushed) = written(&home);
        let whole = std::fs::read(temp.path().join("log")).unwrap();
        assert_eq!(of_data(all(&home).unwrap()), records);
        for cut in (flushed as usize..whole.len()).step_by(7) {
            for zeros in [false, true] {
                let mut bytes = whole[..cut].to_vec();
                bytes.resize(if zeros { whole.len() } else { cut }, 0);
                std::fs::write(temp.path().join("log"), &bytes).unwrap();
                let found = of_data(all(&home).unwrap());
                assert!(found.len() >= 3 && records.starts_with(&found), "cut at {cut}: {found:?}");
                assert!(std::fs::metadata(temp.path().join("log")).unwrap().len() <= cut as u64);
            }
        }
    }

    #[test]
    fn damage_in_what_was_flushed_is_no_torn_end() {
        let temp = tempfile::tempdir().unwrap();
        let home = home(temp.path());
        let (_, flushed) = written(&home);
        let whole = std::fs::read(temp.path().join("log")).unwrap();
        for at in (0..flushed as usize).step_by(5).filter(|at| *at < 28 || *at >= BLOCK) {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            std::fs::write(temp.path().join("log"), &bytes).unwrap();
            assert!(all(&home).is_err(), "damage at {at} is not seen");
        }
    }

    #[test]
    fn what_is_given_up_stays_given_up() {
        let temp = tempfile::tempdir().unwrap();
        let home = home(temp.path());
        let mut log = Log::create(&home, header()).unwrap();
        log.add(&Record::Clone { inode: 5 }, &[], 0).unwrap();
        log.set_stage(Stage::GivenUp("no room".into())).unwrap();
        log.shrink().unwrap();
        assert_eq!(peek(&home).unwrap().unwrap().stage, Stage::GivenUp("no room".into()));
        assert_eq!(all(&home).unwrap(), []);
    }
}
