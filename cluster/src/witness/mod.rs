//! The witness as a process: it remembers for many clusters who was granted what ([`crate::quorum::witness`] decides), and answers after
//! its disk has it. A key authorises voting for its own cluster and nothing else.

mod client;
mod keys;
mod protocol;
mod record;
mod server;
#[cfg(test)]
mod tests;

pub use client::WitnessClient;
pub use server::Server;
