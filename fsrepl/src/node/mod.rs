//! A replica on a node: starting, guarding, reporting, ending.

pub mod cover;
pub mod holders;
pub mod mounts;
pub mod options;
pub mod private;
pub mod stale;
