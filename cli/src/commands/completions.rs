//! `understudy completions`.

use crate::args::{Cli, CompletionsArgs};
use crate::output;
use clap::CommandFactory;
use fsrepl::node::options::Outcome;

pub fn run(args: &CompletionsArgs) -> Outcome {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "understudy", &mut script);
    output::text(&String::from_utf8_lossy(&script));
    Ok(())
}
