//! The columns, and the rig that provides their directories and servers for one bench.

use crate::echo::{self, Echo, Wire};
use crate::engines::{self, Mounted, Pair};
use crate::hosts::Hosts;
use crate::options::{Options, Regime};
use crate::relay::Relay;
use anyhow::{Context, Result};
use clap::ValueEnum;
use serde::Serialize;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What is measured side by side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Column {
    /// The directory of the file system beneath.
    Plain,
    /// Our FUSE layer with neither replication nor journal.
    Fuse,
    /// What the hardware gives without us: the wire's round trip, two flushes in parallel.
    Raw,
    /// FUSE alone and raw put together: what cannot be undercut. Computed.
    Floor,
    /// `understudy mount` and `understudy receive`.
    Ours,
    /// Another program that does the same job.
    Peer,
}

impl Column {
    /// As in tables and JSON.
    pub fn name(self) -> &'static str {
        match self {
            Column::Plain => "plain",
            Column::Fuse => "fuse",
            Column::Raw => "raw",
            Column::Floor => "floor",
            Column::Ours => "ours",
            Column::Peer => "peer",
        }
    }

    /// Whether the understudy binary is needed.
    pub fn needs_engine(self) -> bool {
        matches!(self, Column::Fuse | Column::Ours)
    }
}

/// What every rig of a run shares.
#[derive(Clone, Debug)]
pub struct Setting {
    /// Reachable by every user, on the disk that is measured.
    pub base: PathBuf,
    /// The command line.
    pub options: Options,
    /// The understudy binary.
    pub binary: PathBuf,
}

/// What a bench needs besides directories.
#[derive(Clone, Copy, Debug, Default)]
pub struct Needs {
    /// Traffic between the hosts goes through a delaying relay.
    pub relay: bool,
    /// An echo server for the raw wire.
    pub wire: bool,
    /// No engines, whatever the columns: it brings its own servers.
    pub no_engines: bool,
    /// The understudy binary all the same: hosts with daemons.
    pub daemons: bool,
}

impl Needs {
    /// Hosts with daemons, made by the bench itself.
    pub const CLUSTER: Needs = Needs { relay: false, wire: false, no_engines: true, daemons: true };
}

/// Directories and servers of one bench; everything ends with this value.
pub struct Rig {
    root: PathBuf,
    context: Setting,
    // Engines end before the relays they talk through, those before the hosts.
    /// FUSE alone.
    pub fuse: Option<Mounted>,
    /// Primary and secondary.
    pub pair: Option<Pair>,
    echo: Option<Echo>,
    relays: Vec<Relay>,
    needs: Needs,
    hosts: Hosts,
}

/// The relay's ports lie this much above those they relay to.
const RELAYED: u16 = 1000;

impl Rig {
    /// Makes directories and hosts and starts the engines that `columns` need.
    pub fn new(context: &Setting, bench: &str, columns: &[Column], needs: Needs) -> Result<Rig> {
        let root = context.base.join(bench);
        for name in ["plain", "fuse", "raw-a", "raw-b", "ours-a", "ours-b", "peer-a", "peer-b", "logs"] {
            fs::create_dir_all(root.join(name))?;
        }
        let hosts = Hosts::new()?;
        let context = context.clone();
        let mut rig = Rig { root, context, fuse: None, pair: None, echo: None, relays: Vec::new(), needs, hosts };
        if needs.wire && columns.contains(&Column::Raw) {
            rig.echo = Some(Echo::start(&rig, &rig.root.join("raw-b").join("echoed"))?);
            rig.add_relay(echo::PORT, rig.hosts.b.at(echo::PORT))?;
        }
        if columns.contains(&Column::Fuse) {
            rig.fuse = Some(Mounted::passthrough(&rig)?);
        }
        if columns.contains(&Column::Ours) && !needs.no_engines {
            rig.add_relay(engines::PORT, rig.hosts.b.at(engines::PORT))?;
            rig.pair = Some(Pair::start(&rig)?);
        }
        Ok(rig)
    }

    /// The two hosts.
    pub fn hosts(&self) -> &Hosts {
        &self.hosts
    }

    /// Small counts?
    pub fn quick(&self) -> bool {
        self.context.options.quick
    }

    /// `full`, or `quick` when small counts are asked for.
    pub fn size<T>(&self, full: T, quick: T) -> T {
        if self.quick() { quick } else { full }
    }

    /// How the processors are treated.
    pub fn regime(&self) -> Regime {
        self.context.options.regime
    }

    /// The understudy binary.
    pub fn binary(&self) -> &Path {
        &self.context.binary
    }

    /// A path of this bench.
    pub fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// Log file of a server.
    pub fn log(&self, name: &str) -> PathBuf {
        self.root.join("logs").join(name)
    }

    /// Where the load of `column` works.
    pub fn dir(&self, column: Column) -> PathBuf {
        self.root.join(match column {
            Column::Plain => "plain",
            Column::Fuse => "fuse",
            Column::Raw | Column::Floor => "raw-a",
            Column::Ours => "ours-a",
            Column::Peer => "peer-a",
        })
    }

    /// A new connection over the raw wire.
    pub fn wire(&self) -> Result<Wire> {
        Wire::connect(&self.hosts.a, self.hosts.b.at(self.via(echo::PORT)))
    }

    /// The port of host B that leads to what `port` names, through the relay when this bench wants relays.
    pub fn via(&self, port: u16) -> u16 {
        if self.needs.relay { port + RELAYED } else { port }
    }

    /// When this bench wants relays: one on host B from above `port` to `to`.
    pub fn add_relay(&mut self, port: u16, to: SocketAddr) -> Result<()> {
        if self.needs.relay {
            let b = &self.hosts.b;
            self.relays.push(Relay::start(b, b.at(port + RELAYED), to)?);
        }
        Ok(())
    }

    /// Sets the round trip that every relay adds.
    pub fn set_round_trip(&self, round_trip: Duration) {
        for relay in &self.relays {
            relay.set_round_trip(round_trip);
        }
    }

    /// Brings dirty pages to the disk, so that one column's do not fall into another's time.
    pub fn settle(&self) -> Result<()> {
        let root = fs::File::open(&self.root)?;
        rustix::fs::syncfs(&root).context("cannot flush the file system")
    }

    /// Fails when an engine died or the pair fell out of sync: the figures would not be of what the column says.
    pub fn check(&mut self, column: Column) -> Result<()> {
        match column {
            Column::Fuse => self.fuse.as_mut().map_or(Ok(()), Mounted::check),
            Column::Ours => self.pair.as_mut().map_or(Ok(()), Pair::check),
            _ => Ok(()),
        }
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.pair = None;
        self.fuse = None;
        self.echo = None;
        if let Err(error) = fs::remove_dir_all(&self.root) {
            eprintln!("benches: {} could not be removed: {error}", self.root.display());
        }
    }
}
