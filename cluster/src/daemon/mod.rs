//! The daemon: one for each node. It decides who leads, starts engines and applications, and talks to the other nodes.
//! Engines and applications live on when it ends, and are found again.
//!
//! ```text
//! mod.rs      start to end                      mirror/    one thread for each mirror module
//! node.rs     what all parts share              solo/      one thread for each service and farm
//! board.rs    what is known, wanted, shown      courier.rs what goes out
//! handler.rs  what comes in from other nodes    operator/  what the command line asks for
//! ```

pub mod board;
mod courier;
mod events;
mod fence;
mod handler;
pub mod http;
mod mirror;
mod modules;
mod node;
pub mod operator;
mod parts;
mod snapshot;
mod solo;
mod stop;

pub use node::{Handle, Node};
pub use snapshot::{Shown, Snapshot};

use crate::NodeId;
use crate::arbiter::Quorum;
use crate::config::{self, Cluster};
use crate::engine::Home;
use crate::module::notify::Notifier;
use crate::module::output::Line;
use crate::net::beats::{self, Beats, Origin};
use crate::net::{Client, Identity, Keys, Server};
use board::Board;
use courier::{Couriers, Heading};
use crossbeam::channel::bounded;
use fsrepl::node::control::Control;
use fsrepl::report::{Failure, FailureKind};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use vip::manager::Manager;

/// What a daemon is started with.
#[derive(Clone, Debug)]
pub struct Options {
    /// `cluster.toml` and modules.
    pub config: PathBuf,
    /// Survives reboots.
    pub state: PathBuf,
    /// Does not.
    pub run: PathBuf,
    /// This node's name; none: found by its addresses.
    pub node: Option<String>,
    /// The program that engines are started from.
    pub program: PathBuf,
    /// Its version.
    pub version: String,
}

/// Name of the daemon's control socket, in a directory of its own: modules may have any name.
pub const SOCKET: &str = "daemon";
/// Events of heartbeats that wait.
const EVENTS: usize = 4096;

/// Where the daemon's own socket is.
pub fn socket_directory(run: &Path) -> PathBuf {
    run.join("node")
}

fn failed(what: &str, why: impl std::fmt::Display, cure: &str) -> Failure {
    Failure::new(FailureKind::Failed, what, why.to_string(), cure)
}

fn cannot_start(why: impl std::fmt::Display) -> Failure {
    failed("cannot start the daemon", why, "see the log for what happened before")
}

/// Runs until it is told to end. `ready` is called when commands are answered.
pub fn run(options: &Options, ready: impl FnOnce()) -> Result<(), Failure> {
    let cluster = load(&options.config)?;
    let me = own_node(&cluster, options.node.as_deref())?;
    // Before anything runs: a certificate that cannot be used is no reason to start half of a daemon.
    let protected = http::Protected::of(&cluster.http)?;
    for directory in [&options.state, &options.run, &socket_directory(&options.run)] {
        std::fs::create_dir_all(directory).map_err(cannot_start)?;
    }
    let stop = stop::Stop::listen().map_err(cannot_start)?;
    let keys: Keys = crate::engine::ring(&cluster.key_file)?.into();
    let node = build(options, cluster, me, keys.clone())?;
    // Taken first: a second daemon must not touch anything.
    let answering = node.clone();
    let control = Control::start(&socket_directory(&options.run), SOCKET, move |verb, args| operator::answer(&answering, verb, args))?;
    let server = serve(&node)?;
    let (sender, happened) = bounded(EVENTS);
    let origin =
        Origin { me, epoch: beats::next_epoch(&options.state).map_err(cannot_start)?, boot: beats::boot_id().map_err(cannot_start)? };
    let beating = Beats::start(&node.cluster, origin, keys, sender).map_err(cannot_start)?;
    let _ = node.beats.set(beating);
    modules::start_all(&node);
    node.set_loaded();
    events::carry(&node, happened).map_err(cannot_start)?;
    let http = http::start(&node, protected).map_err(cannot_start)?;
    tracing::info!(node = node.name(), cluster = node.cluster.name, version = options.version, "the daemon runs");
    ready();
    stop.wait();
    tracing::info!("the daemon ends; engines and applications stay");
    drop((control, server, http));
    modules::end_all(&node);
    Ok(())
}

fn load(directory: &Path) -> Result<Cluster, Failure> {
    config::load_cluster(directory).map_err(|problems| {
        let first = problems.first().map(ToString::to_string).unwrap_or_default();
        let more = if problems.len() > 1 { format!(" (and {} more)", problems.len() - 1) } else { String::new() };
        let cure = "correct it; `understudy config check` shows everything";
        Failure::new(FailureKind::Usage, "cannot use the configuration", format!("{first}{more}"), cure)
    })
}

/// Which node this is: by name, or by the addresses of this machine.
fn own_node(cluster: &Cluster, name: Option<&str>) -> Result<NodeId, Failure> {
    let usage = |why: String, cure: &str| Failure::new(FailureKind::Usage, "cannot tell which node this is", why, cure);
    if let Some(name) = name {
        let found = cluster.node(name).map(|node| node.id);
        return found.ok_or_else(|| usage(format!("cluster.toml has no node {name}"), "name one of its nodes with --node"));
    }
    let here = config::check::nodes_here(cluster);
    match here.as_slice() {
        [one] => Ok(one.id),
        [] => {
            Err(usage("no address of any node in cluster.toml is on this machine".into(), "correct the addresses, or name it with --node"))
        }
        _ => Err(usage("addresses of several nodes are on this machine".into(), "name it with --node")),
    }
}

fn build(options: &Options, cluster: Cluster, me: NodeId, keys: Keys) -> Result<Arc<Node>, Failure> {
    let home = Home { program: options.program.clone(), state: options.state.clone(), run: options.run.clone() };
    let quorum =
        Quorum::of(cluster.quorum.as_ref()).map_err(|why| failed("cannot use the witness' key", why, "see [quorum] in cluster.toml"))?;
    let board = Arc::new(Board::new(&options.state).map_err(cannot_start)?);
    let identity = Identity::node(&cluster.name, me, cluster.name_of(me));
    let clients = clients(&cluster, me, &identity, &keys);
    let record = options.run.join("addresses.json");
    let kept = modules::led_here(&home);
    for removed in Manager::clean_stale_but(&record, &kept).map_err(cannot_start)? {
        tracing::warn!(address = %removed.ip, interface = removed.interface, "a virtual address that a dead daemon left was removed");
    }
    let lost: Arc<std::sync::OnceLock<std::sync::Weak<Node>>> = Arc::default();
    let telling = lost.clone();
    let addresses = Manager::new(&record, move |event| {
        if let Some(node) = telling.get().and_then(std::sync::Weak::upgrade) {
            modules::address_event(&node, &event);
        }
    })
    .map_err(cannot_start)?;
    let heading = Heading { version: options.version.clone(), config_digest: cluster.digest.clone() };
    let digests = modules::digests(&options.config);
    let couriers = Couriers::start(&clients, &board, &heading, &digests).map_err(cannot_start)?;
    let notify = Notifier::start(cluster.notify.clone(), Arc::new(|line: Line| tracing::info!("{}", line.text))).map_err(cannot_start)?;
    let boot = fsrepl::node::offline::boot_now();
    let node = Node::new(
        cluster,
        options.config.clone(),
        me,
        home,
        boot,
        keys,
        clients,
        addresses,
        couriers,
        board,
        notify,
        quorum,
        options.version.clone(),
    );
    let node = Arc::new(node);
    let _ = lost.set(Arc::downgrade(&node));
    Ok(node)
}

fn clients(cluster: &Cluster, me: NodeId, identity: &Identity, keys: &Keys) -> BTreeMap<NodeId, Arc<Client>> {
    let port = cluster.ports.control;
    let others = cluster.nodes.iter().filter(|node| node.id != me);
    let client = |node: &config::Node| {
        let addresses = node.networks.iter().map(|network| std::net::SocketAddr::new(network.advertise, port)).collect();
        (node.id, Arc::new(Client::new(identity.clone(), Some(node.id), addresses, keys.clone())))
    };
    others.map(client).collect()
}

fn serve(node: &Arc<Node>) -> Result<Server, Failure> {
    let own = &node.cluster.nodes[usize::from(node.me.0)];
    let mut binds: Vec<_> =
        own.networks.iter().map(|network| std::net::SocketAddr::new(network.bind, node.cluster.ports.control)).collect();
    binds.sort_unstable();
    binds.dedup();
    let (answering, handing) = (node.clone(), node.home.run.clone());
    let replication = Arc::new(move |module: &str, stream| {
        // Refused by closing it: the primary tries again.
        if let Err(why) = fsrepl::node::handed::hand(&handing, module, &stream) {
            tracing::debug!(module, %why, "no engine takes the connection");
        }
    });
    let handler = Arc::new(move |caller: &_, bytes: Vec<u8>| handler::answer(&answering, caller, &bytes));
    Server::start(&binds, node.identity(), node.keys.clone(), handler, replication).map_err(cannot_start)
}
