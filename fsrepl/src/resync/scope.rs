//! What the secondary of a session may not have, as live operations ask for it: a few hash lookups, whatever
//! the size of the plan.
//!
//! An object is in one of three states. *Known*: the secondary has it as it is here, and every operation on it
//! travels. *Partial*: it is there, and only marked extents or attributes may differ; what changes its data
//! travels, because replaying the last changes on top of a compare gives the same bytes whether the compare
//! saw them or not. *Unknown*: nothing travels before the resync has sent it, but what lies before its cursor.

use super::ids::IdSet;
use super::plan::Plan;
use crate::id::ObjectId;
use crate::journal::{Aspect, Key, Level};
use crate::objects::Kind;
use parking_lot::RwLock;
use rustc_hash::{FxHashMap, FxHashSet};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

/// The objects that marks of one aspect name.
#[derive(Debug, Default)]
struct Marks {
    all: bool,
    objects: FxHashSet<u64>,
    /// Coarser marks: by how many bits of the id they leave out.
    spans: Vec<(u32, FxHashSet<u64>)>,
}

impl Marks {
    fn add(&mut self, key: Key) {
        let (first, last) = key.objects();
        match key.level() {
            Level::Extent | Level::Object => drop(self.objects.insert(first.0)),
            Level::All => self.all = true,
            Level::Group | Level::Region => {
                let bits = (last.0 - first.0 + 1).trailing_zeros();
                let place = self.spans.iter().position(|(have, _)| *have == bits).unwrap_or_else(|| {
                    self.spans.push((bits, FxHashSet::default()));
                    self.spans.len() - 1
                });
                self.spans[place].1.insert(first.0 >> bits);
            }
        }
    }

    fn has(&self, id: ObjectId) -> bool {
        self.all || self.objects.contains(&id.0) || self.spans.iter().any(|(bits, spans)| spans.contains(&(id.0 >> bits)))
    }
}

/// The plan of one session, and what was found to differ beyond it.
#[derive(Debug)]
pub struct Scope {
    /// The session.
    pub epoch: u32,
    /// Nothing is known from the start.
    pub everything: bool,
    floor: ObjectId,
    entries: Marks,
    attrs: Marks,
    content: Marks,
    /// Marked pieces of files whose other content is known: offsets of extents.
    extents: FxHashMap<u64, Vec<u64>>,
    /// What the secondary did not have although the plan did not say so, or where it is in doubt.
    extra: RwLock<IdSet>,
    any_extra: AtomicBool,
}

impl Scope {
    /// What `plan` names, for session `epoch`.
    pub fn new(epoch: u32, plan: &Plan) -> Scope {
        let mut scope = Scope {
            epoch,
            everything: plan.dirty.is_everything(),
            floor: plan.dirty.birth_floor,
            entries: Marks::default(),
            attrs: Marks::default(),
            content: Marks::default(),
            extents: FxHashMap::default(),
            extra: RwLock::default(),
            any_extra: AtomicBool::new(false),
        };
        for key in plan.dirty.keys() {
            match (key.aspect(), key.level()) {
                (Aspect::Content, Level::Extent) => scope.extents.entry(key.objects().0.0).or_default().push(key.bytes().0),
                (Aspect::Content, _) => scope.content.add(key),
                (Aspect::Entries, _) => scope.entries.add(key),
                (Aspect::Attrs, _) => scope.attrs.add(key),
            }
        }
        scope.extents.values_mut().for_each(|extents| extents.sort_unstable());
        scope
    }

    fn is_extra(&self, id: ObjectId) -> bool {
        id > self.floor || self.doubted(id)
    }

    /// The object was found to differ beyond the plan.
    pub fn doubted(&self, id: ObjectId) -> bool {
        self.any_extra.load(SeqCst) && self.extra.read().contains(id)
    }

    /// The object is unknown from here on, whatever the plan says.
    pub fn doubt(&self, id: ObjectId) {
        self.extra.write().insert(id);
        self.any_extra.store(true, SeqCst);
    }

    /// Whether the names in this directory may differ.
    pub fn names(&self, dir: ObjectId) -> bool {
        self.is_extra(dir) || self.entries.has(dir)
    }

    /// Whether the data of this file may differ anywhere, or it may not be there.
    pub fn unknown(&self, id: ObjectId) -> bool {
        self.is_extra(id) || self.content.has(id)
    }

    /// Whether content or attributes of this object may differ. What changes names or content changes times.
    pub fn content(&self, id: ObjectId, kind: Kind) -> bool {
        let by_kind = match kind {
            Kind::File => self.content.has(id) || self.extents.contains_key(&id.0),
            Kind::Directory => self.entries.has(id),
            Kind::Symlink | Kind::Special => false,
        };
        by_kind || self.is_extra(id) || self.attrs.has(id)
    }

    /// The offsets of the marked extents of a partial file.
    pub fn extents(&self, id: ObjectId) -> &[u64] {
        self.extents.get(&id.0).map_or(&[], |extents| extents)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::DirtySet;

    const FILE: ObjectId = ObjectId(100);
    const DIR: ObjectId = ObjectId(5000);

    fn scope(keys: &[Key]) -> Scope {
        Scope::new(1, &Plan { dirty: DirtySet::new(keys.iter().copied(), ObjectId(10_000)), hash: true })
    }

    #[test]
    fn a_mark_speaks_of_its_objects_only() {
        let scope =
            scope(&[Key::extent(FILE, 3), Key::object(Aspect::Entries, DIR).at(Level::Group), Key::object(Aspect::Attrs, ObjectId(7))]);
        assert!(scope.content(FILE, Kind::File) && !scope.unknown(FILE) && scope.extents(FILE) == [3 * crate::limits::JOURNAL_EXTENT]);
        assert!(!scope.content(ObjectId(101), Kind::File));
        let neighbour = ObjectId(DIR.0 & !255);
        assert!(scope.names(DIR) && scope.names(neighbour) && !scope.names(ObjectId(neighbour.0 - 1)));
        // A file in a group of marked directories is none of them.
        assert!(scope.content(neighbour, Kind::Directory) && !scope.content(neighbour, Kind::File));
        assert!(scope.content(ObjectId(7), Kind::Symlink) && !scope.names(ObjectId(7)) && !scope.unknown(ObjectId(7)));
    }

    #[test]
    fn young_and_doubted_objects_are_unknown() {
        let scope = scope(&[]);
        assert!(!scope.unknown(ObjectId(10_000)) && scope.unknown(ObjectId(10_001)) && scope.names(ObjectId(10_001)));
        assert!(!scope.names(DIR));
        scope.doubt(DIR);
        assert!(scope.names(DIR) && scope.content(DIR, Kind::Directory));
    }

    #[test]
    fn everything_is_everything() {
        let scope = Scope::new(1, &Plan::everything());
        assert!(scope.everything && scope.names(ObjectId::ROOT) && scope.unknown(ObjectId::ROOT));
    }
}
