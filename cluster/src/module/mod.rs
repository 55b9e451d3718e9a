//! What a daemon runs for one module: plain threads and processes, no decisions. Decisions are the failover machine's
//! ([`crate::failover`]), which is told what happened here and says what to do.
//!
//! - [`application`]: starts, watches, stops and kills what the module runs;
//! - [`checks`]: looks at it while it runs;
//! - [`events`]: the module's log;
//! - [`notify`]: tells a command and a webhook.
//!
//! Nothing here blocks its caller for longer than a lock, and everything is bounded ([`limits`]).

pub mod application;
pub mod checks;
pub mod environment;
pub mod events;
pub mod limits;
pub mod notify;
pub mod output;
pub mod process;
pub mod systemd;
mod told;
