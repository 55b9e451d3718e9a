//! Where io_uring pays: the figures behind `docs/adr/0002-uring-where-it-pays.md`.
//!
//! `cargo run --release -p fsrepl --example link_bench` (as root). Two network namespaces without
//! names, joined by a veth pair, stand for two hosts; they vanish with the program, however it
//! ends. Every table comes from interleaved rounds, so that a busy moment of the machine hits all
//! variants: read ratios, not absolute figures.

#![allow(clippy::print_stdout, reason = "it prints its result")]

mod bulk;
mod hosts;
mod peer;
mod regime;
mod trip;
mod variant;
mod writers;

use hosts::Hosts;

type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

fn main() -> Outcome<()> {
    let hosts = Hosts::new()?;
    trip::run(&hosts)?;
    bulk::run(&hosts)?;
    writers::run(&hosts)
}

/// The middle value, and the value that 99 of 100 do not exceed.
fn p50_p99(samples: &mut [f64]) -> (f64, f64) {
    samples.sort_unstable_by(f64::total_cmp);
    (samples[samples.len() / 2], samples[samples.len() * 99 / 100])
}

fn median(values: &[f64]) -> f64 {
    p50_p99(&mut values.to_vec()).0
}
