//! A cluster in virtual time: the pure decisions of `cluster` between modelled engines, disks, networks and clocks, with
//! everything that goes wrong chosen by a seed. What is modelled and what is not: `docs/simulation.md`.
//!
//! - [`Plan`]: what goes wrong and when; [`Simulator`]: plays it and judges;
//! - `world`, `queue`: virtual time; `net`, `host`, `third`: machines and links;
//! - `daemon`: the shell around the cores; `engine`: the modelled engine; `app`: the application;
//! - `ledger`, `operator`: the judges; [`bad`]: what they must catch.

mod app;
pub mod bad;
mod daemon;
mod engine;
mod faults;
mod host;
mod ledger;
mod log;
mod net;
mod operator;
mod plan;
mod play;
mod queue;
mod story;
mod third;
mod world;

pub use bad::Bad;
pub use ledger::Rule;
pub use log::Tell;
pub use plan::{Fault, Plan};
pub use play::{Outcome, Simulator};
pub use queue::{Ms, Proc};
pub use story::Story;
pub use world::Failure;
