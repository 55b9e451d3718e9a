//! `understudy demo`.

use crate::args::{DemoArgs, DemoPart, Global};
use crate::demo;
use fsrepl::node::options::Outcome;

pub fn run(args: &DemoArgs, _global: &Global) -> Outcome {
    demo::run(args)
}

/// One of the processes that the demo starts inside its hosts.
pub fn part(part: &DemoPart) -> Outcome {
    demo::part(part)
}
