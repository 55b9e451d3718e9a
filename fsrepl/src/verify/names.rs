//! The names in one directory, compared one by one.

use super::detail::sorted;
use super::{Broken, Difference, How, Verify, nonsense, place};
use crate::id::ObjectId;
use crate::op::{Bytes, Question, Said};
use rustix::fd::AsFd;
use std::cmp::Ordering;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

impl Verify<'_> {
    /// Reports what names differ in a directory. The caller holds its lock.
    pub(super) fn names(&mut self, dir: ObjectId) -> Result<(), Broken> {
        let volume = self.volume;
        let Some(live) = self.unless_gone(dir, volume.objects.for_reading(dir))? else { return Ok(()) };
        let Some(here) = self.unless_gone(dir, sorted(&volume.objects, &live, &volume.exclude))? else { return Ok(()) };
        let there = self.names_there(dir)?;
        let (mut ours, mut theirs) = (here.iter().peekable(), there.iter().peekable());
        loop {
            let order = match (ours.peek(), theirs.peek()) {
                (None, None) => return Ok(()),
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some((our, _)), Some((their, _))) => our.cmp(their),
            };
            match order {
                Ordering::Less => {
                    let Some((name, id)) = ours.next() else { continue };
                    self.found.suspect(*id);
                    self.named.insert(*id);
                    self.name(dir, name, How::Missing);
                }
                Ordering::Greater => {
                    let Some((name, _)) = theirs.next() else { continue };
                    if !volume.exclude.matches(live.as_fd(), OsStr::from_bytes(name)) {
                        self.name(dir, name, How::Extra);
                    }
                }
                Ordering::Equal => {
                    let (Some((name, our)), Some((_, their))) = (ours.next(), theirs.next()) else { continue };
                    // What this node itself does not know by an id cannot be told from something else.
                    if our != their && our.0 != 0 {
                        self.found.suspect(*our);
                        self.named.insert(*our);
                        self.name(dir, name, How::Replaced);
                    }
                }
            }
        }
    }

    fn name(&mut self, dir: ObjectId, name: &[u8], kind: How) {
        let path = place::name_in(self.volume, dir, name);
        self.enter(dir, Difference { path, kind, what: Vec::new(), ranges: Vec::new() });
    }

    fn names_there(&mut self, dir: ObjectId) -> Result<Vec<(Bytes, ObjectId)>, Broken> {
        let mut all: Vec<(Bytes, ObjectId)> = Vec::new();
        loop {
            let after = all.last().map_or_else(Bytes::default, |(name, _)| name.clone());
            let number = self.ask(Question::Entries { dir, after })?;
            let Said::Entries(part) = self.answer(number)? else { return Err(nonsense()) };
            let Some(part) = part else { return Ok(all) };
            let more = part.more && !part.entries.is_empty();
            // Sorted and going on, or the peer could keep us asking.
            let ascends = all.last().into_iter().chain(&part.entries).is_sorted_by(|(a, _), (b, _)| a < b);
            if !ascends {
                return Err(nonsense());
            }
            all.extend(part.entries);
            if !more {
                return Ok(all);
            }
        }
    }
}
