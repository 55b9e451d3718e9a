//! The command line.

use crate::columns::Column;
use clap::{Parser, ValueEnum};
use serde::Serialize;
use std::path::PathBuf;

/// How the processors are treated while measuring: the same code differs by a factor of five between them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Regime {
    /// Nothing is changed: an idle processor halts, and waking it costs tens of microseconds on virtual machines.
    #[default]
    AsIs,
    /// `/dev/cpu_dma_latency` is held at 0 for every column, and ours is started with `--low-latency`.
    LowLatency,
    /// Everything, servers included, is pinned to one processor.
    OneCpu,
}

/// Measures understudy against the plain directory, the floor and its peers, in one interleaved run.
#[derive(Clone, Debug, Parser)]
#[command(name = "benches")]
pub struct Options {
    /// Benches to run; `all` for every one, `list` to see them.
    #[arg(required = true)]
    pub names: Vec<String>,
    /// Rounds; every round measures all columns once, in rotating order. Default: 5, `failover` 50 and 3 with --quick.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub rounds: Option<u32>,
    /// Write the figures of every round here as JSON.
    #[arg(long)]
    pub json: Option<PathBuf>,
    /// How the processors are treated.
    #[arg(long, value_enum, default_value_t)]
    pub regime: Regime,
    /// Small counts: shows that everything works; the figures are not to be trusted.
    #[arg(long)]
    pub quick: bool,
    /// Measure these columns only.
    #[arg(long, value_enum, value_delimiter = ',')]
    pub columns: Vec<Column>,
    /// Directory on the disk to measure; everything in it is removed at the end. Default: `bench-data` in the target directory.
    #[arg(long)]
    pub dir: Option<PathBuf>,
    /// The understudy binary. Default: the one beside this program.
    #[arg(long)]
    pub binary: Option<PathBuf>,
}

impl Options {
    /// Whether `column` is to be measured.
    pub fn wants(&self, column: Column) -> bool {
        self.columns.is_empty() || self.columns.contains(&column)
    }
}
