//! What one node does with one module: one table ([`table`]) of state, event and guard → next state, actions and the
//! reason in the operator's words. [`Machine`] keeps what is known, finds the row, and returns what to do; the shell does
//! it and tells what came of it.

mod action;
mod diagram;
mod event;
mod guard;
mod ladder;
mod machine;
mod phase;
mod policy;
pub mod table;
#[cfg(test)]
mod tests;
mod view;

pub use action::{Action, Timer};
pub use diagram::document;
pub use event::{Accept, Command, Event, OnFailure, Trigger};
pub use guard::Guard;
pub use ladder::Ladder;
pub use machine::{Machine, Step};
pub use phase::{Phase, Readiness, State};
pub use policy::Policy;
pub use table::Row;
pub use view::{Facts, View};
