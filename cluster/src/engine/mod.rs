//! Engines as the daemon sees them: processes of their own, which live on when the daemon ends and are found again.
//!
//! ```text
//! daemon ── spec.rs ──► run.rs (in the engine's process) ──► fsrepl::node
//!        ── process.rs: start, find, end
//!        ◄─ view.rs: what an engine says of itself, by long polls on its control socket
//! group.rs, together.rs: the engines of a module's directories as one     pace.rs: what these engines tell each other
//! ```

mod decide;
mod dial;
mod group;
mod pace;
mod process;
mod run;
mod spec;
mod together;
mod view;

pub use decide::{ClusterDecides, HELD};
pub use dial::Networks;
pub use group::Group;
pub use process::{Ended, Engine, Home, News};
pub use run::{ring, run};
pub use spec::{BeginSpec, EngineSpec, QuorumSpec, RoleSpec, SCHEMA as SPEC_SCHEMA};
pub use together::sum_of_resyncs;
pub use view::{Holding, View};

use fsrepl::report::Failure;
use serde_json::{Value, json};
use std::path::Path;
use std::time::Duration;

/// An engine answers from memory, or after one write to its disk.
const ANSWER: Duration = Duration::from_secs(25);

/// Asks the engine of `module`.
pub fn call(run: &Path, module: &str, verb: &str, args: &Value) -> Result<Value, Failure> {
    fsrepl::node::control::call(run, module, verb, args, ANSWER)
}

/// Lets the engine record a change of its replica; on disk when this returns.
pub fn record(run: &Path, module: &str, change: &fsrepl::node::change::Change) -> Result<(), Failure> {
    call(run, module, "record", &json!({ "change": change })).map(drop)
}
