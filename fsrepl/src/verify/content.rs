//! Content, by digests of blocks: rounds of many pieces, the next one asked while this one is read here, so that both
//! nodes read at the same time.

use super::{Broken, Difference, How, Verify, nonsense, place};
use crate::id::ObjectId;
use crate::limits::{COMPARE_BLOCK, COMPARE_FINE, RESYNC_PIECE, RESYNC_ROUND, RESYNC_ROUND_BYTES, VERIFY_HOLE};
use crate::objects::Live;
use crate::op::{Digests, Question, Said};
use crate::resync::digest::{self, Digest, HOLE, Reader};
use rustc_hash::FxHashMap;
use rustix::fd::AsFd;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

/// Object, offset, length.
type Piece = (ObjectId, u64, u32);

/// The files of a part, taken apart into pieces.
struct Pieces {
    files: VecDeque<ObjectId>,
    /// The file that is being taken apart, where, and its size.
    open: Option<(Arc<Live>, u64, u64)>,
}

/// Whether two digests of blocks of this length say that an application reads the same: zeros that take no space
/// read as zeros.
fn same(here: &Digest, there: &Digest, length: usize) -> bool {
    let zeros = |digest: &Digest| *digest == HOLE || *digest == digest::of(&vec![0; length]);
    here == there || (*here == HOLE || *there == HOLE) && zeros(here) && zeros(there)
}

fn blocks(digests: &[u8]) -> impl Iterator<Item = Digest> + '_ {
    digests.chunks_exact(HOLE.len()).map(|digest| digest.try_into().unwrap_or(HOLE))
}

impl Verify<'_> {
    /// Compares the content of these files.
    pub(super) fn content(&mut self, files: VecDeque<ObjectId>) -> Result<(), Broken> {
        let mut pieces = Pieces { files, open: None };
        let mut next = self.round(&mut pieces)?;
        while let Some((number, round)) = next {
            next = self.round(&mut pieces)?;
            let mut suspects: Vec<(ObjectId, u64)> = Vec::new();
            let mut bytes = 0;
            let here = round.iter().map(|piece| self.digests(*piece, COMPARE_BLOCK)).collect::<Result<Vec<_>, _>>()?;
            let Said::Blocks(there) = self.answer(number)? else { return Err(nonsense()) };
            if there.len() != round.len() {
                return Err(nonsense());
            }
            for ((piece, here), (size, there)) in round.iter().zip(here).zip(there) {
                bytes += u64::from(piece.2);
                let Some((mine, here)) = here else { continue };
                let suspect = |at: u64| (piece.0, at);
                suspects.extend(unequal(piece.1, (mine, &here), (size, &there), COMPARE_BLOCK).into_iter().map(suspect));
            }
            self.recheck_blocks(&suspects)?;
            self.pace(bytes)?;
        }
        Ok(())
    }

    /// Asks about as many pieces as one question covers; none when there are none left.
    fn round(&mut self, pieces: &mut Pieces) -> Result<Option<(u64, Vec<Piece>)>, Broken> {
        let (mut round, mut bytes) = (Vec::new(), 0);
        while round.len() < RESYNC_ROUND && bytes < RESYNC_ROUND_BYTES {
            let Some(piece) = self.piece(pieces)? else { break };
            bytes += u64::from(piece.2);
            round.push(piece);
        }
        if round.is_empty() {
            return Ok(None);
        }
        let question = Question::Blocks { direct: self.manner.direct, block: COMPARE_BLOCK as u32, pieces: round.clone() };
        Ok(Some((self.ask(question)?, round)))
    }

    /// The next piece. Long holes are asked about as such.
    fn piece(&mut self, pieces: &mut Pieces) -> Result<Option<Piece>, Broken> {
        loop {
            if pieces.open.is_none() {
                let Some(id) = pieces.files.pop_front() else { return Ok(None) };
                let live = self.unless_gone(id, self.volume.objects.for_reading(id))?;
                let sized = |live: Arc<Live>| rustix::fs::fstat(&*live).ok().map(|stat| (live, 0, stat.st_size as u64));
                pieces.open = live.and_then(sized);
            }
            let Some((live, at, size)) = &mut pieces.open else { continue };
            if *at >= *size {
                pieces.open = None;
                continue;
            }
            let (id, from) = (live.id, *at);
            let data = digest::next_data(&**live, from).ok().flatten().unwrap_or(*size).min(*size);
            if data - from >= VERIFY_HOLE {
                // Data there begins within the hole, or not at all.
                let number = self.ask(Question::Data(id, from))?;
                let Said::Data(there) = self.answer(number)? else { return Err(nonsense()) };
                let next = there.unwrap_or(u64::MAX).clamp(from, data);
                let next = next - next % COMPARE_BLOCK as u64;
                self.go_on()?;
                if next > from {
                    *at = next;
                    continue;
                }
            }
            let length = (*size - from).min(RESYNC_PIECE as u64);
            *at = from + length;
            return Ok(Some((id, from, length as u32)));
        }
    }

    /// This node's digests of a piece, with the size of the file; none if it is gone.
    fn digests(&self, (id, offset, length): Piece, block: usize) -> Result<Option<(u64, Vec<u8>)>, Broken> {
        let Some(live) = self.unless_gone(id, self.volume.objects.for_reading(id))? else { return Ok(None) };
        let direct = self.manner.direct;
        let reader = Reader::of(live.as_fd(), direct).map_err(|why| match direct {
            true => Broken::NotDirect("the file system here"),
            false => Broken::Local(place::of(self.volume, id), why),
        })?;
        let local = |why| Broken::Local(place::of(self.volume, id), why);
        let size = rustix::fs::fstat(&*live).map_err(local)?.st_size as u64;
        let length = u64::from(length).min(size.saturating_sub(offset));
        let mut digests = vec![0; length.div_ceil(block as u64) as usize * HOLE.len()];
        let read = reader.blocks(offset, length, block, |at, data| {
            let place = ((at - offset) / block as u64) as usize * HOLE.len();
            digests[place..place + HOLE.len()].copy_from_slice(&digest::of(data));
        });
        read.map_err(local)?;
        Ok(Some((size, digests)))
    }

    /// These blocks seemed to differ: under the lock of their file, and after everything sent so far, they must not.
    fn recheck_blocks(&mut self, suspects: &[(ObjectId, u64)]) -> Result<(), Broken> {
        let mut of: FxHashMap<u64, Vec<u64>> = FxHashMap::default();
        suspects.iter().for_each(|(id, at)| of.entry(id.0).or_default().push(*at));
        let mut ids: Vec<_> = of.keys().copied().collect();
        ids.sort_unstable();
        for id in ids.into_iter().map(ObjectId) {
            for blocks in of[&id.0].chunks(RESYNC_PIECE / COMPARE_BLOCK) {
                self.go_on()?;
                self.recheck_file(id, blocks)?;
            }
        }
        Ok(())
    }

    /// Some blocks of one file, a piece at most: that long the application waits.
    fn recheck_file(&mut self, id: ObjectId, blocks: &[u64]) -> Result<(), Broken> {
        self.progress.rechecked.fetch_add(1, Relaxed);
        let volume = self.volume;
        let held = volume.objects.locks.one(id);
        if volume.objects.is_orphan(id) {
            return Ok(());
        }
        let pieces: Vec<Piece> = blocks.iter().map(|at| (id, *at, COMPARE_BLOCK as u32)).collect();
        let there = self.there(self.manner.direct, &pieces)?;
        if self.manner.direct && there.iter().any(|(size, _)| *size == digest::UNKNOWN) {
            // Unreadable, or only not in this way?
            let cached = self.there(false, &pieces)?;
            if cached.iter().any(|(size, _)| *size != digest::UNKNOWN) {
                return Err(Broken::NotDirect("the secondary's file system"));
            }
        }
        let mut ranges = Vec::new();
        for (piece, (size, there)) in pieces.iter().zip(there) {
            let Some((mine, here)) = self.digests(*piece, COMPARE_FINE)? else { return Ok(()) };
            let fine = unequal(piece.1, (mine, &here), (size, &there), COMPARE_FINE);
            ranges.extend(fine.into_iter().map(|at| (at, (mine - at).min(COMPARE_FINE as u64))));
        }
        drop(held);
        // A file that is not there at all is told by its name.
        if !ranges.is_empty() && !self.absent.contains(id) && !self.is_excluded(id) {
            let path = place::of(volume, id);
            self.enter(id, Difference { path, kind: How::Content, what: Vec::new(), ranges });
        }
        Ok(())
    }

    fn there(&mut self, direct: bool, pieces: &[Piece]) -> Result<Digests, Broken> {
        let number = self.ask(Question::Blocks { direct, block: COMPARE_FINE as u32, pieces: pieces.to_vec() })?;
        match self.answer(number)? {
            Said::Blocks(said) if said.len() == pieces.len() => Ok(said),
            _ => Err(nonsense()),
        }
    }
}

/// Offsets of the blocks within this node's file that differ there, given what either node says of a piece.
fn unequal(offset: u64, (mine, here): (u64, &[u8]), (size, there): (u64, &[u8]), block: usize) -> Vec<u64> {
    let mut theirs = blocks(there);
    let mut differing = Vec::new();
    for (number, here) in blocks(here).enumerate() {
        let at = offset + (number * block) as u64;
        let length = (mine - at).min(block as u64) as usize;
        let equal = theirs.next().is_some_and(|there| size != digest::UNKNOWN && same(&here, &there, length));
        if !equal {
            differing.push(at);
        }
    }
    differing
}
