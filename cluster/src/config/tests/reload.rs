//! Every change is named, with when it takes effect.

use super::*;
use crate::config::tests::{CLUSTER, Folder, MODULE};
use crate::config::{load_cluster, load_module};

fn module(text: &str) -> Module {
    let folder = Folder::new();
    folder.module("m", text);
    let mut module = load_module(folder.path(), "m", &folder.cluster()).unwrap_or_else(|problems| panic!("{problems:?}"));
    // The same place for all: where a folder lies is no change.
    let home = module.folder.clone();
    if let Some(application) = &mut module.application
        && let crate::config::Launch::Scripts { start, stop } = &mut application.launch
    {
        (*start, *stop) = (start.strip_prefix(&home).unwrap().into(), stop.strip_prefix(&home).unwrap().into());
    }
    module
}

fn told(changes: &[Change]) -> String {
    changes.iter().map(|change| format!("{change}\n")).collect()
}

#[test]
fn nothing_changed() {
    assert_eq!(changes(&module(MODULE), &module(MODULE)), []);
    let folder = Folder::new();
    assert_eq!(cluster_changes(&folder.cluster(), &folder.cluster()), []);
}

#[test]
fn of_a_module() {
    let new = MODULE
        .replace("ack = \"memory\"", "ack = \"disk\"\nfailback = true\nresync_max_rate = \"1MB/s\"")
        .replace("\"/pg_stat_tmp/**\"", "\"/pg_stat/**\"")
        .replace("10.0.0.100/24", "10.0.0.101/24")
        .replace("stop_timeout = \"60s\"", "stop_timeout = \"90s\"")
        .replace("interval = \"5s\"", "interval = \"9s\"")
        + "[[check]]\nkind = \"ping\"\naddress = \"10.0.0.9\"\n[variables]\nX = \"1\"\n";
    insta::assert_snapshot!(told(&changes(&module(MODULE), &module(&new))));
}

#[test]
fn of_its_directories() {
    const RESTART: &str = "takes effect when the module is stopped on all its nodes and started again\n";
    let with = |more: &str| module(&MODULE.replace("[[virtual_ip]]", &format!("{more}[[virtual_ip]]")));
    let (wal, logs) = ("[[replicate]]\nname = \"wal\"\ndirectory = \"/wal\"\n", "[[replicate]]\nname = \"logs\"\ndirectory = \"/logs\"\n");
    assert_eq!(told(&changes(&with(""), &with(wal))), format!("replicate.wal: added, {RESTART}"));
    assert_eq!(told(&changes(&with(wal), &with(""))), format!("replicate.wal: removed, {RESTART}"));
    let order = format!("replicate (order): changed, {RESTART}");
    assert_eq!(told(&changes(&with(&format!("{wal}{logs}")), &with(&format!("{logs}{wal}")))), order);
    let moved = wal.replace("\"/wal\"", "\"/other\"");
    assert_eq!(told(&changes(&with(wal), &with(&moved))), format!("replicate.wal: changed, {RESTART}"));
}

#[test]
fn of_what_runs() {
    let (top, _) = MODULE.split_once("[application]").unwrap();
    let run = format!("{top}[application]\nrun = [\"/bin/x\"]\n");
    assert_eq!(
        told(&changes(&module(&run), &module(top))),
        "application: removed, takes effect when the module is stopped on all its nodes and started again\n"
    );
    let other = run.replace("/bin/x", "/bin/y");
    assert_eq!(
        told(&changes(&module(&run), &module(&other))),
        "application: changed, takes effect when the module is stopped on all its nodes and started again\n"
    );
}

#[test]
fn of_a_cluster() {
    let folder = Folder::new();
    let old = folder.cluster();
    let (top, _) = CLUSTER.split_once("[quorum]").unwrap();
    let new = top.replace("10.1.0.2", "10.1.0.3").replace("\"lan\"", "\"wan\"") + "[notify]\nwebhook = \"http://10.0.0.9/\"\n";
    folder.write("cluster.toml", &new);
    insta::assert_snapshot!(told(&cluster_changes(&old, &load_cluster(folder.path()).unwrap())));
}
