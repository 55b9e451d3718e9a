//! What content is, in blake3 digests of blocks: compared instead of sent.

use crate::id::ObjectId;
use crate::limits::{COMPARE_BLOCK, COMPARE_FINE, DIRECT_ALIGN, RESYNC_ROUND, RESYNC_ROUND_BYTES};
use crate::objects::{Kind, Objects, mtime};
use crate::op::{Bytes, Digests};
use crate::sys::{self, Sys};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::AtFlags;
use rustix::io::Errno;

/// Digest of one block: enough of it that no two blocks of a replica have the same by chance.
pub type Digest = [u8; 16];

/// Size of a file of which nothing is known.
pub const UNKNOWN: u64 = u64::MAX;

/// Stands for a block without data: no content has this digest.
pub const HOLE: Digest = [0; 16];

/// Digest of one block.
pub fn of(block: &[u8]) -> Digest {
    let mut digest = HOLE;
    digest.copy_from_slice(&blake3::hash(block).as_bytes()[..HOLE.len()]);
    digest
}

/// Reads until `into` is full or the file ends.
pub fn read_fully(fd: BorrowedFd<'_>, offset: u64, into: &mut [u8]) -> Sys<usize> {
    let mut done = 0;
    while done < into.len() {
        match rustix::io::pread(fd, &mut into[done..], offset + done as u64) {
            Ok(0) => break,
            Ok(n) => done += n,
            Err(Errno::INTR) => {}
            Err(why) => return Err(why),
        }
    }
    Ok(done)
}

/// Where data begins at or after `at`; none if there is only a hole.
pub fn next_data(live: impl AsFd, at: u64) -> Sys<Option<u64>> {
    match sys::seek(live.as_fd(), at as i64, libc::SEEK_DATA) {
        Ok(data) => Ok(Some(data as u64)),
        Err(Errno::NXIO) => Ok(None),
        // A file system that knows no holes.
        Err(Errno::INVAL) => Ok(Some(at)),
        Err(why) => Err(why),
    }
}

/// Where the data at `at` ends.
pub fn next_hole(live: impl AsFd, at: u64) -> Sys<u64> {
    match sys::seek(live.as_fd(), at as i64, libc::SEEK_HOLE) {
        Ok(hole) if hole as u64 > at => Ok(hole as u64),
        // Behind the end of the file, or a file system that knows no holes.
        Ok(_) | Err(Errno::INVAL | Errno::NXIO) => Ok(u64::MAX),
        Err(why) => Err(why),
    }
}

/// How the content of a file is read.
pub enum Reader<'a> {
    /// As applications read it.
    Cached(BorrowedFd<'a>),
    /// From the disk.
    Direct(OwnedFd),
}

impl<'a> Reader<'a> {
    /// EINVAL or EOPNOTSUPP where the file system has no direct I/O.
    pub fn of(fd: BorrowedFd<'a>, direct: bool) -> Sys<Reader<'a>> {
        if !direct {
            return Ok(Reader::Cached(fd));
        }
        sys::reopen(fd, libc::O_RDONLY | libc::O_DIRECT).map(Reader::Direct)
    }

    /// As [`blocks`]. Offset and block have to be multiples of [`DIRECT_ALIGN`] for direct reading.
    pub fn blocks(&self, offset: u64, length: u64, block: usize, each: impl FnMut(u64, &[u8])) -> Sys<()> {
        match self {
            Reader::Cached(fd) => blocks(*fd, offset, length, block, each),
            Reader::Direct(fd) => {
                // What is beyond the end of the range is read as well, and not given.
                let end = offset + length;
                let mut each = each;
                blocks_by(fd.as_fd(), (offset, length.next_multiple_of(DIRECT_ALIGN as u64)), block, read_direct, |at, data| {
                    if at < end {
                        each(at, &data[..data.len().min((end - at) as usize)]);
                    }
                })
            }
        }
    }
}

/// Reads until `into` is full or the file ends. Short only at the end: going on from there would not be aligned.
fn read_direct(fd: BorrowedFd<'_>, offset: u64, into: &mut [u8]) -> Sys<usize> {
    let mut done = 0;
    while done < into.len() {
        match rustix::io::pread(fd, &mut into[done..], offset + done as u64) {
            Ok(got) if got == 0 || !got.is_multiple_of(DIRECT_ALIGN) => return Ok(done + got),
            Ok(got) => done += got,
            Err(Errno::INTR) => {}
            Err(why) => return Err(why),
        }
    }
    Ok(done)
}

/// Gives each block of `length` bytes from `offset` on that holds data to `each`, with its offset. Holes are not
/// read, and zeros that take no space are not the zeros that do: a block without data is not given.
pub fn blocks(live: impl AsFd, offset: u64, length: u64, block: usize, each: impl FnMut(u64, &[u8])) -> Sys<()> {
    blocks_by(live.as_fd(), (offset, length), block, read_fully, each)
}

/// The same by a reader that may want memory aligned to [`DIRECT_ALIGN`] bytes, and gets it.
pub fn blocks_by(
    live: BorrowedFd<'_>,
    (offset, length): (u64, u64),
    block: usize,
    read: impl Fn(BorrowedFd<'_>, u64, &mut [u8]) -> Sys<usize>,
    mut each: impl FnMut(u64, &[u8]),
) -> Sys<()> {
    let end = offset + length;
    let mut memory: Vec<u8> = Vec::new();
    let mut at = offset;
    while at < end {
        let Some(data) = next_data(live, at)?.filter(|data| *data < end) else { return Ok(()) };
        let first = (data - data % block as u64).max(at);
        let run = next_hole(live, data)?.min(end);
        // Whole blocks, and not more than a piece at a time.
        let until = (run.next_multiple_of(block as u64)).min(end).min(first + (COMPARE_BLOCK * 16) as u64);
        let wanted = (until - first) as usize;
        memory.resize(wanted.next_multiple_of(DIRECT_ALIGN) + DIRECT_ALIGN, 0);
        let pad = memory.as_ptr().align_offset(DIRECT_ALIGN).min(DIRECT_ALIGN);
        let buffer = &mut memory[pad..pad + wanted];
        let got = read(live, first, buffer)?;
        for (number, piece) in buffer[..got].chunks(block).enumerate() {
            each(first + (number * block) as u64, piece);
        }
        if got < buffer.len() {
            return Ok(());
        }
        at = until;
    }
    Ok(())
}

/// The secondary's digests of these pieces. What it cannot read may hold anything: the primary will send all of it.
pub fn answer(objects: &Objects, block: u32, pieces: &[(ObjectId, u64, u32)]) -> Digests {
    answer_from(objects, false, block, pieces)
}

/// The same; `direct`: as the disk has it.
pub fn answer_from(objects: &Objects, direct: bool, block: u32, pieces: &[(ObjectId, u64, u32)]) -> Digests {
    crate::apply::identity::as_root();
    let block = if block as usize == COMPARE_FINE { COMPARE_FINE } else { COMPARE_BLOCK };
    let mut room = 2 * RESYNC_ROUND_BYTES;
    let mut piece = |id: ObjectId, offset: u64, length: u32| -> Sys<(u64, Bytes)> {
        let live = objects.for_reading(id)?;
        let source = Reader::of(live.as_fd(), direct)?;
        let size = rustix::fs::fstat(&*live)?.st_size as u64;
        let length = u64::from(length).min(room).min(size.saturating_sub(offset));
        room -= length;
        let mut digests = vec![0; length.div_ceil(block as u64) as usize * HOLE.len()];
        source.blocks(offset, length, block, |at, data| {
            let place = ((at - offset) / block as u64) as usize * HOLE.len();
            digests[place..place + HOLE.len()].copy_from_slice(&of(data));
        })?;
        Ok((size, Bytes::from(digests)))
    };
    pieces.iter().map(|(id, offset, length)| piece(*id, *offset, *length).unwrap_or((UNKNOWN, Bytes::new()))).collect()
}

/// Sizes and modification times, as far as the secondary has these files.
pub fn stats(objects: &Objects, ids: &[ObjectId]) -> Vec<Option<(u64, crate::id::Stamp)>> {
    crate::apply::identity::as_root();
    let stat = |id: &ObjectId| {
        let live = objects.any_fd(*id).ok().filter(|live| live.kind == Kind::File)?;
        let mut stat = rustix::fs::statat(&*live, c"", AtFlags::EMPTY_PATH).ok()?;
        objects.times.overlay(*id, &mut stat);
        Some((stat.st_size as u64, mtime(&stat)))
    };
    ids.iter().take(RESYNC_ROUND).map(stat).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{Mode, OFlags};
    use std::os::unix::fs::FileExt;

    #[test]
    fn holes_are_not_the_zeros_that_are_written() {
        let temp = tempfile::tempdir().unwrap();
        let file = std::fs::File::create(temp.path().join("file")).unwrap();
        let block = COMPARE_BLOCK as u64;
        file.write_all_at(&[7; COMPARE_BLOCK], 3 * block).unwrap();
        file.write_all_at(&[0; COMPARE_BLOCK], 5 * block).unwrap();
        file.write_all_at(b"end", 7 * block).unwrap();
        let root = rustix::fs::open(temp.path(), OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).unwrap();
        let objects = Objects::new(root).unwrap();
        let stat = rustix::fs::statat(objects.root(), c"file", AtFlags::empty()).unwrap();
        let id = objects.identify(objects.root(), ObjectId::ROOT, c"file", &stat).unwrap();
        let answers = answer(&objects, block as u32, &[(id, 0, 16 << 16), (id, 9 * block, 65536), (ObjectId(99), 0, 1)]);
        let (size, digests) = &answers[0];
        let expected = [HOLE, HOLE, HOLE, of(&[7; COMPARE_BLOCK]), HOLE, of(&[0; COMPARE_BLOCK]), HOLE, of(b"end")];
        assert_eq!(*size, 7 * block + 3);
        assert_eq!(digests.chunks(16).map(|digest| digest.try_into().unwrap()).collect::<Vec<Digest>>(), expected);
        assert_eq!(answers[1], (7 * block + 3, Bytes::new()));
        assert_eq!(answers[2].0, UNKNOWN);
    }
}
