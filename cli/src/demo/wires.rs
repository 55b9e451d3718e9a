//! Three networks: two between the nodes, and one where the witness and the clients are. Their switches are in the
//! host outside, so that a cut cable looks to both ends as it would in a rack.

use super::failed;
use super::hosts::Host;
use fsrepl::report::{Failure, FailureKind};
use std::io::Write;
use std::process::{Command, Stdio};

pub const NETWORKS: usize = 3;
/// The one with witness and clients.
const SERVICE: usize = 2;

/// A node's address in a network.
pub fn address(network: usize, node: usize) -> String {
    format!("10.99.{network}.{}", node + 1)
}

/// Of the host outside.
pub const OUTSIDE: &str = "10.99.2.9";
/// Moves with the module.
pub const VIRTUAL: &str = "10.99.2.100";

fn port(network: usize, node: usize) -> String {
    format!("n{}p{network}", node + 1)
}

/// The switches, and the outside's own address.
pub fn switches(outside: &Host) -> Result<(), Failure> {
    let mut lines = String::new();
    for network in 0..NETWORKS {
        lines += &format!("link add br{network} type bridge\nlink set br{network} up\n");
    }
    lines += &format!("address add {OUTSIDE}/24 dev br{SERVICE}\n");
    batch(outside.command("ip"), &lines)
}

/// Plugs a node in, `eth0` to `eth2`.
pub fn plug(outside: &Host, host: &Host, node: usize) -> Result<(), Failure> {
    let (mut cables, mut ports, mut own) = (String::new(), String::new(), String::new());
    for network in 0..NETWORKS {
        let port = port(network, node);
        cables += &format!("link add {port} netns {} type veth peer name eth{network} netns {}\n", outside.pid(), host.pid());
        ports += &format!("link set {port} master br{network} up\n");
        own += &format!("address add {}/24 dev eth{network}\nlink set eth{network} up\n", address(network, node));
    }
    batch(Command::new("ip"), &cables)?;
    batch(outside.command("ip"), &ports)?;
    batch(host.command("ip"), &own)
}

/// The cables of a node: all of them, or those between the nodes.
#[derive(Clone, Copy)]
pub enum Cables {
    All,
    Between,
}

/// Pulls them at the switches, or plugs them in again.
pub fn set(outside: &Host, node: usize, cables: Cables, up: bool) -> Result<(), Failure> {
    let to = if up { "up" } else { "down" };
    let count = if matches!(cables, Cables::All) { NETWORKS } else { SERVICE };
    let lines: String = (0..count).map(|network| format!("link set {} {to}\n", port(network, node))).collect();
    batch(outside.command("ip"), &lines)
}

/// Takes the cables of a dead node away: the kernel may hold on to its ends for a while.
pub fn unplug(outside: &Host, node: usize) {
    for network in 0..NETWORKS {
        // Whatever is gone already is no failure.
        let mut command = outside.command("ip");
        let _ = command.args(["link", "delete", &port(network, node)]).stderr(Stdio::null()).status();
    }
}

fn batch(mut command: Command, lines: &str) -> Result<(), Failure> {
    let cannot = failed("cannot run `ip`");
    let command = command.args(["-batch", "-"]).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(cannot)?;
    if let Some(mut input) = child.stdin.take() {
        input.write_all(lines.as_bytes()).map_err(cannot)?;
    }
    let output = child.wait_with_output().map_err(cannot)?;
    if output.status.success() {
        return Ok(());
    }
    let why = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    let cure = "check that the kernel has veth and bridge (modprobe veth bridge)";
    Err(Failure::new(FailureKind::Failed, "cannot connect the hosts", why, cure))
}
