//! A replica on a node: starting, guarding, reporting, ending.

pub mod control;
pub mod cover;
pub mod holders;
pub mod identity;
pub mod mounts;
pub mod options;
pub mod private;
pub mod privilege;
pub mod registry;
mod socket_name;
pub mod stale;
pub mod verdict;
