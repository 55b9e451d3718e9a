//! Arguments of what makes, checks and carries a configuration.

use super::Pace;
use clap::{Args, Subcommand};
use std::net::IpAddr;
use std::path::PathBuf;

#[derive(Clone, Debug, Args)]
pub struct ConfigArgs {
    #[command(subcommand)]
    pub command: ConfigCommand,
}

#[derive(Clone, Debug, Subcommand)]
pub enum ConfigCommand {
    /// Find every mistake before anything starts; ends with code 2 if there is one
    Check(ConfigCheckArgs),
    /// Show what differs between this node's configuration and the other nodes'
    Diff(ConfigDiffArgs),
    /// Carry this node's configuration to the other nodes, which take it in at once
    Push(ConfigPushArgs),
}

const CONFIG_CHECK_EXAMPLES: &str = "\
Examples:
  Everything in /etc/understudy, and this machine:   understudy config check
  One module's file while it is being written:       understudy config check modules/db/module.toml

Every mistake is a line of its own: file, line and key, what is there, and what was expected. Where a daemon
runs, what has to be the same on all nodes is compared as well, unless files are named.";

#[derive(Clone, Debug, Args)]
#[command(after_help = CONFIG_CHECK_EXAMPLES)]
pub struct ConfigCheckArgs {
    /// Only these files [default: all of the configuration, and whether this machine has what it needs]
    #[arg(value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Check this machine as the node of that name [default: the node whose address it has]
    #[arg(long, value_name = "NAME", conflicts_with = "files")]
    pub node: Option<String>,
}

#[derive(Clone, Debug, Args)]
pub struct ConfigDiffArgs {
    /// Only this node
    #[arg(long, value_name = "NODE")]
    pub node: Option<String>,
}

#[derive(Clone, Debug, Args)]
pub struct ConfigPushArgs {
    /// Only to this node
    #[arg(long, value_name = "NODE")]
    pub node: Option<String>,
    #[command(flatten)]
    pub pace: Pace,
}

#[derive(Clone, Debug, Args)]
pub struct ModuleCommandArgs {
    #[command(subcommand)]
    pub command: ModuleCommand,
}

#[derive(Clone, Debug, Subcommand)]
pub enum ModuleCommand {
    /// List the applications that there are ready modules for, and what each wants to know
    Templates(TemplatesArgs),
    /// Make a module from a template, and check it
    Create(CreateArgs),
}

#[derive(Clone, Debug, Args)]
pub struct TemplatesArgs {
    /// Only this one, with all its keys
    #[arg(value_name = "TEMPLATE")]
    pub name: Option<String>,
}

const CREATE_EXAMPLES: &str = "\
Examples:
  See what a template wants to know:   understudy module templates postgresql
  Make a module of it:                 understudy module create db --from postgresql --set address=10.0.0.100/24
  Only look at what would be written:  understudy module create db --from mirror --set directory=/srv/db --dry-run

The files go to modules/NAME in the configuration directory; what is there is never overwritten. Then carry it to
the other nodes with `understudy config push`, and start it with `understudy start NAME`.";

#[derive(Clone, Debug, Args)]
#[command(after_help = CREATE_EXAMPLES)]
pub struct CreateArgs {
    /// What the module is called
    #[arg(value_name = "NAME")]
    pub name: String,
    /// The template
    #[arg(long, value_name = "TEMPLATE")]
    pub from: String,
    /// A value that the template wants; may be repeated
    #[arg(long, value_name = "KEY=VALUE", value_parser = setting)]
    pub set: Vec<(String, String)>,
    /// Only print the files
    #[arg(long)]
    pub dry_run: bool,
}

fn setting(word: &str) -> Result<(String, String), String> {
    match word.split_once('=') {
        Some((key, value)) if !key.trim().is_empty() => Ok((key.trim().to_owned(), value.to_owned())),
        _ => Err("expected KEY=VALUE, such as directory=/srv/db".into()),
    }
}

const INIT_EXAMPLES: &str = "\
Examples:
  Two servers with one network:
    understudy init --name shop --node alpha=10.0.0.1 --node beta=10.0.0.2
  With two networks, in the same order for each node:
    understudy init --name shop --node alpha=10.0.0.1,10.1.0.1 --node beta=10.0.0.2,10.1.0.2

Say it on one node; copy cluster.toml and cluster.key to the others over a safe channel.";

#[derive(Clone, Debug, Args)]
#[command(after_help = INIT_EXAMPLES)]
pub struct InitArgs {
    /// Name of the cluster
    #[arg(long, value_name = "NAME")]
    pub name: String,
    /// A node with its addresses, in order of networks; one for each node
    #[arg(long, value_name = "NAME=IP[,IP]...", value_parser = node, required = true)]
    pub node: Vec<NewNode>,
    /// Only print the file
    #[arg(long)]
    pub dry_run: bool,
}

/// A node as `init` is told of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewNode {
    /// Its name.
    pub name: String,
    /// In order of networks.
    pub addresses: Vec<IpAddr>,
}

fn node(word: &str) -> Result<NewNode, String> {
    let expected = || "expected a name and addresses, such as alpha=10.0.0.1 or alpha=10.0.0.1,10.1.0.1".to_owned();
    let (name, addresses) = word.split_once('=').ok_or_else(expected)?;
    let addresses: Result<Vec<IpAddr>, _> = addresses.split(',').map(str::parse).collect();
    match addresses {
        Ok(addresses) if !name.is_empty() => Ok(NewNode { name: name.to_owned(), addresses }),
        _ => Err(expected()),
    }
}
