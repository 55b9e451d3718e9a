//! Arguments of what an operator asks of a cluster's modules.

use super::duration;
use clap::{Args, Subcommand, ValueEnum};
use std::path::PathBuf;
use std::time::Duration;

const STATUS_EXAMPLES: &str = "\
Examples:
  Everything that this node knows:            understudy status
  One module, redrawn as it changes:          understudy status db --watch
  For a monitoring system (codes 0 to 3):     understudy status --check
  For a script:                               understudy status --json

With --check the codes are those of monitoring plugins: 0 fine, 1 warning, 2 critical, 3 unknown.";

#[derive(Clone, Debug, Args)]
#[command(after_help = STATUS_EXAMPLES)]
pub struct StatusArgs {
    /// Only this module or replica [default: all]
    #[arg(value_name = "NAME")]
    pub name: Option<String>,
    /// Go on showing it: redrawn on a terminal, one line for each change elsewhere
    #[arg(long, conflicts_with = "check")]
    pub watch: bool,
    /// One line and an exit code for a monitoring system
    #[arg(long)]
    pub check: bool,
}

/// What every command that changes something takes.
#[derive(Clone, Debug, Args)]
pub struct Pace {
    /// Only say what would follow
    #[arg(long)]
    pub dry_run: bool,
    /// Give up waiting after this time; what was ordered goes on
    #[arg(long, value_name = "TIME", default_value = "5m", value_parser = duration)]
    pub timeout: Duration,
    /// Do not wait for the end
    #[arg(long)]
    pub no_wait: bool,
}

/// An order to a module, on one node or where it concerns.
#[derive(Clone, Debug, Args)]
pub struct OrderArgs {
    /// The module, as `understudy status` names it
    #[arg(value_name = "MODULE")]
    pub module: String,
    /// Only on this node
    #[arg(long, value_name = "NODE")]
    pub node: Option<String>,
    #[command(flatten)]
    pub pace: Pace,
}

/// An order that finds its node by itself.
#[derive(Clone, Debug, Args)]
pub struct ModuleArgs {
    /// The module, as `understudy status` names it
    #[arg(value_name = "MODULE")]
    pub module: String,
    #[command(flatten)]
    pub pace: Pace,
}

/// What an operator may accept to lose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Accept {
    /// The very first start: this node's directories are the good ones
    First,
    /// What was written elsewhere since this node's data was last up to date
    Outdated,
    /// A copy that was never finished: files of different moments
    Inconsistent,
    /// What the other node wrote while both went on alone
    Split,
}

impl Accept {
    /// As the daemon reads it.
    pub fn word(self) -> &'static str {
        match self {
            Accept::First => "first",
            Accept::Outdated => "outdated",
            Accept::Inconsistent => "inconsistent",
            Accept::Split => "split",
        }
    }
}

const PROMOTE_EXAMPLES: &str = "\
Examples:
  The very first start, with the good data here:     understudy promote db --accept first
  With the good data on node2:                       understudy promote db --node node2 --accept first
  The other server will not come back, and this one's data is older:
                                                     understudy promote db --accept outdated

Without --accept a node is promoted only when nothing is lost by it; the refusal names the word that is
needed. What is lost by accepting is printed first.";

#[derive(Clone, Debug, Args)]
#[command(after_help = PROMOTE_EXAMPLES)]
pub struct PromoteArgs {
    /// The module, as `understudy status` names it
    #[arg(value_name = "MODULE")]
    pub module: String,
    /// The node that becomes primary [default: this one]
    #[arg(long, value_name = "NODE")]
    pub node: Option<String>,
    /// What may be lost
    #[arg(long, value_name = "WORD")]
    pub accept: Option<Accept>,
    #[command(flatten)]
    pub pace: Pace,
}

/// A switch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Switch {
    /// On
    On,
    /// Off
    Off,
}

/// Something that is on or off for a module.
#[derive(Clone, Debug, Args)]
pub struct SwitchArgs {
    /// on or off
    #[arg(value_name = "on|off")]
    pub to: Switch,
    #[command(flatten)]
    pub order: OrderArgs,
}

const WAIT_EXAMPLES: &str = "\
Examples:
  Until this node serves, with a secondary that has everything:   understudy wait db --state PRIM
  Until the other one follows:                                    understudy wait db --node node2 --state SECOND

ALONE, PRIM, SECOND and UP are waited for until they are ready as well: the application runs, the replica is in sync.";

#[derive(Clone, Debug, Args)]
#[command(after_help = WAIT_EXAMPLES)]
pub struct WaitArgs {
    /// The module, as `understudy status` names it
    #[arg(value_name = "MODULE")]
    pub module: String,
    /// The state that is waited for: STOP, WAIT, ALONE, PRIM, SECOND or UP
    // Here this is no directory, but clap shares it with the option of every command and wants one type of both.
    #[arg(long, value_name = "STATE", value_parser = state_word, required = true)]
    pub state: PathBuf,
    /// On this node [default: the one where this is said]
    #[arg(long, value_name = "NODE")]
    pub node: Option<String>,
    /// Give up after this time
    #[arg(long, value_name = "TIME", default_value = "5m", value_parser = duration)]
    pub timeout: Duration,
}

/// States of a module on a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StateWord {
    /// Stopped
    Stop,
    /// Started, serves nothing
    Wait,
    /// Serves without a secondary that has everything
    Alone,
    /// Serves, and the secondary has everything
    Prim,
    /// Follows, and has everything
    Second,
    /// A server of a farm, or a service, that serves
    Up,
}

impl WaitArgs {
    /// The state that is waited for.
    pub fn wanted(&self) -> Option<StateWord> {
        StateWord::ALL.into_iter().find(|state| self.state.to_str() == Some(state.word()))
    }
}

fn state_word(word: &str) -> Result<PathBuf, String> {
    let found = StateWord::ALL.into_iter().find(|state| state.word().eq_ignore_ascii_case(word));
    found.map(|state| state.word().into()).ok_or_else(|| "expected STOP, WAIT, ALONE, PRIM, SECOND or UP".into())
}

impl StateWord {
    /// All of them.
    const ALL: [StateWord; 6] = [StateWord::Stop, StateWord::Wait, StateWord::Alone, StateWord::Prim, StateWord::Second, StateWord::Up];

    /// As it is in `status`.
    pub fn word(self) -> &'static str {
        match self {
            StateWord::Stop => "STOP",
            StateWord::Wait => "WAIT",
            StateWord::Alone => "ALONE",
            StateWord::Prim => "PRIM",
            StateWord::Second => "SECOND",
            StateWord::Up => "UP",
        }
    }
}

#[derive(Clone, Debug, Args)]
pub struct LogArgs {
    /// The module, as `understudy status` names it
    #[arg(value_name = "MODULE")]
    pub module: String,
    /// Go on with what comes
    #[arg(long, short)]
    pub follow: bool,
    /// The log of this node [default: the one where this is said]
    #[arg(long, value_name = "NODE")]
    pub node: Option<String>,
    /// How many of the last events
    #[arg(long, short = 'n', value_name = "COUNT", default_value_t = 50, value_parser = clap::value_parser!(u32).range(0..=1000))]
    pub lines: u32,
}

const FARM_EXAMPLES: &str = "\
Examples:
  Which server answers this client:             understudy farm whose 192.0.2.7 web
  With a rule that looks at the port as well:   understudy farm whose 192.0.2.7:50123 web";

#[derive(Clone, Debug, Args)]
#[command(after_help = FARM_EXAMPLES)]
pub struct FarmArgs {
    #[command(subcommand)]
    pub command: FarmCommand,
}

#[derive(Clone, Debug, Subcommand)]
pub enum FarmCommand {
    /// Say which server of a farm a client's connections go to
    Whose {
        /// Address of the client, with its port if that counts
        #[arg(value_name = "CLIENT_IP[:PORT]")]
        client: String,
        /// The farm
        #[arg(value_name = "MODULE")]
        module: String,
    },
}

#[derive(Clone, Debug, Args)]
pub struct ShutdownArgs {
    /// Give up waiting after this time; modules go on stopping
    #[arg(long, value_name = "TIME", default_value = "5m", value_parser = duration)]
    pub timeout: Duration,
    /// Do nothing unless systemd says that the whole system is stopping: a restart of the daemon leaves modules alone
    #[arg(long)]
    pub with_system: bool,
    /// Only say what would stop
    #[arg(long)]
    pub dry_run: bool,
}

#[derive(Clone, Debug, Args)]
pub struct SupportArgs {
    /// The file to make; nothing secret is in it
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
}

#[derive(Clone, Debug, Args)]
pub struct ReloadArgs {
    /// Give up waiting after this time
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = duration)]
    pub timeout: Duration,
}
