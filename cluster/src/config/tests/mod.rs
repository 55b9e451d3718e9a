//! Files on disk, good and bad, and what is said about them.

mod bad;
mod document;
mod good;
mod random;

use super::*;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// The two files of the contract.
pub(super) const CLUSTER: &str = r#"schema = 1
name = "demo"
key_file = "cluster.key"
profile = "lan"                            # lan | virtual | wan | fast: detection times; each can be set

[[node]]
name = "node1"
addresses = ["10.0.0.1", "10.1.0.1"]       # in order of networks; or a table per network with roles, bind and advertise addresses

[[node]]
name = "node2"
addresses = ["10.0.0.2", "10.1.0.2"]

[quorum]                                   # optional: without it, isolation lets both go on, and is healed afterwards by rule
kind = "witness"                           # witness | etcd | tiebreaker (a ping, weaker, said so)
address = "10.0.0.9:7409"
key_file = "witness.key"                   # authorises voting and nothing else; the witness holds one per cluster in --keys DIR
"#;

pub(super) const MODULE: &str = r#"schema = 1
kind = "mirror"                            # mirror | farm | service (one node, restart only)
nodes = ["node1", "node2"]
preferred_node = "node1"                   # optional; with failback = true it returns there once in sync
boot = "last"                              # on | off | last
ack = "memory"

[[replicate]]
name = "data"
directory = "/var/lib/postgresql/15/main"
exclude = ["/postmaster.pid", "/pg_stat_tmp/**"]   # anchored at the directory; ** crosses folders
require = ["PG_VERSION"]                   # must be there before the module starts as primary

[[virtual_ip]]
name = "service"
address = "10.0.0.100/24"
interface = "eth0"                         # optional: found by subnet

[application]
start = "start"                            # executable in the module's folder; returns when the application is started
stop = "stop"                              # called again with UNDERSTUDY_FORCE=1 when it outlives stop_timeout
# or: unit = "postgresql.service"          # or: run = ["/usr/bin/thing", "--flag"]  (kept in the foreground, watched)
start_timeout = "60s"
stop_timeout = "60s"
max_restarts = 3
restart_window = "24h"

[[check]]
name = "sql"
kind = "tcp"                               # tcp | ping | interface | process | http | unit | script | module
address = "10.0.0.100:5432"
interval = "5s"
timeout = "3s"
rise = 1
fall = 2
on_failure = "restart"                     # restart | failover | stop | wait | log
"#;

/// A configuration directory of its own.
pub(super) struct Folder(tempfile::TempDir);

impl Folder {
    /// With the contract's `cluster.toml`.
    pub(super) fn new() -> Folder {
        let folder = Folder(tempfile::tempdir().unwrap());
        folder.write("cluster.toml", CLUSTER);
        folder
    }

    pub(super) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(super) fn write(&self, path: &str, text: &str) -> PathBuf {
        let path = self.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path
    }

    pub(super) fn script(&self, path: &str) {
        let path = self.write(path, "#!/bin/sh\n");
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// A module's file, with the scripts `start` and `stop` beside it.
    pub(super) fn module(&self, name: &str, text: &str) {
        self.module_at(&format!("modules/{name}"), text);
    }

    pub(super) fn module_at(&self, folder: &str, text: &str) {
        self.write(&format!("{folder}/module.toml"), text);
        self.script(&format!("{folder}/start"));
        self.script(&format!("{folder}/stop"));
    }

    pub(super) fn cluster(&self) -> Cluster {
        load_cluster(self.path()).unwrap()
    }

    /// The problems as an operator reads them, with the directory left out.
    pub(super) fn told<T>(&self, outcome: Result<T, Vec<Problem>>) -> Vec<String> {
        let problems = outcome.err().unwrap_or_default();
        problems.iter().map(|problem| problem.to_string().replace(&format!("{}/", self.path().display()), "")).collect()
    }
}
