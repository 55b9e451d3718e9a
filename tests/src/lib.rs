//! What the tests stand on: hosts made of namespaces, engines run on them, and checkers that
//! share no code with the product they judge.
//!
//! A scenario reads top to bottom as a story: `lab` bounds it in time and cleans up, `hosts`
//! makes machines and cuts their links, `engine` runs the binary and listens to what it says,
//! `pair` is the usual set-up of one primary and one secondary, `cluster` that of two nodes with their daemons. The judges are `tree` (are two
//! directories equal?), `ledger` (is everything acknowledged there, in order?) and `model`
//! (does the mount behave as a plain directory?).

pub mod cluster;
pub mod disk;
pub mod engine;
pub mod files;
pub mod hand;
pub mod history;
pub mod hosts;
pub mod lab;
pub mod ledger;
pub mod model;
pub mod pair;
pub mod rng;
pub mod sim;
pub mod sql;
pub mod storm;
pub mod tree;
