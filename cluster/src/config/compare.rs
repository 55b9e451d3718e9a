//! What two nodes must have alike: files, program, users. Each gathers its [`Facts`]; comparing them is pure.

use super::check::{Finding, Findings, Severity};
use super::{Cluster, Module, limits, system};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Clocks that differ by less than this are not mentioned: the way of the facts takes time too.
const CLOCK: Duration = Duration::from_secs(5);

/// What one node is like, as another one needs to know. Travels between daemons.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// The node's name.
    pub node: String,
    /// Of the program.
    pub version: String,
    /// Digest of `cluster.toml`.
    pub cluster: String,
    /// Digest of each module's folder. Modules that do not load are not among them.
    pub modules: BTreeMap<String, String>,
    /// Owner of each replicated directory that exists.
    pub owners: BTreeMap<String, Owner>,
    /// Users of this machine and their numbers.
    pub users: BTreeMap<String, u32>,
    /// Groups of this machine and their numbers.
    pub groups: BTreeMap<String, u32>,
    /// The clock, in milliseconds since 1970.
    pub clock: u64,
}

/// Who owns a directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// Number of the user.
    pub uid: u32,
    /// Its name, if it has one.
    pub user: Option<String>,
    /// Number of the group.
    pub gid: u32,
    /// Its name, if it has one.
    pub group: Option<String>,
}

/// The facts of this machine. `node` is its name, `version` that of the program.
pub fn facts_for_compare(cluster: &Cluster, modules: &[Module], node: &str, version: &str) -> Facts {
    let here = cluster.node(node).map(|node| node.id);
    let ours = modules.iter().filter(|module| here.is_some_and(|id| module.nodes.contains(&id)));
    let directories = ours.flat_map(|module| &module.replicate).map(|replicate| replicate.directory.as_path());
    let table = |file: &str| {
        let text = std::fs::read_to_string(file).unwrap_or_default();
        system::accounts(&text).take(limits::ACCOUNTS).collect()
    };
    Facts {
        node: node.into(),
        version: version.into(),
        cluster: cluster.digest.clone(),
        modules: modules.iter().map(|module| (module.name.clone(), module.digest.clone())).collect(),
        owners: directories.filter_map(owner).collect(),
        users: table("/etc/passwd"),
        groups: table("/etc/group"),
        clock: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64),
    }
}

fn owner(directory: &Path) -> Option<(String, Owner)> {
    let metadata = std::fs::metadata(directory).ok()?;
    let (uid, gid) = (metadata.uid(), metadata.gid());
    let owner = Owner { uid, user: system::user(uid), gid, group: system::group(gid) };
    Some((directory.display().to_string(), owner))
}

/// What two nodes have differently that they should have alike. The order of the two does not matter but for words.
pub fn compare(a: &Facts, b: &Facts) -> Vec<Finding> {
    let mut all = Vec::new();
    files(a, b, &mut all);
    let mut findings = Findings { subject: format!("nodes {} and {}", a.node, b.node), all: &mut all };
    if a.version != b.version {
        findings.add(
            Severity::Warning,
            format!("version {} on {}, {} on {}", a.version, a.node, b.version, b.node),
            "finish the upgrade: the same version on all nodes",
        );
    }
    let apart = Duration::from_millis(a.clock.abs_diff(b.clock));
    if apart >= CLOCK {
        let seconds = humantime::format_duration(Duration::from_secs(apart.as_secs()));
        findings.add(
            Severity::Note,
            format!("their clocks are {seconds} apart; nothing is decided by clocks, but logs are hard to read"),
            "let both follow a time server",
        );
    }
    owners(a, b, &mut findings);
    owners(b, a, &mut findings);
    all.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    all.dedup();
    all
}

fn files(a: &Facts, b: &Facts, all: &mut Vec<Finding>) {
    let cure = "see `understudy config diff`, then `understudy config push` from the node that is right";
    let mut differ = |subject: String, what: &str| {
        let text = format!("{what} {} and {}", a.node, b.node);
        all.push(Finding { severity: Severity::Error, subject, text, cure: cure.into() });
    };
    if a.cluster != b.cluster {
        differ("cluster".into(), "cluster.toml differs between");
    }
    for (name, digest) in &a.modules {
        if b.modules.get(name).is_some_and(|other| other != digest) {
            differ(format!("module {name}"), "its folder differs between");
        }
    }
    for (with, without) in [(a, b), (b, a)] {
        for name in with.modules.keys().filter(|name| !without.modules.contains_key(*name)) {
            let text = format!("it is on {} and not, or not sound, on {}", with.node, without.node);
            all.push(Finding { severity: Severity::Error, subject: format!("module {name}"), text, cure: cure.into() });
        }
    }
}

/// Data is owned by numbers: whoever owns it on one node must be the same account on the other.
fn owners(a: &Facts, b: &Facts, findings: &mut Findings<'_>) {
    for (directory, owner) in &a.owners {
        let user =
            Account { word: "user", name: owner.user.as_deref(), id: owner.uid, there: &b.users, add: "useradd -u", change: "usermod -u" };
        let group = Account {
            word: "group",
            name: owner.group.as_deref(),
            id: owner.gid,
            there: &b.groups,
            add: "groupadd -g",
            change: "groupmod -g",
        };
        for account in [user, group] {
            account.compare(directory, a, b, findings);
        }
    }
}

struct Account<'a> {
    word: &'static str,
    name: Option<&'a str>,
    id: u32,
    there: &'a BTreeMap<String, u32>,
    add: &'static str,
    change: &'static str,
}

impl Account<'_> {
    fn compare(&self, directory: &str, a: &Facts, b: &Facts, findings: &mut Findings<'_>) {
        let Account { word, id, add, change, .. } = self;
        // Without a name here there is nothing to compare; the node's own check says so.
        let Some(name) = self.name else { return };
        let taken = self.there.iter().find(|(other, number)| *number == id && other.as_str() != name).map(|(other, _)| other);
        match (self.there.get(name), taken) {
            (Some(other), _) if other == id => {}
            (Some(other), _) => findings.add(
                Severity::Error,
                format!("{word} {name}, who owns {directory}, is number {id} on {} and {other} on {}", a.node, b.node),
                format!("give it one number on both: `{change} NUMBER {name}`, and its files their owner again"),
            ),
            (None, Some(taken)) => findings.add(
                Severity::Error,
                format!("{word} {name}, who owns {directory} on {}, is missing on {}, where number {id} is {taken}", a.node, b.node),
                format!("create {name} with one number that is free on both nodes"),
            ),
            // Accounts may come from a directory service, which no file shows.
            (None, None) if self.there.len() >= limits::ACCOUNTS || !self.local(a) => {}
            (None, None) => findings.add(
                Severity::Error,
                format!("{word} {name}, who owns {directory} on {}, is missing on {}", a.node, b.node),
                format!("`{add} {id} {name}` on {}", b.node),
            ),
        }
    }

    /// Whether the account is in the files of the node that has it.
    fn local(&self, a: &Facts) -> bool {
        let table = if self.word == "user" { &a.users } else { &a.groups };
        self.name.is_some_and(|name| table.contains_key(name))
    }
}

#[cfg(test)]
#[path = "tests/compare.rs"]
mod tests;
