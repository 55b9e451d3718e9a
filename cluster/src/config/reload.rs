//! What a changed configuration means for what runs: what takes effect at once, and what needs the operator.

use super::{Cluster, Module};
use serde::{Deserialize, Serialize};
use std::fmt;

/// When a change takes effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// With the reload.
    Now,
    /// When the module is stopped and started on its nodes; for the cluster: when the daemons are restarted.
    AfterRestart,
    /// Engines read it when they start: the secondary's is restarted, then the module is swapped, then the other's.
    AfterSwap,
}

/// One changed key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// As in the file, with its table; a name picks one of several tables (`check.sql`).
    pub key: String,
    /// `added`, `removed` or `changed`.
    pub what: What,
    /// When.
    pub takes_effect: Effect,
    /// It is the cluster's file: what has to be restarted is the daemon.
    pub cluster: bool,
}

/// How a key changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// It is new.
    Added,
    /// It is gone.
    Removed,
    /// It has another value.
    Changed,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.what {
            What::Added => "added",
            What::Removed => "removed",
            What::Changed => "changed",
        };
        let when = match (self.takes_effect, self.cluster) {
            (Effect::Now, _) => "takes effect now",
            (Effect::AfterRestart, false) => "takes effect when the module is stopped on all its nodes and started again",
            (Effect::AfterRestart, true) => "takes effect when the daemons are restarted, which leaves modules alone",
            (Effect::AfterSwap, _) => "takes effect on a node when its engine starts: swap, and swap back",
        };
        write!(f, "{}: {what}, {when}", self.key)
    }
}

/// Collects changes of one file.
struct Changes {
    cluster: bool,
    found: Vec<Change>,
}

impl Changes {
    fn push(&mut self, key: impl Into<String>, what: What, takes_effect: Effect) {
        self.found.push(Change { key: key.into(), what, takes_effect, cluster: self.cluster });
    }

    /// A value that is always there.
    fn value<T: PartialEq>(&mut self, key: impl Into<String>, old: &T, new: &T, effect: Effect) {
        if old != new {
            self.push(key, What::Changed, effect);
        }
    }

    /// A value that may be absent.
    fn option<T: PartialEq>(&mut self, key: &str, old: &Option<T>, new: &Option<T>, effect: Effect) {
        match (old, new) {
            (None, Some(_)) => self.push(key, What::Added, effect),
            (Some(_), None) => self.push(key, What::Removed, effect),
            _ => self.value(key, old, new, effect),
        }
    }

    /// Tables with names. What moved to another place without another value is no change.
    fn named<T: PartialEq>(&mut self, key: &str, old: &[T], new: &[T], name: impl Fn(&T) -> String, effect: Effect) {
        for was in old {
            match new.iter().find(|is| name(is) == name(was)) {
                None => self.push(format!("{key}.{}", name(was)), What::Removed, effect),
                Some(is) => self.value(format!("{key}.{}", name(was)), was, is, effect),
            }
        }
        for is in new.iter().filter(|is| !old.iter().any(|was| name(was) == name(is))) {
            self.push(format!("{key}.{}", name(is)), What::Added, effect);
        }
    }
}

/// What differs between two versions of a module, and when that takes effect. Scripts are not looked at: they are read
/// whenever they are run, so a changed script takes effect the next time.
pub fn changes(old: &Module, new: &Module) -> Vec<Change> {
    use Effect::{AfterRestart, AfterSwap, Now};
    let mut all = Changes { cluster: false, found: Vec::new() };
    all.value("kind", &old.kind, &new.kind, AfterRestart);
    all.value("nodes", &old.nodes, &new.nodes, AfterRestart);
    all.option("preferred_node", &old.preferred, &new.preferred, Now);
    all.value("failback", &old.failback, &new.failback, Now);
    all.value("boot", &old.boot, &new.boot, Now);
    all.value("depends_on", &old.depends_on, &new.depends_on, Now);
    all.value("ack", &old.ack, &new.ack, AfterSwap);
    all.option("resync_max_rate", &old.resync_max_rate, &new.resync_max_rate, AfterSwap);
    all.option("keep_budget", &old.keep_budget, &new.keep_budget, AfterSwap);
    all.value("low_latency", &old.low_latency, &new.low_latency, AfterSwap);
    all.value("start_after_power_cut", &old.start_after_power_cut, &new.start_after_power_cut, Now);
    replicate(&mut all, old, new);
    all.named("virtual_ip", &old.virtual_ips, &new.virtual_ips, |ip| ip.address.to_string(), AfterRestart);
    application(&mut all, old, new);
    all.named("check", &old.checks, &new.checks, |check| check.name.clone(), Now);
    for key in old.variables.keys().chain(new.variables.keys().filter(|key| !old.variables.contains_key(*key))) {
        // A script that is run next gets them; an application that runs has the former ones.
        let (was, is) = (old.variables.get(key).cloned(), new.variables.get(key).cloned());
        all.option(&format!("variables.{key}"), &was, &is, AfterRestart);
    }
    if let (Some(was), Some(is)) = (&old.farm, &new.farm) {
        all.value("load_balancing", &was.balance, &is.balance, Now);
        all.value("farm.weights", &was.weights, &is.weights, Now);
        all.option("farm.priorities", &was.priorities, &is.priorities, Now);
        all.value("farm.lost_after", &was.lost_after, &is.lost_after, Now);
    }
    all.found
}

fn replicate(all: &mut Changes, old: &Module, new: &Module) {
    let ([was], [is]) = (old.replicate.as_slice(), new.replicate.as_slice()) else { return directories(all, old, new) };
    all.value("replicate.name", &was.name, &is.name, Effect::Now);
    // Another directory is another replica: nothing of the former one's history holds for it.
    all.value("replicate.directory", &was.directory, &is.directory, Effect::AfterRestart);
    // Both engines of a session must leave out the same.
    all.value("replicate.exclude", &was.exclude, &is.exclude, Effect::AfterRestart);
    all.value("replicate.require", &was.require, &is.require, Effect::Now);
}

/// Each directory of several has an engine that is named after it, the first after the module: its place and its name are part
/// of what runs.
fn directories(all: &mut Changes, old: &Module, new: &Module) {
    all.named("replicate", &old.replicate, &new.replicate, |one| one.name.clone(), Effect::AfterRestart);
    let kept = |ours: &Module, theirs: &Module| -> Vec<String> {
        let common = ours.replicate.iter().filter(|one| theirs.replicate.iter().any(|other| other.name == one.name));
        common.map(|one| one.name.clone()).collect()
    };
    if kept(old, new) != kept(new, old) {
        all.push("replicate (order)", What::Changed, Effect::AfterRestart);
    }
}

fn application(all: &mut Changes, old: &Module, new: &Module) {
    let (Some(was), Some(is)) = (&old.application, &new.application) else {
        return all.option("application", &old.application, &new.application, Effect::AfterRestart);
    };
    all.value("application", &was.launch, &is.launch, Effect::AfterRestart);
    all.value("application.start_timeout", &was.start_timeout, &is.start_timeout, Effect::Now);
    all.value("application.stop_timeout", &was.stop_timeout, &is.stop_timeout, Effect::Now);
    all.value("application.max_restarts", &was.max_restarts, &is.max_restarts, Effect::Now);
    all.value("application.restart_window", &was.restart_window, &is.restart_window, Effect::Now);
}

/// What differs between two versions of the cluster, and when that takes effect.
pub fn cluster_changes(old: &Cluster, new: &Cluster) -> Vec<Change> {
    use Effect::{AfterRestart, Now};
    let mut all = Changes { cluster: true, found: Vec::new() };
    all.value("name", &old.name, &new.name, AfterRestart);
    all.value("key_file", &old.key_file, &new.key_file, AfterRestart);
    // Nodes judge each other's silence by the same times: they are changed with all daemons, not one after the other.
    all.value("profile", &old.profile, &new.profile, AfterRestart);
    let order = |cluster: &Cluster| cluster.nodes.iter().map(|node| node.name.clone()).collect::<Vec<_>>();
    if order(old) != order(new) {
        // A node's place is its identity in everything the others remember.
        all.push("node", What::Changed, AfterRestart);
    }
    all.named("node", &old.nodes, &new.nodes, |node| node.name.clone(), AfterRestart);
    all.option("quorum", &old.quorum, &new.quorum, AfterRestart);
    all.value("ports", &old.ports, &new.ports, AfterRestart);
    all.option("http", &old.http.tls, &new.http.tls, AfterRestart);
    all.option("fence", &old.fence, &new.fence, Now);
    all.option("notify.command", &old.notify.command, &new.notify.command, Now);
    all.option("notify.webhook", &old.notify.webhook, &new.notify.webhook, Now);
    all.found
}

#[cfg(test)]
#[path = "tests/reload.rs"]
mod tests;
