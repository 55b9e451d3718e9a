//! A replica on a node: starting, guarding, reporting, ending.

mod answers;
mod connect;
pub mod control;
pub mod cover;
mod estimate;
pub mod faults;
mod follow;
pub mod holders;
pub mod identity;
pub mod mount;
pub mod mounts;
pub mod options;
mod primary;
pub mod private;
pub mod privilege;
pub mod receive;
pub mod registry;
mod socket_name;
pub mod stale;
mod status;
pub mod stop;
mod supervise;
pub mod underneath;
pub mod verdict;
mod verify;
