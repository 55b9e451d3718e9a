//! The secondary.

use super::options::{Outcome, ReceiveOptions};
use crate::report::Reporter;

/// Runs a secondary until it is told to end.
pub fn run(options: ReceiveOptions, _report: Reporter) -> Outcome {
    Err(super::mount::failed(&options.dir, "not yet"))
}
