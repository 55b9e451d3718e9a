//! The scripts of the ready modules, run against the real applications where Debian has them, and against stand-ins of
//! their commands where it does not. What is started is looked for in the host afterwards, not in what scripts say.

#![allow(clippy::unwrap_used)] // a panic is how a test fails

mod containers;
mod firebird;
mod generic;
mod machines;
mod mariadb;
mod postgresql;
mod rig;
mod stand_ins;
mod web;

use std::time::Duration;

/// The deadline of one test.
const LIMIT: Duration = Duration::from_secs(180);
/// How long something that was asked for may take.
const PATIENCE: Duration = Duration::from_secs(60);
