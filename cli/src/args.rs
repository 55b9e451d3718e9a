//! The command line as the operator types it. Values are checked here, so that commands start from sound ones.

mod cluster;
mod setup;

pub use cluster::*;
pub use setup::*;

use clap::{Args, Parser, Subcommand};
use fsrepl::node::options::{Ack, Places};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

const MOUNT_EXAMPLES: &str = "\
Examples:
  Replicate a directory to the server at 10.0.0.2, where `understudy receive` runs:
    understudy mount /srv/data --to 10.0.0.2:7400 --key /etc/understudy/pair.key

  Start although the other server is down, and bring it up to date when it comes:
    understudy mount /srv/data --to 10.0.0.2:7400 --key /etc/understudy/pair.key --alone

  Leave temporary files out, and give the replica a short name for `status`:
    understudy mount /srv/data --to 10.0.0.2:7400 --key /etc/understudy/pair.key \\
      --exclude '/tmp/**' --name data

The line `ready` on standard output says that the application may use DIR. After it comes a
line for every change of state. SIGTERM writes everything out, unmounts and ends with code 0.";

const RECEIVE_EXAMPLES: &str = "\
Examples:
  Take the replica of a directory on this server's address 10.0.0.2:
    understudy receive /srv/data --listen 10.0.0.2:7400 --key /etc/understudy/pair.key

  Give up what lies in DIR because the other server has the good data:
    understudy receive /srv/data --listen 10.0.0.2:7400 --key /etc/understudy/pair.key --discard-local

The line `ready` on standard output says that the port is open. SIGTERM ends it cleanly with code 0.";

/// Keeps a directory identical on two servers, so that the other one can go on when one dies.
#[derive(Debug, Parser)]
#[command(name = "understudy", version, propagate_version = true, subcommand_required = true)]
#[command(after_help = "Try it on this machine: understudy demo")]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

/// Options that every command takes.
#[derive(Clone, Debug, Args)]
pub struct Global {
    /// Configuration of this node
    #[arg(long, global = true, help_heading = "Options of every command", value_name = "DIR", default_value = "/etc/understudy")]
    pub config: PathBuf,
    /// What this node keeps across reboots
    #[arg(long, global = true, help_heading = "Options of every command", value_name = "DIR", default_value = "/var/lib/understudy")]
    pub state: PathBuf,
    /// Control sockets of what runs on this node
    #[arg(long, global = true, help_heading = "Options of every command", value_name = "DIR", default_value = "/run/understudy")]
    pub run: PathBuf,
    /// Print JSON instead of text
    #[arg(long, global = true, help_heading = "Options of every command")]
    pub json: bool,
}

impl Global {
    /// The directories an engine is given.
    pub fn places(&self) -> Places {
        Places { state: self.state.clone(), run: self.run.clone() }
    }
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make DIR a replicated directory: every change is on the other server before it is acknowledged
    Mount(MountArgs),
    /// Hold the replica of a directory that another server mounts
    Receive(ReceiveArgs),
    /// Show what modules and replicas do, and why
    Status(StatusArgs),
    /// Start a module, on all of its nodes
    Start(OrderArgs),
    /// Stop a module everywhere, or on one node: the other one takes over if it can
    Stop(OrderArgs),
    /// Start the application of a module anew, where it is
    Restart(OrderArgs),
    /// Exchange primary and secondary of a module
    Swap(ModuleArgs),
    /// Make a node primary that does not become it by itself
    Promote(PromoteArgs),
    /// Switch automatic failover of a module on or off
    Failover(SwitchArgs),
    /// Switch the checks of a module on or off
    Checks(SwitchArgs),
    /// Forget the failures that were counted of a module
    Reset(OrderArgs),
    /// Cover the directories of a stopped module again, so that nobody changes one copy
    Guard(OrderArgs),
    /// Open the directories of a stopped module to edit; the next start brings the changes to the other node
    Unguard(OrderArgs),
    /// Take a server of a farm out: it gets no new clients
    Drain(OrderArgs),
    /// Take a server of a farm in again
    Undrain(OrderArgs),
    /// Wait until a module has arrived in a state
    Wait(WaitArgs),
    /// Show what happened to a module, and why
    Log(LogArgs),
    /// Ask a farm
    Farm(FarmArgs),
    /// Take in what has changed in the configuration's files
    Reload(ReloadArgs),
    /// Stop everything on this node in order, because the machine goes down
    Shutdown(ShutdownArgs),
    /// Collect what a helper needs to see, without anything secret
    Support(SupportArgs),
    /// Wait until everything written so far is on the disks of both servers
    Sync(SyncArgs),
    /// Bring the other server up to date now, or say what that would take
    Resync(ResyncArgs),
    /// Compare both copies while the application runs: names, attributes, and every byte
    Verify(VerifyArgs),
    /// Show, or remove, what was kept of changes that lost against the other server's
    Kept(KeptArgs),
    /// Run this node of a cluster
    Daemon(DaemonArgs),
    /// The engine of a module, as the daemon starts it
    #[command(hide = true)]
    Engine(EngineArgs),
    /// Remember for clusters, on a third host, which of their isolated nodes goes on
    Witness(WitnessArgs),
    /// Make a first configuration of a cluster on this node
    Init(InitArgs),
    /// Look for mistakes in the configuration, compare it, carry it to other nodes
    Config(ConfigArgs),
    /// Make modules from templates
    Module(ModuleCommandArgs),
    /// Make a key file for a pair of servers
    Keygen(KeygenArgs),
    /// Show all of it on this machine: a cluster of two hosts, 100,000 files, what can go wrong, and nothing lost
    Demo(DemoArgs),
    /// Print the completion script of a shell
    Completions(CompletionsArgs),
    /// Print a manual page
    Man(ManArgs),
    /// A process that the demo runs inside its hosts
    #[command(subcommand, hide = true)]
    DemoPart(DemoPart),
}

/// How the connection between the two servers is protected.
#[derive(Clone, Debug, Args)]
#[group(multiple = false)]
pub struct Protection {
    /// Key file shared by both servers (mode 0600, see `understudy keygen`); encrypts all traffic
    #[arg(long, value_name = "FILE", required_unless_present_any = ["insecure", "passthrough"])]
    pub key: Option<PathBuf>,
    /// No key: anybody who reaches the port can read and change the data
    #[arg(long)]
    pub insecure: bool,
}

/// The daemon of a node.
#[derive(Clone, Debug, Args)]
pub struct DaemonArgs {
    /// Which node of cluster.toml this is; found by the addresses of this machine if it is not named
    #[arg(long, value_name = "NODE")]
    pub node: Option<String>,
}

/// One engine.
#[derive(Clone, Debug, Args)]
pub struct EngineArgs {
    /// What the daemon has written for it
    #[arg(value_name = "SPECIFICATION")]
    pub spec: PathBuf,
}

#[derive(Clone, Debug, Args)]
#[command(after_help = MOUNT_EXAMPLES)]
pub struct MountArgs {
    /// The directory to replicate; it may hold data already and keeps its path
    #[arg(value_name = "DIR")]
    pub dir: PathBuf,
    /// The other server, where `understudy receive` listens
    #[arg(long, value_name = "IP:PORT", value_parser = address, required_unless_present = "passthrough")]
    pub to: Option<SocketAddr>,
    #[command(flatten)]
    pub protection: Protection,
    /// Name for `status` and `sync` [default: DIR]
    #[arg(long, value_name = "NAME", value_parser = name)]
    pub name: Option<String>,
    /// When a write is acknowledged: `memory`, when the other server has applied it, or `disk`, when
    /// it is on the disks of both; fsync always waits for both disks
    #[arg(long, value_name = "MODE", default_value = "memory")]
    pub ack: Ack,
    /// Start without the other server, and remember what it misses
    #[arg(long)]
    pub alone: bool,
    /// Leave out paths that match, from the top of DIR: `/cache/**` (`**` crosses folders); may be repeated
    #[arg(long, value_name = "PATTERN", value_parser = pattern)]
    pub exclude: Vec<String>,
    /// Keep the processor awake while replicating: faster answers, more power
    #[arg(long)]
    pub low_latency: bool,
    /// Silence after which the other server counts as lost
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = duration)]
    pub peer_timeout: Duration,
    /// Most that a resync sends in a second, such as 50MiB/s [default: what link and disks give]
    #[arg(long, value_name = "SIZE/s", value_parser = rate)]
    pub resync_max_rate: Option<u64>,
    /// The same file system layer with neither replication nor journal, for measurements
    #[arg(long, hide = true)]
    pub passthrough: bool,
}

#[derive(Clone, Debug, Args)]
#[command(after_help = RECEIVE_EXAMPLES)]
pub struct ReceiveArgs {
    /// The directory that becomes the replica; while this runs it can be read here, not written
    #[arg(value_name = "DIR")]
    pub dir: PathBuf,
    /// Address and port of this server that the other one connects to
    #[arg(long, value_name = "IP:PORT", value_parser = address)]
    pub listen: SocketAddr,
    /// Key file shared by both servers (mode 0600, see `understudy keygen`); encrypts all traffic
    #[arg(long, value_name = "FILE", required_unless_present = "insecure", conflicts_with = "insecure")]
    pub key: Option<PathBuf>,
    /// No key: anybody who reaches the port can read and change the data
    #[arg(long)]
    pub insecure: bool,
    /// Name for `status` [default: DIR]
    #[arg(long, value_name = "NAME", value_parser = name)]
    pub name: Option<String>,
    /// Give up data in DIR that is no replica of the sender's; without it such a DIR is refused
    #[arg(long)]
    pub discard_local: bool,
    /// Bytes that the state before a resync may take while the resync runs, 0 to keep none of it [default: half of
    /// what is free]
    #[arg(long, value_name = "SIZE", value_parser = budget)]
    pub keep_budget: Option<u64>,
    /// Silence after which the other server counts as lost
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = duration)]
    pub peer_timeout: Duration,
}

#[derive(Clone, Debug, Args)]
pub struct SyncArgs {
    /// The replica, as `understudy status` names it
    #[arg(value_name = "NAME")]
    pub name: String,
    /// Of a module with several directories only this one, by its name or path [default: all]
    #[arg(long, value_name = "DIR")]
    pub directory: Option<String>,
    /// Give up waiting after this time
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = duration)]
    pub timeout: Duration,
}

#[derive(Clone, Debug, Args)]
pub struct ResyncArgs {
    /// The replica, as `understudy status` names it
    #[arg(value_name = "NAME")]
    pub name: String,
    /// Of a module with several directories only this one, by its name or path [default: all]
    #[arg(long, value_name = "DIR")]
    pub directory: Option<String>,
    /// Compare everything, whatever change tracking says
    #[arg(long)]
    pub full: bool,
    /// Only say what a resync would have to look at
    #[arg(long, conflicts_with_all = ["full", "no_wait"])]
    pub estimate: bool,
    /// Do not wait for the end
    #[arg(long)]
    pub no_wait: bool,
    /// The same as --estimate
    #[arg(long, conflicts_with_all = ["full", "no_wait"])]
    pub dry_run: bool,
    /// Give up waiting after this time; the resync goes on
    #[arg(long, value_name = "TIME", default_value = "24h", value_parser = duration)]
    pub timeout: Duration,
}

const VERIFY_EXAMPLES: &str = "\
Examples:
  Compare everything, as fast as both disks read:      understudy verify data
  Gently, from the disks instead of the page caches:   understudy verify data --direct --max-rate 50MiB/s
  Send what differs again from here:                   understudy verify data --repair

Asked on the server where DIR is mounted. Ends with code 5 if anything differed, also where it was repaired; each difference is a
line on standard output. --repair makes the other server's copy like this one: it cannot know which of two bytes is the
right one. Interrupted, it stops the comparison.";

#[derive(Clone, Debug, Args)]
#[command(after_help = VERIFY_EXAMPLES)]
pub struct VerifyArgs {
    /// The replica, as `understudy status` names it
    #[arg(value_name = "NAME")]
    pub name: String,
    /// Of a module with several directories only this one, by its name or path [default: all]
    #[arg(long, value_name = "DIR")]
    pub directory: Option<String>,
    /// Send what differs again, while the application runs, and compare it once more
    #[arg(long)]
    pub repair: bool,
    /// Read from the disks, past the page caches
    #[arg(long)]
    pub direct: bool,
    /// Most that each server reads in a second, such as 50MiB/s [default: what the disks give]
    #[arg(long, value_name = "SIZE/s", value_parser = rate)]
    pub max_rate: Option<u64>,
    /// Do not wait for the end; `understudy status` shows how far it is
    #[arg(long, conflicts_with = "stop")]
    pub no_wait: bool,
    /// Stop the one that runs
    #[arg(long, conflicts_with_all = ["repair", "direct", "max_rate"])]
    pub stop: bool,
    /// Stop after this time
    #[arg(long, value_name = "TIME", default_value = "7d", value_parser = duration)]
    pub timeout: Duration,
}

const KEPT_EXAMPLES: &str = "\
Examples:
  List what is kept of all modules and replicas: understudy kept
  Of one:                                        understudy kept data
  Remove a kept tree for good:                   understudy kept data remove 20260102T030405Z-0a1b2c3d

A kept tree lies in DIR/.understudy/kept/ID/tree on the server that gave its changes up; copy out of it
what you need. While DIR is mounted, `understudy kept` says where it can be read.

  Put back what a copy was before a resync that is cut off for good: understudy kept data restore

While a resync makes a copy that was whole into a newer one, what it changes is saved. When the other server
is lost before the end, the copy can be made again what it was: outdated, but whole.";

#[derive(Clone, Debug, Args)]
#[command(after_help = KEPT_EXAMPLES)]
pub struct KeptArgs {
    /// The replica [default: all of this server], then `remove ID` to remove one, or `restore`
    #[arg(value_name = "[NAME] [remove ID | restore", num_args = 0..=3)]
    pub words: Vec<String>,
    /// `restore`: on this node [default: this one]
    #[arg(long, value_name = "NODE")]
    pub node: Option<String>,
    /// `restore`: only say whether it can be done
    #[arg(long)]
    pub dry_run: bool,
}

const WITNESS_EXAMPLES: &str = "\
Examples:
  Vote for all clusters whose witness keys are in /etc/understudy/witness:
    understudy witness --listen 10.0.0.9:7409 --keys /etc/understudy/witness

Make a cluster's witness key with `understudy keygen`; both nodes and the witness get the same file.
Clusters are added and removed by their files, without a restart. What was granted is kept in
`witness` in the state directory. The line `ready` on standard output says that the port is open.
SIGTERM ends it with code 0.";

#[derive(Clone, Debug, Args)]
#[command(after_help = WITNESS_EXAMPLES)]
pub struct WitnessArgs {
    /// Address and port of this host that the clusters' nodes connect to
    #[arg(long, value_name = "IP:PORT", value_parser = address)]
    pub listen: SocketAddr,
    /// Directory with one key file (mode 0600) for each cluster
    #[arg(long, value_name = "DIR")]
    pub keys: PathBuf,
}

#[derive(Clone, Debug, Args)]
pub struct KeygenArgs {
    /// The file to make; copy it to the other server over a safe channel
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
}

#[derive(Clone, Debug, Args)]
pub struct CompletionsArgs {
    /// bash, zsh, fish, elvish or powershell
    #[arg(value_name = "SHELL")]
    pub shell: clap_complete::Shell,
}

#[derive(Clone, Debug, Args)]
pub struct ManArgs {
    /// The page of one command [default: the page of understudy itself]
    #[arg(value_name = "COMMAND")]
    pub command: Option<String>,
}

/// Applications of the demo.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum DemoApp {
    Ledger,
    Postgresql,
    Mariadb,
}

#[derive(Clone, Debug, Args)]
pub struct DemoArgs {
    /// What runs: a ledger application of the demo's own, or a real database server that is installed here
    #[arg(long, value_enum, value_name = "APP", default_value_t = DemoApp::Ledger)]
    pub app: DemoApp,
    /// How soon the nodes miss each other: `lan`, or `virtual` on a machine that is too busy for that
    #[arg(long, value_name = "PROFILE", default_value = "lan", value_parser = ["fast", "lan", "virtual", "wan"])]
    pub profile: String,
    /// Leave everything running, and say how to look around and how to remove it
    #[arg(long)]
    pub keep: bool,
    /// How many files the tree has
    #[arg(long, value_name = "N", default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1..=5_000_000))]
    pub files: u32,
    /// How many seconds the application runs before its host is killed
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=300))]
    pub seconds: u64,
}

/// Processes of the demo: each is this binary, started inside one of the hosts.
#[derive(Clone, Debug, Subcommand)]
pub enum DemoPart {
    /// The first process of a host
    Host {
        /// Its name
        name: String,
        /// Outlives the demo
        #[arg(long)]
        keep: bool,
    },
    /// The ledger application as a service
    Serve {
        /// Where it keeps its files
        dir: PathBuf,
        /// Where clients reach it
        #[arg(long, value_parser = address)]
        listen: SocketAddr,
    },
    /// Clients of the ledger application; acknowledgements go to standard output
    Client {
        /// The application's address
        #[arg(value_parser = address)]
        to: SocketAddr,
        /// How many work at once
        #[arg(long)]
        workers: u32,
    },
    /// Clients of a database; acknowledgements go to standard output
    SqlClient {
        /// Which
        product: String,
        /// Its address
        #[arg(value_parser = address)]
        to: SocketAddr,
        /// How many work at once
        #[arg(long)]
        workers: u32,
    },
    /// Writes a line for everything in a tree
    List {
        /// The tree
        dir: PathBuf,
    },
    /// Compares a tree with the digests of what was written
    CheckTree {
        /// The tree
        dir: PathBuf,
        /// Path and digest of every file
        #[arg(long)]
        manifest: PathBuf,
    },
    /// The ledger application; acknowledgements go to standard output
    Ledger {
        /// Where it keeps its files
        dir: PathBuf,
        /// Ends by itself after this time
        #[arg(long)]
        seconds: u64,
        /// How many workers write at once
        #[arg(long)]
        workers: u32,
    },
    /// Builds the tree of many files
    Tree {
        /// Where
        dir: PathBuf,
        /// How many files
        #[arg(long)]
        files: u32,
        /// Gets path and digest of every file
        #[arg(long)]
        manifest: PathBuf,
    },
    /// Compares a ledger with what was acknowledged
    Check {
        /// The ledger's files
        dir: PathBuf,
        /// What its clients recorded
        #[arg(long)]
        acknowledged: PathBuf,
    },
}

fn address(word: &str) -> Result<SocketAddr, String> {
    word.parse().map_err(|_| "expected an IP address and a port, such as 10.0.0.2:7400 or [fd00::2]:7400 (names are not looked up)".into())
}

fn duration(word: &str) -> Result<Duration, String> {
    match humantime::parse_duration(word) {
        Ok(time) if !time.is_zero() => Ok(time),
        _ => Err("expected a time with its unit, such as 500ms, 1s or 2m".into()),
    }
}

/// Bytes a second: a whole number with a unit, `/s` behind it or not.
fn rate(word: &str) -> Result<u64, String> {
    const UNITS: [(&str, u64); 9] = [
        ("KiB", 1 << 10),
        ("MiB", 1 << 20),
        ("GiB", 1 << 30),
        ("kB", 1000),
        ("KB", 1000),
        ("MB", 1_000_000),
        ("GB", 1_000_000_000),
        ("B", 1),
        ("", 1),
    ];
    let size = word.strip_suffix("/s").unwrap_or(word).trim();
    let digits = size.len() - size.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = size.split_at(digits);
    let factor = UNITS.iter().find(|(known, _)| *known == unit.trim()).map(|(_, factor)| *factor);
    let bytes = number.parse::<u64>().ok().zip(factor).and_then(|(number, factor)| number.checked_mul(factor));
    match bytes {
        Some(bytes) if bytes > 0 => Ok(bytes),
        _ => Err("expected a size a second, such as 50MiB/s, 800kB/s or 1GB/s".into()),
    }
}

/// As [`rate`], of something that is not by time, and may be nothing.
fn budget(word: &str) -> Result<u64, String> {
    match word.trim() {
        "0" | "0B" => Ok(0),
        word if word.ends_with("/s") => Err("expected a size, such as 10GiB or 500MB, or 0".into()),
        word => rate(word).map_err(|_| "expected a size, such as 10GiB or 500MB, or 0".into()),
    }
}

fn pattern(word: &str) -> Result<String, String> {
    if word.starts_with('/') && word.len() > 1 {
        Ok(word.into())
    } else {
        Err("expected a pattern that starts at the top of DIR, such as /cache/** or /lock".into())
    }
}

fn name(word: &str) -> Result<String, String> {
    if word.is_empty() || word.chars().any(char::is_control) {
        Err("expected a name without control characters".into())
    } else {
        Ok(word.into())
    }
}

#[cfg(test)]
#[path = "args_tests.rs"]
mod tests;
