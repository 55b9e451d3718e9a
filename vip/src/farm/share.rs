//! Who serves which bucket: pure, the same on every node.
//!
//! Every bucket has an order of preference over all servers of the farm; it is served by the first of them that
//! serves. So a death moves the dead server's buckets and no others, and its return moves the same ones back
//! (this is rendezvous hashing with a table instead of chance). The table is made by cutting: the buckets are cut
//! among all servers in proportion to their weights, each piece among the others for the case that its first
//! server does not serve, and so on. Shares are therefore even for any set of servers, and the pieces are long.

use super::limits::BUCKETS;
use super::members::{Member, Members};

/// How traffic is distributed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// In proportion to weights.
    Spread,
    /// The highest priority that serves gets everything.
    Chain,
}

/// The table of preferences.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shares {
    mode: Mode,
    /// Weight (spread) or priority (chain) of each server.
    values: Vec<u32>,
}

impl Shares {
    /// `values` are weights (0: never serves) in [`Mode::Spread`], priorities in [`Mode::Chain`].
    pub fn new(mode: Mode, values: Vec<u32>) -> Shares {
        Shares { mode, values }
    }

    /// The server of every bucket when `serving` serve.
    pub fn owners(&self, serving: Members) -> Vec<Option<Member>> {
        let mut owners = vec![None; BUCKETS as usize];
        match self.mode {
            Mode::Chain => owners.fill(self.highest(serving)),
            Mode::Spread => {
                let members: Vec<Member> = (0..self.values.len() as Member).filter(|m| self.values[usize::from(*m)] > 0).collect();
                if members.iter().any(|member| serving.has(*member)) {
                    self.cut(&mut owners, 0, &members, serving);
                }
            }
        }
        owners
    }

    /// Among equals the lowest number.
    fn highest(&self, serving: Members) -> Option<Member> {
        let known = serving.iter().filter(|member| usize::from(*member) < self.values.len());
        known.max_by_key(|member| (self.values[usize::from(*member)], std::cmp::Reverse(*member)))
    }

    /// Cuts `piece`, which begins at bucket `from`, among `members`; at least one of them serves.
    fn cut(&self, piece: &mut [Option<Member>], from: u32, members: &[Member], serving: Members) {
        let weight = |member: Member| u64::from(self.values[usize::from(member)]);
        let total: u64 = members.iter().map(|member| weight(*member)).sum();
        let length = piece.len() as u64;
        let chance = scramble(u64::from(from) << 40 | length << 8 | members.len() as u64);
        // Who comes first and which way fractions are rounded is left to chance, or the first would always gain.
        let first = (chance % members.len() as u64) as usize;
        let fraction = (chance >> 20) % total;
        let (mut so_far, mut at) = (0, 0);
        for turn in 0..members.len() {
            let member = members[(first + turn) % members.len()];
            so_far += weight(member);
            let to = if so_far == total { length } else { (length * so_far + fraction) / total };
            if to > at {
                let part = &mut piece[at as usize..to as usize];
                if serving.has(member) {
                    part.fill(Some(member));
                } else {
                    let others: Vec<Member> = members.iter().copied().filter(|other| *other != member).collect();
                    self.cut(part, from + at as u32, &others, serving);
                }
            }
            at = to;
        }
    }
}

/// A fixed mixing of bits (the finalizer of splitmix64): every node must come to the same table.
pub(super) fn scramble(value: u64) -> u64 {
    let mut x = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn spread(weights: &[u32]) -> Shares {
        Shares::new(Mode::Spread, weights.to_vec())
    }

    fn count(owners: &[Option<Member>], member: Member) -> usize {
        owners.iter().filter(|owner| **owner == Some(member)).count()
    }

    /// The largest distance of a share from what is due to it, as a part of that.
    fn distance(weights: &[u32], serving: Members) -> f64 {
        let owners = spread(weights).owners(serving);
        let total: u32 = serving.iter().map(|m| weights[usize::from(m)]).sum();
        let due = |m: Member| f64::from(BUCKETS) * f64::from(weights[usize::from(m)]) / f64::from(total);
        serving.iter().filter(|m| due(*m) > 0.0).map(|m| (count(&owners, m) as f64 / due(m) - 1.0).abs()).fold(0.0, f64::max)
    }

    #[test]
    fn equal_servers_are_within_a_twentieth_of_even() {
        for servers in 2..=32 {
            let weights = vec![1; servers];
            let all = Members::first(servers);
            assert!(distance(&weights, all) < 0.005, "{servers} servers");
            let one_less = all.without((servers / 2) as Member);
            assert!(distance(&weights, one_less) < 0.01, "{servers} servers, one dead");
        }
    }

    /// The same bytes on every machine and in every version: servers of one farm must agree.
    #[test]
    fn the_table_is_what_it_was() {
        let owners = spread(&[1, 2, 3, 0, 5]).owners(Members::first(5).without(2));
        let sum = owners.iter().fold(0_u64, |sum, owner| scramble(sum ^ u64::from(owner.expect("somebody serves"))));
        assert_eq!(sum, TABLE, "got {sum:#x}");
    }

    const TABLE: u64 = 0x2d97_764d_f995_ff18;

    #[test]
    fn a_chain_serves_from_its_highest() {
        let chain = Shares::new(Mode::Chain, vec![5, 9, 9]);
        let first = |serving: &[Member]| chain.owners(serving.iter().copied().collect())[17];
        assert_eq!(first(&[0, 1, 2]), Some(1));
        assert_eq!(first(&[0, 2]), Some(2));
        assert_eq!(first(&[0]), Some(0));
        assert_eq!(first(&[]), None);
    }

    #[test]
    fn nobody_serves_what_nobody_can() {
        assert!(spread(&[0, 0]).owners(Members::first(2)).iter().all(Option::is_none));
        assert!(spread(&[1, 0]).owners(Members::NONE.with(1)).iter().all(Option::is_none));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(60))]

        #[test]
        fn a_death_moves_the_deads_share_only(
            weights in prop::collection::vec(0_u32..=100, 2..=32), alive in any::<u32>(), dead in 0_u8..32,
        ) {
            let serving: Members = (0..weights.len() as Member).filter(|m| alive & (1 << m) != 0).collect();
            let before = spread(&weights).owners(serving);
            let after = spread(&weights).owners(serving.without(dead));
            for (old, new) in before.iter().zip(&after) {
                prop_assert!(*old == Some(dead) || old == new);
            }
        }

        #[test]
        fn any_set_of_equal_servers_is_even(servers in 2_usize..=32, alive in any::<u32>()) {
            let serving: Members = (0..servers as Member).filter(|m| alive & (1 << m) != 0).collect();
            prop_assume!(!serving.is_empty());
            prop_assert!(distance(&vec![1; servers], serving) < 0.05, "{:?}", serving);
        }

        #[test]
        fn shares_follow_weights(weights in prop::collection::vec(10_u32..=100, 2..=8)) {
            let all = Members::first(weights.len());
            prop_assert!(distance(&weights, all) < 0.02);
            prop_assert!(distance(&weights, all.without(1)) < 0.02);
        }
    }
}
