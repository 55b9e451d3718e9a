//! What can be marked: a 4 MiB extent, or one aspect of one object, of a group of objects or of all.

use crate::id::ObjectId;
use crate::limits;

/// The part of an object that a mark speaks of. Kept apart so that a storm of attribute changes
/// that had to be coarsened does not make a resync read file contents.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Aspect {
    /// The bytes of a file.
    Content = 0,
    /// The names in a directory.
    Entries = 1,
    /// Mode, owner, times, size, extended attributes.
    Attrs = 2,
}

impl Aspect {
    /// Every aspect there is.
    pub const ALL: [Aspect; 3] = [Aspect::Content, Aspect::Entries, Aspect::Attrs];
}

/// How many objects a mark covers; each level is covered by the next.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Level {
    /// One extent of one file.
    Extent = 0,
    /// One object.
    Object = 1,
    /// 256 neighbouring ids.
    Group = 2,
    /// 4096 neighbouring ids.
    Region = 3,
    /// Every object.
    All = 4,
}

impl Level {
    /// From fine to coarse.
    pub const COARSER: [Level; 4] = [Level::Object, Level::Group, Level::Region, Level::All];

    fn shift(self) -> u32 {
        match self {
            Level::Extent | Level::Object => 0,
            Level::Group => 8,
            Level::Region => 12,
            Level::All => 63,
        }
    }
}

/// One mark, in the 16 bytes it also has on disk: `base` is the object id (or the number of the
/// group), `tail` holds level (top byte), aspect (next byte) and extent (low 48 bits).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default)]
pub struct Key {
    pub(super) base: u64,
    pub(super) tail: u64,
}

const EXTENT_BITS: u32 = 48;

impl Key {
    /// An empty slot. Object 0 does not exist, so no mark looks like this.
    pub const FREE: Key = Key { base: 0, tail: 0 };

    /// The extent with this index of the object's content.
    pub fn extent(object: ObjectId, index: u64) -> Key {
        debug_assert!(index >> EXTENT_BITS == 0);
        Key { base: object.0, tail: index }
    }

    /// One aspect of one object.
    pub fn object(aspect: Aspect, object: ObjectId) -> Key {
        Key::span(aspect, Level::Object, object.0)
    }

    /// One aspect of everything.
    pub fn all(aspect: Aspect) -> Key {
        Key::span(aspect, Level::All, 0)
    }

    fn span(aspect: Aspect, level: Level, base: u64) -> Key {
        Key { base, tail: (level as u64) << 56 | (aspect as u64) << EXTENT_BITS }
    }

    /// Whether this is an empty slot.
    pub fn is_free(self) -> bool {
        self == Key::FREE
    }

    /// How much the mark covers.
    pub fn level(self) -> Level {
        match self.tail >> 56 {
            0 => Level::Extent,
            1 => Level::Object,
            2 => Level::Group,
            3 => Level::Region,
            _ => Level::All,
        }
    }

    /// What part of the objects is meant.
    pub fn aspect(self) -> Aspect {
        match self.tail >> EXTENT_BITS & 0xff {
            0 => Aspect::Content,
            1 => Aspect::Entries,
            _ => Aspect::Attrs,
        }
    }

    /// The mark of a coarser level that covers this one.
    pub fn at(self, level: Level) -> Key {
        debug_assert!(level >= self.level() && level != Level::Extent);
        let base = self.base << self.level().shift() >> level.shift();
        Key::span(self.aspect(), level, base)
    }

    /// The ids covered, first and last.
    pub fn objects(self) -> (ObjectId, ObjectId) {
        let shift = self.level().shift();
        if self.level() == Level::All {
            return (ObjectId(0), ObjectId(u64::MAX));
        }
        let first = self.base << shift;
        (ObjectId(first), ObjectId(first + ((1 << shift) - 1)))
    }

    /// The bytes covered, for an extent; everything otherwise.
    pub fn bytes(self) -> (u64, u64) {
        match self.level() {
            Level::Extent => {
                let size = limits::JOURNAL_EXTENT;
                let first = (self.tail & ((1 << EXTENT_BITS) - 1)) * size;
                (first, size)
            }
            _ => (0, u64::MAX),
        }
    }

    /// Reads a key from disk; `None` when no key looks like this.
    pub(super) fn checked(base: u64, tail: u64) -> Option<Key> {
        let (level, aspect, extent) = (tail >> 56, tail >> EXTENT_BITS & 0xff, tail & ((1 << EXTENT_BITS) - 1));
        let known = match level {
            0 => aspect == 0 && (base != 0 || extent == 0),
            1..=3 => aspect <= 2 && extent == 0,
            4 => aspect <= 2 && extent == 0 && base == 0,
            _ => false,
        };
        known.then_some(Key { base, tail })
    }
}

/// The marks that `len` bytes from `offset` need: extents, or the whole content when there are many.
pub fn extents(object: ObjectId, offset: u64, len: u64) -> impl Iterator<Item = Key> {
    let size = limits::JOURNAL_EXTENT;
    let first = offset / size;
    let last = offset.saturating_add(len.saturating_sub(1)) / size;
    let count = if len == 0 { 0 } else { last - first + 1 };
    let whole = count > limits::JOURNAL_EXTENTS_PER_MARK;
    (0..if whole { 1 } else { count }).map(
        move |i| {
            if whole { Key::object(Aspect::Content, object) } else { Key::extent(object, first + i) }
        },
    )
}
