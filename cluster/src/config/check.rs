//! Everything about this machine that would be found out only when a module starts here, or worse, when it has to.

use super::system::{self, Held, Interface};
use super::{Cluster, Launch, Module, Node, Quorum};
use fsrepl::wire::keys::KeyRing;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth knowing.
    Note,
    /// Something may not work as intended.
    Warning,
    /// Something will not work.
    Error,
}

/// One thing that was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// How bad.
    pub severity: Severity,
    /// What it is about: `cluster`, `node NAME` or `module NAME`.
    pub subject: String,
    /// What was found.
    pub text: String,
    /// What to do.
    pub cure: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.severity {
            Severity::Note => "note",
            Severity::Warning => "warning",
            Severity::Error => "error",
        };
        write!(f, "{severity}: {}: {}", self.subject, self.text)?;
        if self.cure.is_empty() { Ok(()) } else { write!(f, "; {}", self.cure) }
    }
}

/// Collects what concerns one subject.
pub(super) struct Findings<'a> {
    pub(super) subject: String,
    pub(super) all: &'a mut Vec<Finding>,
}

impl Findings<'_> {
    pub(super) fn add(&mut self, severity: Severity, text: impl Into<String>, cure: impl Into<String>) {
        self.all.push(Finding { severity, subject: self.subject.clone(), text: text.into(), cure: cure.into() });
    }

    fn error(&mut self, text: impl Into<String>, cure: impl Into<String>) {
        self.add(Severity::Error, text, cure);
    }
}

/// The nodes whose addresses this machine has: one on a machine that runs one node.
pub fn nodes_here(cluster: &Cluster) -> Vec<&Node> {
    cluster.nodes.iter().filter(|node| node.networks.iter().any(|network| system::is_local(network.bind))).collect()
}

/// What is wrong on this machine, being `node`, with the cluster and the modules that run here. Reads and binds; changes
/// nothing. Directories that a running engine has mounted count as sound: it has looked at them.
pub fn check_local(cluster: &Cluster, modules: &[Module], node: &Node) -> Vec<Finding> {
    let mut all = Vec::new();
    let mut findings = Findings { subject: format!("node {}", node.name), all: &mut all };
    keys(cluster, &mut findings);
    addresses(cluster, node, &mut findings);
    commands(cluster, &mut findings);
    let interfaces = system::interfaces();
    for module in modules.iter().filter(|module| module.nodes.contains(&node.id)) {
        let mut findings = Findings { subject: format!("module {}", module.name), all: &mut all };
        directories(module, &mut findings);
        virtual_ips(module, &interfaces, &mut findings);
        application(module, &mut findings);
    }
    all
}

fn keys(cluster: &Cluster, findings: &mut Findings<'_>) {
    if let Err(error) = KeyRing::load(&cluster.key_file) {
        findings.error(error.to_string(), "make it with `understudy keygen`, or copy it from another node");
    }
    if let Some(Quorum::Witness { key_file, .. }) = &cluster.quorum {
        if let Err(error) = KeyRing::load(key_file) {
            findings.error(error.to_string(), "copy the key file that the witness has for this cluster");
        } else if KeyRing::load(key_file).ok() == KeyRing::load(&cluster.key_file).ok() {
            findings.error("the witness has the key of the cluster", "make it one of its own: it may vote and nothing else");
        }
    }
    let Some(tls) = &cluster.http.tls else { return };
    for file in [&tls.certificate, &tls.key, &tls.token_file] {
        if let Err(error) = std::fs::File::open(file) {
            findings.error(format!("cannot read {} ({error})", file.display()), "put it there, or remove [http]");
        }
    }
    for file in [&tls.key, &tls.token_file] {
        if std::fs::metadata(file).is_ok_and(|metadata| metadata.mode() & 0o077 != 0) {
            findings.error(format!("{} can be read by others", file.display()), format!("chmod 600 {}", file.display()));
        }
    }
}

fn addresses(cluster: &Cluster, node: &Node, findings: &mut Findings<'_>) {
    for network in &node.networks {
        if !system::is_local(network.bind) {
            findings.error(
                format!("its address {} is not on this machine", network.bind),
                "configure it on an interface, or correct it in cluster.toml",
            );
            continue;
        }
        let ports = cluster.ports;
        let mut wanted = vec![(false, ports.control, "control"), (false, ports.http, "http")];
        if network.heartbeat {
            wanted.push((true, ports.heartbeat, "heartbeat"));
        }
        wanted.extend(cluster.http.tls.as_ref().map(|tls| (false, tls.port, "http.tls_port")));
        for (udp, port, key) in wanted {
            port_is_free((network.bind, port), udp, key, findings);
        }
    }
}

/// Free, or held by a daemon of ours.
fn port_is_free(at: (IpAddr, u16), udp: bool, key: &str, findings: &mut Findings<'_>) {
    let Held::By(holder) = system::port(at.into(), udp) else { return };
    let protocol = if udp { "UDP" } else { "TCP" };
    let holder = match holder.as_deref() {
        Some("understudy") => return,
        Some(name) => format!("held by {name}"),
        None => "held by another process".into(),
    };
    findings.error(
        format!("port {} ({key}, {protocol}) of {} is {holder}", at.1, at.0),
        "end that process, or set another port in [ports], the same on all nodes",
    );
}

fn commands(cluster: &Cluster, findings: &mut Findings<'_>) {
    let fence = cluster.fence.as_ref().map(|fence| ("fence", &fence.command));
    let notify = cluster.notify.command.as_ref().map(|command| ("notify", command));
    for (table, command) in fence.into_iter().chain(notify) {
        program(command, &format!("[{table}]"), findings);
    }
}

fn program(command: &[String], place: &str, findings: &mut Findings<'_>) {
    let Some(program) = command.first() else { return };
    if let Some(why) = system::not_executable(Path::new(program)) {
        findings.error(format!("the program of {place}, {program}, {why}"), "install it, or correct the path");
    }
}

fn directories(module: &Module, findings: &mut Findings<'_>) {
    for replicate in &module.replicate {
        directory(&replicate.directory, findings);
    }
}

fn directory(directory: &Path, findings: &mut Findings<'_>) {
    let shown = directory.display();
    let kind = system::file_system(directory);
    // A running engine's mount, or what a killed one left: its own business at a start.
    if kind.as_deref() == Some("fuse.understudy") {
        return;
    }
    let metadata = match std::fs::metadata(directory) {
        Ok(metadata) if metadata.is_dir() => metadata,
        Ok(_) => return findings.error(format!("{shown} is no directory"), "name a directory"),
        Err(error) => {
            return findings.error(format!("{shown} cannot be used ({error})"), "create it, with the owner that the application needs");
        }
    };
    if let Some(kind) = kind.filter(|kind| system::is_unsuited(kind)) {
        findings.error(
            format!("{shown} is on a file system of type {kind}, which has no lasting handles of files"),
            "use a directory on a local file system such as ext4, xfs or btrfs",
        );
    } else if let Err(error) = handle(directory) {
        findings.error(
            format!("{shown} is on a file system without handles of files ({error})"),
            "use a directory on a local file system such as ext4, xfs or btrfs",
        );
    }
    if system::user(metadata.uid()).is_none() {
        findings.error(
            format!("the owner of {shown}, number {}, is no user of this machine", metadata.uid()),
            "create the user with this number, or change the owner",
        );
    }
    if system::group(metadata.gid()).is_none() {
        findings.add(
            Severity::Warning,
            format!("the group of {shown}, number {}, is none of this machine", metadata.gid()),
            "create the group with this number, or change it",
        );
    }
}

fn handle(directory: &Path) -> std::io::Result<()> {
    let directory = std::fs::File::open(directory)?;
    fsrepl::sys::name_to_handle(directory.as_fd(), c"").map(drop).map_err(std::io::Error::from)
}

fn virtual_ips(module: &Module, interfaces: &[Interface], findings: &mut Findings<'_>) {
    for ip in &module.virtual_ips {
        if let Some(script) = &ip.script {
            executable(&script.file, findings);
            continue;
        }
        match &ip.interface {
            Some(name) if !system::has_interface(name) => {
                findings.error(
                    format!("no interface {name} for the address {}", ip.address),
                    "name one of this machine, on every node the same",
                );
            }
            Some(_) => {}
            None => by_subnet(ip.address, ip.prefix, interfaces, findings),
        }
    }
}

fn executable(script: &Path, findings: &mut Findings<'_>) {
    if let Some(why) = system::not_executable(script) {
        findings.error(format!("{} {why}", script.display()), format!("chmod 755 {}", script.display()));
    }
}

fn by_subnet(address: IpAddr, prefix: u8, interfaces: &[Interface], findings: &mut Findings<'_>) {
    let mut names: Vec<&str> = interfaces.iter().filter(|known| known.reaches(address)).map(|known| known.name.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    match names.as_slice() {
        [] => findings.error(
            format!("no interface of this machine is in the network of the address {address}/{prefix}"),
            "correct the address, or name its interface",
        ),
        [_] => {}
        several => findings.add(
            Severity::Warning,
            format!("several interfaces are in the network of the address {address}/{prefix}: {}", several.join(", ")),
            "name the one that clients use",
        ),
    }
}

fn application(module: &Module, findings: &mut Findings<'_>) {
    let systemd = Path::new("/run/systemd/system").is_dir();
    let units = module.checks.iter().filter_map(|check| match &check.kind {
        super::CheckKind::Unit { unit } => Some(unit),
        _ => None,
    });
    let launched = match module.application.as_ref().map(|application| &application.launch) {
        Some(Launch::Unit(unit)) => Some(unit),
        Some(Launch::Run(command)) => {
            program(command, "[application] run", findings);
            None
        }
        Some(Launch::Scripts { start, stop }) => {
            for script in [start, stop] {
                executable(script, findings);
            }
            None
        }
        None => None,
    };
    for unit in launched.into_iter().chain(units) {
        if !systemd {
            findings.error(format!("the unit {unit} needs systemd, which does not run here"), "use scripts or `run` in its place");
        }
    }
}

#[cfg(test)]
#[path = "tests/check.rs"]
mod tests;
