//! What a resync would have to look at, answered from the dirty set at once, without looking at the tree.

use crate::id::ObjectId;
use crate::journal::{Aspect, DirtySet, Level};
use crate::limits::ESTIMATE_OBJECTS;
use crate::objects::{Kind, Objects};
use rustc_hash::{FxHashMap, FxHashSet};
use serde::Serialize;

/// The size of a resync, from above.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Estimate {
    /// Change tracking does not suffice: all names and all content are compared.
    pub everything: bool,
    /// Marks in the dirty set.
    pub marks: u64,
    /// Directories whose names are compared.
    pub directories: u64,
    /// Files whose content is compared, in part or as a whole.
    pub files: u64,
    /// Objects of which the attributes alone are sent.
    pub attributes: u64,
    /// Bytes of content that are compared at most.
    pub bytes_at_most: u64,
    /// More objects are marked than were counted ([`ESTIMATE_OBJECTS`]).
    pub more: bool,
}

#[derive(Default)]
struct Touched {
    entries: bool,
    whole: bool,
    extents: u64,
    attributes: bool,
}

/// Counts what `dirty` names.
pub fn estimate(objects: &Objects, dirty: &DirtySet) -> Estimate {
    let mut estimate = Estimate { marks: dirty.len() as u64, ..Estimate::default() };
    if dirty.is_everything() {
        estimate.everything = true;
        return estimate;
    }
    let mut touched: FxHashMap<u64, Touched> = FxHashMap::default();
    let mut spans = FxHashSet::default();
    for key in dirty.keys() {
        let (first, last) = key.objects();
        if key.level() > Level::Object {
            spans.insert((first, last, key.aspect()));
            continue;
        }
        note(touched.entry(first.0).or_default(), key.aspect(), key.level() == Level::Extent, key.bytes().1);
    }
    let young = (ObjectId(dirty.birth_floor.0.saturating_add(1)), ObjectId(u64::MAX));
    spans.extend([(young.0, young.1, Aspect::Content), (young.0, young.1, Aspect::Entries)]);
    for (first, last, aspect) in spans {
        for (id, _) in objects.table.known_in(first, last) {
            note(touched.entry(id.0).or_default(), aspect, false, 0);
        }
    }
    estimate.more = touched.len() > ESTIMATE_OBJECTS;
    for (id, touched) in touched.into_iter().take(ESTIMATE_OBJECTS) {
        add(&mut estimate, objects, ObjectId(id), &touched);
    }
    estimate
}

fn note(touched: &mut Touched, aspect: Aspect, extent: bool, bytes: u64) {
    match aspect {
        Aspect::Content if extent => touched.extents += bytes,
        Aspect::Content => touched.whole = true,
        Aspect::Entries => touched.entries = true,
        Aspect::Attrs => touched.attributes = true,
    }
}

/// What is gone needs nothing: its name went with a directory that is counted.
fn add(estimate: &mut Estimate, objects: &Objects, id: ObjectId, touched: &Touched) {
    let Some(kind) = objects.table.look(id, |entry| entry.kind) else { return };
    if kind == Kind::Directory {
        estimate.directories += u64::from(touched.entries);
        estimate.attributes += u64::from(!touched.entries && touched.attributes);
    } else if touched.whole || touched.extents > 0 {
        let Ok(stat) = objects.stat(id) else { return };
        let size = if kind == Kind::File { stat.st_size as u64 } else { 0 };
        estimate.files += 1;
        estimate.bytes_at_most += if touched.whole { size } else { size.min(touched.extents) };
    } else if touched.attributes {
        estimate.attributes += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::Key;
    use rustix::fs::{AtFlags, Mode, OFlags, statat};

    #[test]
    fn counts_what_is_marked_and_what_was_born_since() {
        let temp = tempfile::tempdir().unwrap();
        let root = rustix::fs::open(temp.path(), OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).unwrap();
        let objects = Objects::new(root).unwrap();
        let mut ids = Vec::new();
        for (name, size) in [(c"part", 10 << 20), (c"whole", 5000), (c"modes", 1), (c"young", 77)] {
            std::fs::File::create(temp.path().join(name.to_str().unwrap())).unwrap().set_len(size).unwrap();
            let stat = statat(objects.root(), name, AtFlags::empty()).unwrap();
            ids.push(objects.identify(objects.root(), ObjectId::ROOT, name, &stat).unwrap());
        }
        let keys = [
            Key::extent(ids[0], 0),
            Key::object(Aspect::Content, ids[1]),
            Key::object(Aspect::Attrs, ids[2]),
            Key::object(Aspect::Entries, ObjectId::ROOT),
            Key::object(Aspect::Content, ObjectId(ids[0].0 + 1_000_000)),
        ];
        let found = estimate(&objects, &DirtySet::new(keys, ids[2]));
        let wanted =
            Estimate { marks: 5, directories: 1, files: 3, attributes: 1, bytes_at_most: (4 << 20) + 5000 + 77, ..Estimate::default() };
        assert_eq!(found, wanted);
        assert!(estimate(&objects, &DirtySet::everything()).everything);
    }
}
