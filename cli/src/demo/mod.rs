//! `understudy demo`.
use crate::args::{DemoArgs, DemoPart};
use fsrepl::node::options::Outcome;
pub fn run(_args: &DemoArgs) -> Outcome { Ok(()) }
pub fn part(_part: &DemoPart) -> Outcome { Ok(()) }
