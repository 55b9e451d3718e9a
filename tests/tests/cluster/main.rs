//! Clusters: each file is one thing that goes wrong, or one thing that must work, with two nodes and their daemons on real
//! hosts. `tests/README.md` says how to run one and read a failure.

mod application_killed;
mod both_power_cut;
mod check_fails;
mod daemon_killed;
mod databases;
mod engine_killed;
mod farm;
mod first_start;
mod holder;
mod host_gone;
mod isolated;
mod link_cut;
mod many_modules;
mod one_network_cut;
mod paused;
mod put_back;
mod scripted_address;
mod secondary_killed;
mod several_directories;
mod stories;
mod swap;
mod swapped_often;
mod witness_away;

use std::time::Duration;

/// The deadline of a scenario without a reason of its own.
const LIMIT: Duration = Duration::from_secs(150);
/// How long clients may take for what they are waited for.
const WORK: Duration = Duration::from_secs(40);
