//! What content is, in blake3 digests of blocks: compared instead of sent.

use crate::id::ObjectId;
use crate::limits::COMPARE_BLOCK;
use crate::objects::Objects;
use crate::op::Digests;
use crate::sys::{self, Sys};
use rustix::fd::BorrowedFd;
use rustix::io::Errno;

/// Digest of one block.
pub type Digest = [u8; 32];

/// Size of a file of which nothing is known.
pub const UNKNOWN: u64 = u64::MAX;

/// Stands for a block without data: no content has this digest.
const HOLE: Digest = [0; 32];

/// Digests of the blocks of `data`.
pub fn of(data: &[u8]) -> Vec<Digest> {
    data.chunks(COMPARE_BLOCK).map(|block| *blake3::hash(block).as_bytes()).collect()
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

/// The secondary's digests of these pieces. What it cannot read may hold anything: the primary will send all of it.
pub fn answer(objects: &Objects, pieces: &[(ObjectId, u64, u32)]) -> Digests {
    use rustix::fd::AsFd;
    crate::apply::identity::as_root();
    let mut buffer = Vec::new();
    let mut piece = |id: ObjectId, offset: u64, length: u32| -> Sys<(u64, Vec<Digest>)> {
        let live = objects.live(id)?;
        let size = rustix::fs::fstat(&*live)?.st_size as u64;
        if size <= offset {
            return Ok((size, Vec::new()));
        }
        buffer.resize(length as usize, 0);
        let got = read_fully(live.as_fd(), offset, &mut buffer)?;
        let mut digests = of(&buffer[..got]);
        for (number, digest) in digests.iter_mut().enumerate() {
            let block = offset + (number * COMPARE_BLOCK) as u64;
            // Zeros that take no space are not the zeros that do.
            match sys::seek(live.as_fd(), block as i64, libc::SEEK_DATA) {
                Ok(data) if (data as u64) < block + COMPARE_BLOCK as u64 => {}
                Ok(_) | Err(Errno::NXIO) => *digest = HOLE,
                Err(_) => {}
            }
        }
        Ok((size, digests))
    };
    pieces.iter().map(|(id, offset, length)| piece(*id, *offset, (*length).min(1 << 20)).unwrap_or((UNKNOWN, Vec::new()))).collect()
}
