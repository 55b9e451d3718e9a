//! What the primary still owes: objects that this session had to make anew or cannot vouch for, until their names
//! or content have been sent.

use crate::id::ObjectId;
use crate::limits::RESYNC_MADE;
use crate::op::Made;
use crate::resync::ids::IdSet;

/// The account. Filled by the thread that applies, read by the one that answers questions.
#[derive(Debug, Default)]
pub struct Owed {
    /// Made by this session, and nothing sent since.
    empty: IdSet,
    /// Found under the right name, or an operation on it could not be applied: anything may be in it, or it is not here.
    doubtful: IdSet,
    /// Of both, what the primary has not been told.
    untold: IdSet,
}

impl Owed {
    /// The object was made: it is empty.
    pub fn made(&mut self, id: ObjectId) {
        self.empty.insert(id);
        self.untold.insert(id);
    }

    /// Nobody knows what is in the object.
    pub fn doubt(&mut self, id: ObjectId) {
        self.empty.remove(id);
        self.doubtful.insert(id);
        self.untold.insert(id);
    }

    /// Its names, or content and attributes, have been sent, or it is gone.
    pub fn settle(&mut self, id: ObjectId) {
        self.empty.remove(id);
        self.doubtful.remove(id);
        self.untold.remove(id);
    }

    /// What the primary has to be told; called again while the answer is full.
    pub fn tell(&mut self) -> Vec<Made> {
        let mut told = Vec::new();
        for (first, last) in self.untold.take_runs(RESYNC_MADE / 2) {
            for id in (first.0..=last.0).map(ObjectId) {
                let empty = self.empty.contains(id);
                match told.last_mut() {
                    Some(Made { last, empty: before, .. }) if last.0 + 1 == id.0 && *before == empty => *last = id,
                    _ => told.push(Made { first: id, last: id, empty }),
                }
            }
        }
        told
    }

    /// Everything that is owed.
    pub fn left(&self) -> Vec<ObjectId> {
        let mut left = self.empty.sorted();
        left.extend(self.doubtful.sorted());
        left
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_object_is_told_once_and_owed_until_it_is_settled() {
        let mut owed = Owed::default();
        (1..=5).for_each(|id| owed.made(ObjectId(id)));
        owed.doubt(ObjectId(3));
        let made = |first, last, empty| Made { first: ObjectId(first), last: ObjectId(last), empty };
        assert_eq!(owed.tell(), [made(1, 2, true), made(3, 3, false), made(4, 5, true)]);
        assert!(owed.tell().is_empty());
        (1..=4).for_each(|id| owed.settle(ObjectId(id)));
        assert_eq!(owed.left(), [ObjectId(5)]);
    }
}
