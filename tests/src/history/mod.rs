//! Random histories of a pair: changes, faults, restarts and changes of role in an order that chance decides, each
//! ending in sync and equal. One seed is one history.
//!
//! What has to be there afterwards is known twice: `tree` compares both nodes, and [`app`] compares with a plain
//! directory to which everything acknowledged was done as well, or, where power cuts took what was not flushed,
//! with what was flushed.

mod app;
mod node;
mod plot;

pub use node::{Held, Node};
pub use plot::History;

use crate::rng;
use std::time::Duration;

/// What may happen in a history.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    /// Power cuts that lose what was not flushed.
    pub power: bool,
    /// Engines that die at named points.
    pub points: bool,
    /// Both sides go on alone, and one gives up its changes.
    pub split: bool,
}

/// How many histories one test plays: `UNDERSTUDY_SOAK=N` plays N times as many.
pub fn count(usual: u64) -> u64 {
    usual * std::env::var("UNDERSTUDY_SOAK").ok().and_then(|n| n.parse().ok()).unwrap_or(1)
}

/// Time for `count` histories.
pub fn limit(count: u64) -> Duration {
    Duration::from_secs(60 + 60 * count)
}

/// The seeds of `count` histories; the first is the one to repeat when only it is wanted.
pub fn seeds(what: &str, count: u64) -> impl Iterator<Item = u64> {
    let first = rng::seed(what);
    (0..count).map(move |n| first.wrapping_add(n))
}
