//! Sets of object ids. Ids are given one after the other, so 64 neighbours share a word: a million objects of a
//! first copy take some hundred kilobytes.

use crate::id::ObjectId;
use rustc_hash::FxHashMap;

/// A set of ids.
#[derive(Clone, Debug, Default)]
pub struct IdSet {
    words: FxHashMap<u64, u64>,
}

fn place(id: ObjectId) -> (u64, u64) {
    (id.0 >> 6, 1 << (id.0 & 63))
}

impl IdSet {
    /// Adds `id`; false if it was there.
    pub fn insert(&mut self, id: ObjectId) -> bool {
        let (word, bit) = place(id);
        let word = self.words.entry(word).or_default();
        let new = *word & bit == 0;
        *word |= bit;
        new
    }

    /// Takes `id` out; false if it was not there.
    pub fn remove(&mut self, id: ObjectId) -> bool {
        let (number, bit) = place(id);
        let Some(word) = self.words.get_mut(&number) else { return false };
        let was = *word & bit != 0;
        *word &= !bit;
        if *word == 0 {
            self.words.remove(&number);
        }
        was
    }

    /// Whether `id` is in it.
    pub fn contains(&self, id: ObjectId) -> bool {
        let (word, bit) = place(id);
        self.words.get(&word).is_some_and(|word| word & bit != 0)
    }

    /// Whether nothing is in it.
    #[cfg(test)]
    pub fn is_empty(&self) -> bool {
        self.words.is_empty()
    }

    /// All ids, in order.
    pub fn sorted(&self) -> Vec<ObjectId> {
        let mut words: Vec<_> = self.words.iter().map(|(number, word)| (*number, *word)).collect();
        words.sort_unstable();
        words
            .iter()
            .flat_map(|(number, word)| (0..64).filter(move |bit| word >> bit & 1 == 1).map(move |bit| ObjectId(number << 6 | bit)))
            .collect()
    }

    /// Takes up to `most` runs of neighbouring ids out: first and last of each.
    pub fn take_runs(&mut self, most: usize) -> Vec<(ObjectId, ObjectId)> {
        let mut runs: Vec<(ObjectId, ObjectId)> = Vec::new();
        for id in self.sorted() {
            let full = runs.len() == most;
            match runs.last_mut() {
                Some((_, last)) if last.0 + 1 == id.0 => *last = id,
                _ if full => break,
                _ => runs.push((id, id)),
            }
            self.remove(id);
        }
        runs
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_taken_in_order_and_bounded() {
        let mut set = IdSet::default();
        for id in [1, 2, 3, 63, 64, 65, 900] {
            assert!(set.insert(ObjectId(id)) && !set.insert(ObjectId(id)));
        }
        assert!(set.remove(ObjectId(2)) && !set.remove(ObjectId(2)) && set.contains(ObjectId(64)));
        let runs = |runs: Vec<(ObjectId, ObjectId)>| runs.iter().map(|(first, last)| (first.0, last.0)).collect::<Vec<_>>();
        assert_eq!(runs(set.take_runs(3)), [(1, 1), (3, 3), (63, 65)]);
        assert_eq!(runs(set.take_runs(3)), [(900, 900)]);
        assert!(set.is_empty());
    }
}
