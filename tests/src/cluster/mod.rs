//! Two nodes of a cluster with their daemons, a hub that carries the network, the witness and the clients.
//!
//! ```text
//! site.rs     the hosts, the networks, what cuts them       till.rs     the application: keeps a ledger, over TCP
//! node.rs     one node: daemon, processes, power            client.rs   its clients, which note what they were told
//! control.rs  asks a daemon                                 holder.rs   judges who has the virtual address
//! ```

pub mod client;
mod control;
pub mod holder;
mod many;
pub mod node;
pub mod setup;
pub mod site;
pub mod till;

pub use client::Clients;
pub use holder::Watch;
pub use node::Node;
pub use setup::Setup;
pub use site::{SOON, Site};

/// The module of the scenarios.
pub const MODULE: &str = "ledger";
/// The name of its second directory, where it has one.
pub const SECOND: &str = "second";
/// Where its application listens.
pub const PORT: u16 = 7001;
