//! The steps of the story, a file each.

mod comeback;
mod compare;
mod cut;
mod loss;
mod start;
mod swap;
mod work;

pub use comeback::comeback;
pub use compare::compare;
pub use cut::cut;
pub use loss::loss;
pub use start::{hosts, start, tree};
pub use swap::swap;
pub use work::{Work, live, plain};

use std::time::Duration;

/// Longest that a step waits for what has to happen.
const PATIENCE: Duration = Duration::from_secs(180);
/// For the first copy of everything.
const COPY: Duration = Duration::from_secs(1800);
