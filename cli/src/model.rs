//! What the daemon's `status` says, as the commands read it. Unknown keys are passed over: a daemon may be newer.

use fsrepl::report::{Failure, FailureKind};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// All of it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Cluster {
    /// Its name.
    pub cluster: String,
    /// Who answers.
    pub node: String,
    pub version: String,
    pub config_digest: String,
    pub modules: Vec<Module>,
    pub nodes: Vec<Node>,
    pub quorum: Quorum,
}

/// Who decides between isolated nodes.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Quorum {
    pub words: String,
}

/// A node of the cluster.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Node {
    pub node: String,
    pub reachable: bool,
    pub version: Option<String>,
    pub config_digest: Option<String>,
    pub networks: Vec<Network>,
}

/// One network to it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Network {
    pub network: u64,
    /// `up`, or what it is instead.
    pub state: String,
    pub silence_seconds: f64,
}

/// A module.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Module {
    pub name: String,
    /// `mirror`, `farm`, `service`.
    pub kind: String,
    /// Who answers.
    pub node: String,
    pub nodes: Vec<OnNode>,
    pub resync: Value,
    pub can_fail_over: CanFailOver,
    #[serde(deserialize_with = "none_is_empty")]
    pub virtual_ips: Vec<Address>,
    #[serde(deserialize_with = "none_is_empty")]
    pub kept: Vec<Value>,
    /// The state from before a resync, of the answering node.
    pub consistent: Value,
    #[serde(deserialize_with = "none_is_empty")]
    pub checks: Vec<Check>,
    /// Automatic failover is on.
    pub failover: bool,
    pub checks_on: bool,
    pub directories: Vec<String>,
    /// Of several.
    pub directory_states: Vec<Directory>,
    pub farm: Value,
}

/// One of several directories of a module, on the node that answers.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Directory {
    pub name: String,
    pub state: String,
    pub data: String,
    pub reason: String,
}

/// A module on a node.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct OnNode {
    pub node: String,
    pub state: String,
    pub readiness: String,
    pub reason: String,
    pub reason_code: String,
    pub since: Option<String>,
    pub data: Option<String>,
    pub reachable: bool,
    pub version: Option<String>,
    pub config_digest: Option<String>,
}

/// Whether the other node could take over.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct CanFailOver {
    pub now: bool,
    pub reason: String,
    pub reason_code: String,
}

/// A virtual address.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Address {
    pub address: String,
    pub interface: Option<String>,
    pub node: Option<String>,
}

/// A check's result.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Check {
    pub name: String,
    pub ok: Option<bool>,
    pub output: Option<String>,
}

fn none_is_empty<'de, D: Deserializer<'de>, T: Deserialize<'de>>(value: D) -> Result<Vec<T>, D::Error> {
    Ok(Option::deserialize(value)?.unwrap_or_default())
}

impl Cluster {
    /// From the daemon's answer.
    pub fn read(value: &Value) -> Result<Cluster, Failure> {
        Cluster::deserialize(value).map_err(|why| {
            let cure = "use the command line of the daemon's version, or restart the daemon: modules go on meanwhile";
            Failure::new(FailureKind::Failed, "cannot understand the daemon's answer", why.to_string(), cure)
        })
    }
    /// An engine of one of the modules: it is named after the module, of several directories with the directory's name behind
    /// a colon. The daemon speaks for them.
    pub fn owns(&self, engine: &str) -> bool {
        engine.split(':').next().is_some_and(|name| self.module(name).is_some())
    }

    /// A module by its name.
    pub fn module(&self, name: &str) -> Option<&Module> {
        self.modules.iter().find(|module| module.name == name)
    }
}

impl Module {
    /// What it is on a node.
    pub fn on(&self, node: &str) -> Option<&OnNode> {
        self.nodes.iter().find(|on| on.node == node)
    }

    /// Where it serves, ready or about to be.
    pub fn leader(&self) -> Option<&OnNode> {
        self.nodes.iter().find(|on| on.leads())
    }

    /// The node that is not the named one, of a mirror's two.
    pub fn other(&self, node: &str) -> Option<&OnNode> {
        self.nodes.iter().find(|on| on.node != node)
    }

    /// The replicas of a mirror, or the servers of a farm.
    pub fn is_mirror(&self) -> bool {
        self.kind == "mirror"
    }
}

impl OnNode {
    /// As it should be.
    pub fn is_ready(&self) -> bool {
        self.readiness == "ready"
    }

    /// On the way somewhere.
    pub fn is_moving(&self) -> bool {
        self.readiness == "transient"
    }

    /// Primary, or a server that is up. A node that is not heard may be anything.
    pub fn leads(&self) -> bool {
        self.reachable && matches!(self.state.as_str(), "PRIM" | "ALONE" | "UP")
    }

    /// The application can be used there.
    pub fn serves(&self) -> bool {
        self.leads() && self.is_ready()
    }
}
