//! What an administrator writes: `cluster.toml`, and `modules/NAME/module.toml` with the module's scripts beside it.
//!
//! These are the values after validation: every reference is resolved, every default is filled in, and what is here
//! can be used without looking again.

pub mod check;
mod cluster;
pub mod compare;
pub mod limits;
pub mod load;
mod module;
mod problem;
pub mod push;
mod read;
pub mod reload;
mod system;
pub mod template;
mod words;

pub use cluster::{Cluster, Fence, Http, Network, Node, Notify, Ports, Quorum, Tls};
pub use load::{load_all, load_cluster, load_module};
pub use module::{
    AddressScript, Affinity, Application, Balance, Boot, Check, CheckKind, Farm, Launch, LostAddress, Module, ModuleKind, OnFailure,
    Protocol, Replicate, Timing, VirtualIp,
};
pub use problem::Problem;
pub use words::is_name;

#[cfg(test)]
mod tests;
