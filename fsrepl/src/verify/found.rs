//! What was found: a bounded list, and what a repair has to mark.

use crate::id::ObjectId;
use crate::journal::{Aspect, Key};
use crate::limits::{JOURNAL_EXTENT, VERIFY_LISTED, VERIFY_LISTED_BYTES, VERIFY_MARKS, VERIFY_RANGES};
use serde::Serialize;
use std::collections::BTreeSet;

/// How an object differs on the secondary.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum How {
    /// The name is not there.
    Missing,
    /// A name is there that is not here.
    Extra,
    /// Something else has the name.
    Replaced,
    /// Attributes differ.
    Attributes,
    /// Content differs.
    Content,
}

/// One difference.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// From the top of the directory; bytes that are no text are replaced.
    pub path: String,
    /// What is wrong.
    pub kind: How,
    /// Attributes: which ones.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub what: Vec<String>,
    /// Content: offset and length of what differs, in parts of 4 KiB; of many ranges the first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ranges: Vec<(u64, u64)>,
}

/// Everything found.
#[derive(Debug, Default)]
pub struct Found {
    /// The first ones.
    pub listed: Vec<Difference>,
    /// All.
    pub count: u64,
    bytes: usize,
    keys: BTreeSet<Key>,
    objects: BTreeSet<ObjectId>,
}

impl Found {
    /// Enters a difference of object `id` (for names: of the directory). Adjacent ranges become one.
    pub fn enter(&mut self, id: ObjectId, mut difference: Difference) {
        let goes_on = |last: &&mut Difference| last.kind == How::Content && last.path == difference.path;
        if difference.kind == How::Content
            && let Some(last) = self.listed.last_mut().filter(goes_on)
        {
            difference.ranges.iter().for_each(|range| join(&mut last.ranges, *range));
            return self.mark_content(id, &difference.ranges);
        }
        match difference.kind {
            How::Missing | How::Extra | How::Replaced => self.mark(Key::object(Aspect::Entries, id)),
            How::Attributes => self.mark(Key::object(Aspect::Attrs, id)),
            How::Content => self.mark_content(id, &difference.ranges.clone()),
        }
        self.count += 1;
        self.objects.insert(id);
        while self.objects.len() > VERIFY_MARKS {
            self.objects.pop_last();
        }
        let ranges = std::mem::take(&mut difference.ranges);
        ranges.into_iter().for_each(|range| join(&mut difference.ranges, range));
        let words: usize = difference.what.iter().map(|word| word.len() + 4).sum();
        let bytes = difference.path.len() + words + 24 * VERIFY_RANGES.min(difference.ranges.len()) + 64;
        if self.listed.len() < VERIFY_LISTED && self.bytes + bytes <= VERIFY_LISTED_BYTES {
            self.bytes += bytes;
            self.listed.push(difference);
        }
    }

    /// Also to be sent anew: what a name is that is missing.
    pub fn suspect(&mut self, id: ObjectId) {
        self.mark(Key::object(Aspect::Content, id));
        self.mark(Key::object(Aspect::Attrs, id));
        self.mark(Key::object(Aspect::Entries, id));
    }

    fn mark_content(&mut self, id: ObjectId, ranges: &[(u64, u64)]) {
        for (from, length) in ranges {
            let last = (from + length.saturating_sub(1)) / JOURNAL_EXTENT;
            (from / JOURNAL_EXTENT..=last).for_each(|extent| self.mark(Key::extent(id, extent)));
        }
    }

    fn mark(&mut self, key: Key) {
        if self.keys.len() < VERIFY_MARKS {
            self.keys.insert(key);
        }
    }

    /// What a repair marks.
    pub fn marks(&self) -> Vec<Key> {
        if self.keys.len() < VERIFY_MARKS {
            return self.keys.iter().copied().collect();
        }
        Aspect::ALL.into_iter().map(Key::all).collect()
    }

    /// The objects that differ, to look at again after a repair: the first of them.
    pub fn objects(&self) -> Vec<ObjectId> {
        self.objects.iter().copied().collect()
    }
}

fn join(ranges: &mut Vec<(u64, u64)>, (from, length): (u64, u64)) {
    match ranges.last_mut() {
        Some((begin, before)) if *begin + *before == from => *before += length,
        _ => {
            if ranges.len() < VERIFY_RANGES {
                ranges.push((from, length));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(path: &str, ranges: &[(u64, u64)]) -> Difference {
        Difference { path: path.into(), kind: How::Content, what: Vec::new(), ranges: ranges.to_vec() }
    }

    #[test]
    fn ranges_join_and_each_extent_is_marked_once() {
        let mut found = Found::default();
        found.enter(ObjectId(20), content("/a", &[(0, 4096), (4096, 4096)]));
        found.enter(ObjectId(20), content("/a", &[(8192, 4096), (9 << 20, 4096)]));
        found.enter(ObjectId(21), Difference { kind: How::Extra, ..content("/x", &[]) });
        assert_eq!(found.count, 2);
        assert_eq!(found.listed[0].ranges, [(0, 12288), (9 << 20, 4096)]);
        let marks = [Key::extent(ObjectId(20), 0), Key::extent(ObjectId(20), 2), Key::object(Aspect::Entries, ObjectId(21))];
        assert_eq!(found.marks().into_iter().collect::<BTreeSet<_>>(), BTreeSet::from(marks));
    }

    #[test]
    fn more_than_can_be_marked_is_everything() {
        let mut found = Found::default();
        (0..VERIFY_MARKS as u64 + 5).for_each(|id| found.enter(ObjectId(100 + id), Difference { kind: How::Extra, ..content("/x", &[]) }));
        assert_eq!(found.count, VERIFY_MARKS as u64 + 5);
        assert_eq!(found.listed.len(), VERIFY_LISTED);
        assert_eq!(found.marks(), Aspect::ALL.map(Key::all));
    }
}
