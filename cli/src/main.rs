//! The `understudy` command: reads its arguments, runs one command, ends with the contract's exit code.

mod args;
mod commands;
mod demo;
mod engine;
mod logging;
mod model;
mod names;
mod node;
mod output;
mod render;
mod replica;
mod usage;

use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    let ended = match args::Cli::try_parse() {
        Ok(cli) => {
            logging::start();
            commands::run(&cli)
        }
        Err(error) => usage::explain(&error),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            output::complain(&failure);
            ExitCode::from(failure.kind.exit_code())
        }
    }
}
