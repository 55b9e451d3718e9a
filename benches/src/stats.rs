//! Readings, the ratios between columns, and the aims they are held against.
//!
//! A machine with two noisy cores has no stable absolute figures, but two columns measured seconds apart in the same
//! round share most of the noise. So a ratio is taken in every round, and the median of those is what counts.

use crate::columns::Column;
use crate::options::Regime;
use std::collections::BTreeMap;

/// What one column gave in one round, by the metric's name.
pub type Readings = BTreeMap<&'static str, f64>;

/// What all columns gave in one round.
pub type Round = BTreeMap<Column, Readings>;

/// One figure that a bench reports.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    /// Its name in the table and in JSON.
    pub name: &'static str,
    /// Unit of the reading.
    pub unit: &'static str,
}

/// What the ratio must be.
#[derive(Clone, Copy, Debug)]
pub enum Bound {
    /// Times, sizes: less is better.
    AtMost(f64),
    /// Rates: more is better.
    AtLeast(f64),
}

impl Bound {
    /// Whether `value` is within the bound.
    pub fn holds(self, value: f64) -> bool {
        match self {
            Bound::AtMost(limit) => value <= limit,
            Bound::AtLeast(limit) => value >= limit,
        }
    }
}

/// What a column is compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reference {
    /// Another column of the same round.
    To(Column),
    /// Nothing: the reading itself is bounded.
    Itself,
}

/// One line of the table of aims.
#[derive(Clone, Copy, Debug)]
pub struct Aim {
    /// Which figure.
    pub metric: &'static str,
    /// Of which column.
    pub column: Column,
    /// Divided by which.
    pub reference: Reference,
    /// Must be what.
    pub bound: Bound,
    /// In which regimes; empty means all.
    pub regimes: &'static [Regime],
    /// Of the 95th percentile of the rounds, not of their median.
    pub tail: bool,
}

impl Aim {
    /// An aim for our column that holds in every regime.
    pub const fn ours(metric: &'static str, reference: Reference, bound: Bound) -> Aim {
        Aim { metric, column: Column::Ours, reference, bound, regimes: &[], tail: false }
    }

    /// The same for the 95th percentile of our reading.
    pub const fn tail(metric: &'static str, bound: Bound) -> Aim {
        Aim { tail: true, ..Aim::ours(metric, Reference::Itself, bound) }
    }

    /// What of the rounds is held against it.
    pub fn of(&self, summary: Summary) -> f64 {
        if self.tail { summary.p95.unwrap_or(summary.max) } else { summary.median }
    }

    /// Whether the aim speaks about `regime`.
    pub fn applies(&self, regime: Regime) -> bool {
        self.regimes.is_empty() || self.regimes.contains(&regime)
    }
}

/// Of fewer rounds the 95th percentile is just the largest.
const TAIL_FROM: usize = 20;

/// Median and range of one series.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Summary {
    /// The middle one, or the mean of the middle two.
    pub median: f64,
    /// Smallest.
    pub min: f64,
    /// Largest.
    pub max: f64,
    /// Not exceeded by 95 of 100; there from 20 rounds on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p95: Option<f64>,
}

impl Summary {
    /// `None` when there is nothing to summarise.
    pub fn of(values: &[f64]) -> Option<Summary> {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let (min, max) = (*sorted.first()?, *sorted.last()?);
        let mid = sorted.len() / 2;
        let median = if sorted.len() % 2 == 1 { sorted[mid] } else { (sorted[mid - 1] + sorted[mid]) / 2.0 };
        let rank = (sorted.len() * 95).div_ceil(100);
        let p95 = (sorted.len() >= TAIL_FROM).then(|| sorted[rank - 1]);
        Some(Summary { median, min, max, p95 })
    }
}

/// All rounds of one bench.
#[derive(Clone, Debug, Default)]
pub struct Series {
    rounds: Vec<Round>,
}

impl Series {
    /// Rounds so far.
    pub fn len(&self) -> usize {
        self.rounds.len()
    }

    /// Adds a finished round.
    pub fn push(&mut self, round: Round) {
        self.rounds.push(round);
    }

    /// The readings of one figure in one column, round by round; rounds without it are left out.
    pub fn values(&self, column: Column, metric: &str) -> Vec<f64> {
        self.rounds.iter().filter_map(|round| reading(round, column, metric)).collect()
    }

    /// Per-round ratios of `column` to `reference`.
    pub fn ratios(&self, metric: &str, column: Column, reference: Reference) -> Vec<f64> {
        let ratio = |round| {
            let value = reading(round, column, metric)?;
            match reference {
                Reference::Itself => Some(value),
                Reference::To(other) => {
                    let base = reading(round, other, metric)?;
                    (base > 0.0).then_some(value / base)
                }
            }
        };
        self.rounds.iter().filter_map(ratio).collect()
    }
}

fn reading(round: &Round, column: Column, metric: &str) -> Option<f64> {
    round.get(&column)?.get(metric).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round(plain: f64, ours: f64) -> Round {
        Round::from([(Column::Plain, Readings::from([("rate", plain)])), (Column::Ours, Readings::from([("rate", ours)]))])
    }

    #[test]
    fn the_ratio_is_taken_in_each_round_before_the_median() {
        let mut series = Series::default();
        for (plain, ours) in [(100.0, 50.0), (10.0, 6.0), (1000.0, 400.0)] {
            series.push(round(plain, ours));
        }
        let ratios = series.ratios("rate", Column::Ours, Reference::To(Column::Plain));
        assert_eq!(Summary::of(&ratios), Some(Summary { median: 0.5, min: 0.4, max: 0.6, p95: None }));
    }

    #[test]
    fn a_round_without_the_reference_gives_no_ratio() {
        let mut series = Series::default();
        series.push(round(0.0, 5.0));
        assert!(series.ratios("rate", Column::Ours, Reference::To(Column::Plain)).is_empty());
        assert!(series.ratios("rate", Column::Ours, Reference::To(Column::Fuse)).is_empty());
        assert_eq!(series.ratios("rate", Column::Ours, Reference::Itself), [5.0]);
    }

    #[test]
    fn the_median_of_an_even_number_lies_between() {
        assert_eq!(Summary::of(&[4.0, 1.0, 2.0, 3.0]).map(|s| s.median), Some(2.5));
        assert_eq!(Summary::of(&[]), None);
    }

    #[test]
    fn the_tail_is_what_95_of_100_do_not_exceed() {
        let rounds = |n: u32| Summary::of(&(1..=n).map(f64::from).collect::<Vec<_>>()).and_then(|s| s.p95);
        assert_eq!((rounds(19), rounds(20), rounds(50), rounds(100)), (None, Some(19.0), Some(48.0), Some(95.0)));
    }

    #[test]
    fn bounds_include_their_limit() {
        assert!(Bound::AtMost(1.25).holds(1.25) && !Bound::AtMost(1.25).holds(1.26));
        assert!(Bound::AtLeast(0.45).holds(0.45) && !Bound::AtLeast(0.45).holds(0.44));
    }
}
