//! Whether the other node is heard. Beats go out on every network at every pulse; one heard on any network is enough.
//!
//! Silence is counted in time during which *we* listened: a tick that comes late adds no more than two pulses, so our own
//! pause neither declares the peer lost nor hides that it was.

mod beat;
mod damper;
mod link;
mod peer;
mod profile;
#[cfg(test)]
mod tests;

pub use beat::{Beat, Heard, Malformed};
pub use damper::Damper;
pub use link::{Link, LinkState, Receipt};
pub use peer::{Change, Peer, Presence, Stall};
pub use profile::Profile;
