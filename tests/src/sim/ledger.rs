//! The judge: knows what was acknowledged, which disks physically hold it, and what may be missing. It looks at the data
//! and at power, never at what the code under test believes.
//!
//! A copy of an operation counts while its node is the one that went on, or got in sync with that one. A power cut takes
//! everything that was not fsynced from what counts, whether it survived by luck or not; a disk that is put back takes
//! what was not on it then. Once no copy counts, the operation may be missing.

use super::host::{Data, Ops};

/// What was broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Rule {
    /// An acknowledged operation is not in the winning history.
    Lost,
    /// Two nodes acknowledge in histories that part.
    TwoHistories,
    /// A node began to serve without what was acknowledged.
    Stale,
    /// A node began to serve half a copy.
    HalfCopy,
    /// Changes that lost were not kept aside.
    NotKept,
    /// In sync, and not equal.
    NotEqual,
    /// It did not become ready.
    NotReady,
    /// It waits for an operator without need.
    NeedlessOperator,
}

/// What is known of everything that was acknowledged.
#[derive(Clone, Debug, Default)]
pub(super) struct Ledger {
    pub acknowledged: Ops,
    pub fsynced: Ops,
    /// May be missing: destroyed, or an operator accepted it, or resolved by rule and kept.
    pub excused: Ops,
    /// Lost by rule and kept in a tree aside.
    pub kept: Ops,
    /// Copies that count, per node.
    good: [Ops; 2],
    counted: [bool; 2],
    /// Applied, and no power cut since, per node.
    solid: [Ops; 2],
    /// An operator went on without this node.
    abandoned: [bool; 2],
    /// The copy is being overwritten.
    pub torn: [bool; 2],
}

impl Ledger {
    /// What has to be in any history that is acknowledged in.
    pub fn required(&self) -> Ops {
        self.acknowledged & !self.excused
    }

    /// A node has this operation now.
    pub fn applied(&mut self, node: usize, op: u32) {
        self.solid[node] |= 1 << op;
    }

    /// The application was told that `op` is done. `parted`: nothing prevents two histories, and the nodes do not hear
    /// each other.
    pub fn acknowledge(&mut self, node: usize, op: u32, fsynced: bool, data: [Data; 2], parted: bool) -> Option<(Rule, Ops)> {
        let bit: Ops = 1 << op;
        self.acknowledged |= bit;
        if fsynced {
            self.fsynced |= bit;
        }
        if self.abandoned[node] {
            self.excused |= bit;
            return None;
        }
        for (at, data) in data.iter().enumerate() {
            if self.counted[at] || at == node {
                let there = if fsynced { data.stable } else { data.has & self.solid[at] };
                self.good[at] |= bit & there;
            }
        }
        let missing = self.required() & !data[node].has;
        // A late reply to what the other node had before it went on is true.
        let there = data[1 - node].has & bit != 0;
        (missing != 0 && !there && !parted).then_some((Rule::TwoHistories, missing))
    }

    /// The node goes on alone from here: only its copies count.
    pub fn begins(&mut self, node: usize, has: Ops, parted: bool) -> Option<(Rule, Ops)> {
        let missing = self.required() & !has;
        let torn = self.torn[node];
        self.counted = [false; 2];
        self.counted[node] = true;
        // Where histories may part, what only the other one has still counts.
        self.good[1 - node] &= if parted { missing } else { 0 };
        self.good[node] = has & self.acknowledged;
        self.torn[node] = false;
        if self.abandoned[node] {
            return None;
        }
        if torn {
            return Some((Rule::HalfCopy, missing));
        }
        (missing != 0 && !parted).then_some((Rule::Stale, missing))
    }

    /// The operator goes on with what this node has.
    pub fn accepted(&mut self, node: usize, has: Ops) {
        self.excused |= self.acknowledged & !has;
        self.abandoned = [false; 2];
        self.abandoned[1 - node] = true;
        self.torn[node] = false;
    }

    /// The node's disk was put back in time, and nobody could tell it so.
    pub fn unnoticed(&mut self, node: usize, has: Ops) {
        self.accepted(node, has);
    }

    /// A copy is being overwritten by the other node's. `keeps`: what only it has is put aside.
    pub fn overwritten(&mut self, node: usize, old: Ops, new: Ops, keeps: bool) -> Option<(Rule, Ops)> {
        self.counted[node] = false;
        self.good[node] = 0;
        self.torn[node] = true;
        let gone = self.required() & old & !new;
        if keeps {
            self.kept |= gone;
            self.excused |= gone;
            return None;
        }
        (gone != 0).then_some((Rule::NotKept, gone))
    }

    /// It has everything of the other node, and that is still there.
    pub fn in_sync(&mut self, node: usize, data: [Data; 2]) -> Option<(Rule, Ops)> {
        self.counted[node] = true;
        self.torn[node] = false;
        self.abandoned[node] = false;
        self.solid[node] = data[node].has;
        self.good[node] = data[node].has & self.acknowledged;
        let missing = self.required() & !data[node].has;
        (missing != 0).then_some((Rule::NotEqual, missing))
    }

    /// The power went: only what was fsynced still counts, and only if it is there.
    pub fn power_cut(&mut self, node: usize, left: Ops) {
        self.good[node] &= self.fsynced & left;
        self.solid[node] = 0;
        self.destroyed();
    }

    /// The disk was put back.
    pub fn put_back(&mut self, node: usize, left: Ops) {
        self.good[node] &= left;
        self.destroyed();
    }

    fn destroyed(&mut self) {
        self.excused |= self.acknowledged & !(self.good[0] | self.good[1]);
    }
}

/// Each rule has something that it must find.
#[cfg(test)]
mod controls {
    use super::*;

    fn data(first: Ops, second: Ops) -> [Data; 2] {
        [Data { has: first, stable: first }, Data { has: second, stable: second }]
    }

    /// Node 0 leads, node 1 is in sync, operation 0 is on both.
    fn pair() -> Ledger {
        let mut ledger = Ledger::default();
        assert_eq!(ledger.begins(0, 0, false), None);
        assert_eq!(ledger.in_sync(1, data(0, 0)), None);
        for node in 0..2 {
            ledger.applied(node, 0);
        }
        assert_eq!(ledger.acknowledge(0, 0, false, data(1, 1), false), None);
        ledger
    }

    #[test]
    fn starting_without_what_was_acknowledged_is_found() {
        assert_eq!(pair().begins(1, 0, false), Some((Rule::Stale, 1)));
        assert_eq!(pair().begins(1, 1, false), None);
    }

    #[test]
    fn half_a_copy_that_serves_is_found() {
        let mut ledger = pair();
        assert_eq!(ledger.overwritten(1, 1, 1, false), None);
        assert_eq!(ledger.begins(1, 1, false), Some((Rule::HalfCopy, 0)));
    }

    #[test]
    fn histories_that_part_are_found() {
        let mut ledger = pair();
        assert_eq!(ledger.begins(1, 1, false), None);
        assert_eq!(ledger.acknowledge(1, 1, false, data(1, 3), false), None);
        assert_eq!(ledger.acknowledge(0, 2, false, data(5, 3), false), Some((Rule::TwoHistories, 2)));
    }

    #[test]
    fn what_is_thrown_away_is_found_unless_it_is_kept() {
        assert_eq!(pair().overwritten(1, 1, 0, false), Some((Rule::NotKept, 1)));
        let mut ledger = pair();
        assert_eq!(ledger.overwritten(1, 1, 0, true), None);
        assert_eq!((ledger.kept, ledger.required()), (1, 0));
    }

    #[test]
    fn a_pair_in_sync_that_lacks_something_is_found() {
        assert_eq!(pair().in_sync(1, data(1, 0)), Some((Rule::NotEqual, 1)));
    }

    #[test]
    fn one_power_cut_excuses_nothing_and_two_excuse_what_was_not_fsynced() {
        let mut ledger = pair();
        assert_eq!(ledger.acknowledge(0, 1, true, data(3, 3), false), None);
        ledger.power_cut(0, 2);
        assert_eq!(ledger.required(), 3);
        ledger.power_cut(1, 2);
        assert_eq!(ledger.required(), 2, "what was fsynced is never excused");
        ledger.put_back(0, 0);
        assert_eq!(ledger.required(), 2, "the other one has it");
        ledger.put_back(1, 0);
        assert_eq!(ledger.required(), 0);
    }

    #[test]
    fn an_operators_word_excuses_what_the_other_node_has() {
        let mut ledger = pair();
        ledger.accepted(1, 0);
        assert_eq!((ledger.required(), ledger.begins(1, 0, false)), (0, None));
    }
}
