//! `understudy demo`.

use crate::args::{DemoArgs, DemoPart, Global};
use crate::demo;
use fsrepl::node::options::Outcome;

pub fn run(args: &DemoArgs, global: &Global) -> Outcome {
    demo::run(args, global.json)
}

/// One of the processes that the demo starts inside its hosts.
pub fn part(part: &DemoPart) -> Outcome {
    demo::part(part)
}
