//! One file per command.

mod completions;
mod config;
mod daemon;
mod demo;
mod engine;
mod kept;
mod keygen;
mod man;
mod mount;
mod receive;
mod resync;
mod status;
mod sync;
mod verify;
mod witness;

use crate::args::{Cli, Command};
use fsrepl::node::options::Outcome;

/// Runs the command that was asked for.
pub fn run(cli: &Cli) -> Outcome {
    let global = &cli.global;
    match &cli.command {
        Command::Mount(args) => mount::run(args, global),
        Command::Receive(args) => receive::run(args, global),
        Command::Status(args) => status::run(args, global),
        Command::Sync(args) => sync::run(args, global),
        Command::Resync(args) => resync::run(args, global),
        Command::Verify(args) => verify::run(args, global),
        Command::Kept(args) => kept::run(args, global),
        Command::Daemon(args) => daemon::run(args, global),
        Command::Engine(args) => engine::run(args, global),
        Command::Witness(args) => witness::run(args, global),
        Command::Config(args) => config::run(args, global),
        Command::Keygen(args) => keygen::run(args, global),
        Command::Demo(args) => demo::run(args, global),
        Command::Completions(args) => completions::run(args),
        Command::Man(args) => man::run(args),
        Command::DemoPart(part) => demo::part(part),
    }
}
