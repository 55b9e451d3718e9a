//! Compares the bytes and the holes of two files.

use super::scan::{Name, Tree, open_file};
use rustix::fs::{SeekFrom, fstat, seek};
use rustix::io::{Errno, pread};
use std::os::fd::{AsFd, OwnedFd};

/// Holes of this size, at multiples of it, stay holes.
const HOLE: u64 = 64 * 1024;

pub fn compare(left: &Tree, right: &Tree, name: &Name, ignore_holes: bool) -> Result<Vec<String>, Errno> {
    let files = [open_file(left, name)?, open_file(right, name)?];
    let size = fstat(&files[0])?.st_size as u64;
    let data = [data_blocks(&files[0], size)?, data_blocks(&files[1], size)?];
    let mut lines = Vec::new();
    for block in 0..size.div_ceil(HOLE) {
        let here = [&data[0], &data[1]].map(|blocks| blocks[block as usize]);
        let whole = (block + 1) * HOLE <= size;
        if whole && !ignore_holes && here[0] != here[1] {
            let side = if here[0] { "right" } else { "left" };
            lines.push(format!("a hole at {} on the {side} only", block * HOLE));
        }
        if (here[0] || here[1])
            && let Some(at) = first_difference(&files, block * HOLE)?
        {
            lines.push(format!("content at byte {at}"));
            break;
        }
    }
    Ok(lines)
}

/// For every block of `HOLE` bytes: does it hold data?
fn data_blocks(file: &OwnedFd, size: u64) -> Result<Vec<bool>, Errno> {
    let mut blocks = vec![false; size.div_ceil(HOLE) as usize];
    let mut at = 0;
    while at < size {
        let start = match seek(file, SeekFrom::Data(at)) {
            Ok(start) => start,
            Err(Errno::NXIO) => break,
            Err(e) => return Err(e),
        };
        let end = seek(file, SeekFrom::Hole(start))?.min(size);
        let last = end.saturating_sub(1) / HOLE;
        blocks.iter_mut().take(last as usize + 1).skip((start / HOLE) as usize).for_each(|b| *b = true);
        at = end.max(start + 1);
    }
    Ok(blocks)
}

fn first_difference(files: &[OwnedFd; 2], start: u64) -> Result<Option<u64>, Errno> {
    let left = read_block(&files[0], start)?;
    let right = read_block(&files[1], start)?;
    if left == right {
        return Ok(None);
    }
    let same = left.iter().zip(&right).take_while(|(l, r)| l == r).count();
    Ok(Some(start + same as u64))
}

fn read_block(file: &OwnedFd, start: u64) -> Result<Vec<u8>, Errno> {
    let mut block = vec![0; HOLE as usize];
    let mut filled = 0;
    while filled < block.len() {
        match pread(file.as_fd(), &mut block[filled..], start + filled as u64)? {
            0 => break,
            n => filled += n,
        }
    }
    block.truncate(filled);
    Ok(block)
}
