//! One file per command.

mod completions;
mod config;
mod daemon;
mod demo;
mod engine;
mod farm;
mod init;
mod kept;
mod keygen;
mod log;
mod man;
mod module;
mod mount;
mod order;
mod receive;
mod reload;
mod resync;
mod shutdown;
mod status;
mod support;
mod switch;
mod sync;
mod verify;
mod wait;
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
        Command::Start(args) => order::start(args, global),
        Command::Stop(args) => order::stop(args, global),
        Command::Restart(args) => order::restart(args, global),
        Command::Swap(args) => order::swap(args, global),
        Command::Promote(args) => order::promote(args, global),
        Command::Failover(args) => switch::failover(args, global),
        Command::Checks(args) => switch::checks(args, global),
        Command::Reset(args) => switch::reset(args, global),
        Command::Guard(args) => switch::guard(args, true, global),
        Command::Unguard(args) => switch::guard(args, false, global),
        Command::Drain(args) => switch::drain(args, true, global),
        Command::Undrain(args) => switch::drain(args, false, global),
        Command::Wait(args) => wait::run(args, global),
        Command::Log(args) => log::run(args, global),
        Command::Farm(args) => farm::run(args, global),
        Command::Reload(args) => reload::run(args, global),
        Command::Shutdown(args) => shutdown::run(args, global),
        Command::Support(args) => support::run(args, global),
        Command::Sync(args) => sync::run(args, global),
        Command::Resync(args) => resync::run(args, global),
        Command::Verify(args) => verify::run(args, global),
        Command::Kept(args) => kept::run(args, global),
        Command::Daemon(args) => daemon::run(args, global),
        Command::Engine(args) => engine::run(args, global),
        Command::Witness(args) => witness::run(args, global),
        Command::Init(args) => init::run(args, global),
        Command::Config(args) => config::run(args, global),
        Command::Module(args) => module::run(args, global),
        Command::Keygen(args) => keygen::run(args, global),
        Command::Demo(args) => demo::run(args, global),
        Command::Completions(args) => completions::run(args),
        Command::Man(args) => man::run(args),
        Command::DemoPart(part) => demo::part(part),
    }
}
