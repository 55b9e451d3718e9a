//! `understudy engine`: one module's engine, started by the daemon.

use crate::args::{EngineArgs, Global};
use crate::output;
use fsrepl::node::options::Outcome;

pub fn run(args: &EngineArgs, global: &Global) -> Outcome {
    cluster::engine::run(&args.spec, global.places(), output::reporter(true))
}
