//! A primary with its replication.

use super::options::{MountOptions, Outcome};
use super::private::PrivateTree;
use super::stop::Stop;
use crate::report::Reporter;

pub(super) fn run(options: &MountOptions, _tree: &PrivateTree, _stop: &Stop, _report: Reporter) -> Outcome {
    Err(super::mount::failed(&options.dir, "not yet"))
}
