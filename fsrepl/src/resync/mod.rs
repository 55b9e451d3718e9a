//! Bringing a secondary up to date while the application writes: names first ([`names`]), then content by
//! object ([`content`]); [`target`] is the secondary's side of names, [`digest`] of content. [`Plan`] says what
//! may differ, [`Scope`] answers live operations that ask for it.
//!
//! Everything that changes the secondary's tree travels in the ordered stream, under the lock of the object
//! it concerns. So there is one order, and live operations and the resync never overtake each other; what
//! the secondary does not know yet is not sent, because the resync will read it later, under the same lock.

mod content;
pub mod digest;
pub(crate) mod ids;
mod made;
mod names;
mod plan;
mod progress;
mod round;
mod scope;
mod source;
pub mod target;
#[cfg(test)]
pub(crate) mod tests;

pub use plan::Plan;
pub use progress::{Doing, Progress, Watch};
pub use scope::Scope;
pub use source::{Ask, Broken, Stream, Sync};
