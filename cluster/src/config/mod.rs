//! What an administrator writes: `cluster.toml`, and `modules/NAME/module.toml` with the module's scripts beside it.
//!
//! These are the values after validation: every reference is resolved, every default is filled in, and what is here
//! can be used without looking again.

mod cluster;
mod module;

pub use cluster::{Cluster, Fence, Http, Network, Node, Notify, Ports, Quorum, Tls};
pub use module::{
    Affinity, Application, Balance, Boot, Check, CheckKind, Farm, Launch, LostAddress, Module, ModuleKind, OnFailure, Protocol, Replicate,
    Timing, VirtualIp,
};
