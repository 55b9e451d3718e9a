//! Parts of a file that are saved already.

use std::collections::BTreeMap;

/// Disjoint ranges that do not touch: begin and end.
#[derive(Debug, Default)]
pub struct Ranges(BTreeMap<u64, u64>);

impl Ranges {
    /// What of this range is not in it.
    pub fn missing(&self, from: u64, to: u64) -> Vec<(u64, u64)> {
        let mut missing = Vec::new();
        let mut at = from;
        let before = self.0.range(..=from).next_back();
        for (&begin, &end) in before.into_iter().chain(self.0.range(from + 1..to.max(from + 1))) {
            if begin > at {
                missing.push((at, begin.min(to)));
            }
            at = at.max(end);
        }
        if at < to {
            missing.push((at, to));
        }
        missing
    }

    /// Adds a range.
    pub fn add(&mut self, from: u64, to: u64) {
        let (mut from, mut to) = (from, to);
        while let Some((&begin, &end)) = self.0.range(..=to).next_back().filter(|(_, end)| **end >= from) {
            self.0.remove(&begin);
            (from, to) = (from.min(begin), to.max(end));
        }
        if from < to {
            self.0.insert(from, to);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resync::tests::act::Rng;

    #[test]
    fn agrees_with_a_list_of_bytes() {
        let mut rng = Rng(7);
        for _ in 0..200 {
            let (mut ranges, mut bytes) = (Ranges::default(), [false; 64]);
            for _ in 0..20 {
                let from = rng.below(60);
                let to = from + rng.below(64 - from) + 1;
                let missing = ranges.missing(from, to);
                let listed: Vec<u64> = missing.iter().flat_map(|(from, to)| *from..*to).collect();
                let wanted: Vec<u64> = (from..to).filter(|at| !bytes[*at as usize]).collect();
                assert_eq!(listed, wanted, "{ranges:?} {from} {to}");
                if rng.one_in(2) {
                    ranges.add(from, to);
                    bytes[from as usize..to as usize].fill(true);
                }
                let runs = (0..64).filter(|at| bytes[*at] && (*at == 0 || !bytes[at - 1])).count();
                assert_eq!(ranges.0.len(), runs);
            }
        }
    }
}
