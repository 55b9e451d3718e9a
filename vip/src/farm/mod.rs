//! A farm: one service on several servers behind one address, without a load balancer. Every server has the
//! address; one answers ARP and sends each client's frames on to the server whose share the client is in; answers
//! go to the client directly. `docs/farm.md` tells it from the outside.
//!
//! Pure: [`jhash`] and [`share`] (who serves a client), [`membership`] and [`plan`] (who is there, who does what),
//! [`rules`] (the filter's text), [`beat`] (what servers tell each other). Shells: [`filter`] (nft), `host`
//! (addresses and frames). [`Farm`] puts them together.

pub mod beat;
pub mod filter;
mod host;
pub mod jhash;
pub mod limits;
mod loader;
pub mod members;
pub mod membership;
pub mod plan;
pub mod rules;
mod runtime;
mod schedule;
pub mod settings;
pub mod share;

pub use runtime::{Farm, FarmError, FarmStatus, ServerStatus, Whose};
pub use settings::{Affinity, Protocol, Rule, Server, Settings, SettingsError, VirtualAddress};
pub use share::Mode;
