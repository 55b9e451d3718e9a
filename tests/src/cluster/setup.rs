//! What a cluster of the scenarios is like: words of its configuration.

use super::{MODULE, PORT};
use crate::lab::hand;
use std::fs;
use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// The words that scenarios change.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Detection times.
    pub profile: &'static str,
    /// A witness on the hub decides between isolated nodes.
    pub witness: bool,
    /// Networks between the nodes: 1 or 2.
    pub networks: usize,
    /// Failures of the application that are answered by a restart in place.
    pub max_restarts: u32,
    /// The module's check: its `on_failure`.
    pub check: Option<&'static str>,
    /// Replicated directories: 1 or 2.
    pub directories: usize,
    /// A script moves the address: it only notes `NODE WORD ADDRESS` in `moves`, and fails on a node while `NODE.stuck` is there.
    pub scripted: bool,
    /// Most bytes per second of a resync.
    pub resync_max_rate: Option<&'static str>,
    /// Modules, alike, each with a directory, an address and a port of its own.
    pub modules: usize,
}

impl Setup {
    /// One module of one directory, one network, nobody who decides between isolated nodes.
    pub const USUAL: Setup = Setup {
        profile: "lan",
        witness: false,
        networks: 1,
        max_restarts: 3,
        check: None,
        directories: 1,
        scripted: false,
        resync_max_rate: None,
        modules: 1,
    };
}

impl Default for Setup {
    fn default() -> Setup {
        Setup::USUAL
    }
}

/// Name of module `number`.
pub fn name(number: usize) -> String {
    if number == 0 { MODULE.to_owned() } else { format!("{MODULE}{number}") }
}

/// What module `number` replicates; several modules have theirs in the first directory of all.
pub fn directories(setup: &Setup, data: &[PathBuf], number: usize) -> Vec<PathBuf> {
    if setup.modules == 1 { data.to_vec() } else { vec![data[0].join(name(number))] }
}

/// Where its application listens.
pub fn port(number: usize) -> u16 {
    PORT + number as u16
}

/// The virtual address of module `number`, after that of the first.
pub fn address(first: Ipv4Addr, number: usize) -> Ipv4Addr {
    Ipv4Addr::from_bits(first.to_bits() + number as u32)
}

/// Where everything is.
pub struct Places<'a> {
    /// Configuration of one node.
    pub config: &'a Path,
    /// What is replicated: directories.
    pub data: &'a [PathBuf],
    /// Of the cluster, and of the witness.
    pub keys: [&'a Path; 2],
    /// Per network, both nodes' addresses.
    pub networks: &'a [[Ipv4Addr; 2]],
    /// The witness.
    pub hub: Ipv4Addr,
    /// The virtual address.
    pub address: Ipv4Addr,
    /// A directory for files `NODE.sick`: the check fails on that node while its file is there.
    pub sick: &'a Path,
}

/// Writes the configuration of a node.
pub fn write(setup: &Setup, places: &Places) {
    for number in 0..setup.modules {
        write_module(setup, places, number);
    }
    fs::write(places.config.join("cluster.toml"), cluster(setup, places)).expect("write cluster.toml");
}

fn write_module(setup: &Setup, places: &Places, number: usize) {
    let module = places.config.join("modules").join(name(number));
    fs::create_dir_all(&module).expect("create the module's folder");
    fs::write(module.join("module.toml"), module_toml(setup, places, number)).expect("write module.toml");
    let script = format!("#!/bin/sh\n[ ! -e {}/$UNDERSTUDY_NODE.sick ]\n", places.sick.display());
    executable(&module.join("well"), &script);
    let sick = places.sick.display();
    executable(
        &module.join("move"),
        &format!("#!/bin/sh\necho \"$UNDERSTUDY_NODE $1 $2\" >> {sick}/moves\n[ ! -e {sick}/$UNDERSTUDY_NODE.stuck ]\n"),
    );
}

fn executable(path: &Path, script: &str) {
    fs::write(path, script).expect("write a script");
    fs::set_permissions(path, PermissionsExt::from_mode(0o755)).expect("make it executable");
}

fn cluster(setup: &Setup, places: &Places) -> String {
    let mut text = format!("schema = 1\nname = \"lab\"\nkey_file = \"{}\"\nprofile = \"{}\"\n", places.keys[0].display(), setup.profile);
    for (number, name) in ["a", "b"].iter().enumerate() {
        let addresses: Vec<String> = places.networks.iter().map(|network| format!("\"{}\"", network[number])).collect();
        text += &format!("\n[[node]]\nname = \"{name}\"\naddresses = [{}]\n", addresses.join(", "));
    }
    if setup.witness {
        text +=
            &format!("\n[quorum]\nkind = \"witness\"\naddress = \"{}:7409\"\nkey_file = \"{}\"\n", places.hub, places.keys[1].display());
    }
    text
}

fn module_toml(setup: &Setup, places: &Places, number: usize) -> String {
    let data = directories(setup, places.data, number);
    let data: Vec<String> = data.iter().map(|place| format!("\"{}\"", place.display())).collect();
    let rate = setup.resync_max_rate.map(|rate| format!("resync_max_rate = \"{rate}\"\n")).unwrap_or_default();
    let mut text = format!("schema = 1\nkind = \"mirror\"\nnodes = [\"a\", \"b\"]\n{rate}");
    data.iter().for_each(|place| text += &format!("\n[[replicate]]\ndirectory = {place}\n"));
    text += &format!(
        "\n[[virtual_ip]]\naddress = \"{}/24\"\n{}\n\
         [application]\nrun = [\"{}\", \"till\", \"0.0.0.0:{}\", {}]\nmax_restarts = {}\n",
        address(places.address, number),
        if setup.scripted { "script = \"move\"\n" } else { "" },
        hand().display(),
        port(number),
        data.join(", "),
        setup.max_restarts
    );
    if let Some(on_failure) = setup.check {
        text += &format!(
            "\n[[check]]\nname = \"well\"\nkind = \"script\"\nscript = \"well\"\ninterval = \"300ms\"\ntimeout = \"300ms\"\non_failure = \"{on_failure}\"\n"
        );
    }
    text
}
