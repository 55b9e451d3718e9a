//! Two hosts on this machine: network namespaces without names, joined by a veth pair.
//!
//! A namespace lives as long as a file descriptor or a process holds it, so there is nothing to remove.

use anyhow::{Context, Result, bail};
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::AsFd;
use std::process::{Child, Command, Stdio};

const A: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
const B: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);

/// One host's network.
#[derive(Debug)]
pub struct Host {
    net: File,
    ip: Ipv4Addr,
}

/// The primary's and the secondary's host.
#[derive(Debug)]
pub struct Hosts {
    /// Runs what the application uses.
    pub a: Host,
    /// Runs the replica.
    pub b: Host,
}

impl Host {
    /// Address of this host at `port`.
    pub fn at(&self, port: u16) -> SocketAddr {
        SocketAddr::new(IpAddr::V4(self.ip), port)
    }

    /// Runs `work` on this host's network: sockets it opens and processes it starts stay there.
    pub fn inside<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                rustix::thread::move_into_link_name_space(self.net.as_fd(), Some(rustix::thread::LinkNameSpaceType::Network))
                    .context("cannot enter the network namespace")?;
                work()
            });
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    fn ip(&self, args: &[&str]) -> Result<()> {
        self.inside(|| run(Command::new("ip").args(args)).map(drop))
    }
}

impl Hosts {
    /// Two fresh hosts that see each other and nothing else.
    pub fn new() -> Result<Hosts> {
        let (a, mut holder_a) = namespace(A)?;
        let (b, mut holder_b) = namespace(B)?;
        let joined = join(&a, &b, &holder_b.id().to_string());
        for holder in [&mut holder_a, &mut holder_b] {
            holder.kill()?;
            holder.wait()?;
        }
        joined?;
        Ok(Hosts { a, b })
    }
}

fn join(a: &Host, b: &Host, b_pid: &str) -> Result<()> {
    a.ip(&["link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns", b_pid])?;
    for host in [a, b] {
        let address = format!("{}/24", host.ip);
        host.ip(&["link", "set", "lo", "up"])?;
        host.ip(&["address", "add", &address, "dev", "eth0"])?;
        host.ip(&["link", "set", "eth0", "up"])?;
    }
    Ok(())
}

/// A namespace, and the process that holds it until its descriptor is open.
fn namespace(ip: Ipv4Addr) -> Result<(Host, Child)> {
    let mut holder = Command::new("unshare")
        .args(["--net", "sh", "-c", "echo up; exec sleep infinity"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start `unshare`: install util-linux")?;
    let out = holder.stdout.take().context("the namespace's holder has no output")?;
    let mut line = String::new();
    BufReader::new(out).read_line(&mut line)?;
    if line.trim() != "up" {
        bail!("cannot make a network namespace");
    }
    let net = File::open(format!("/proc/{}/ns/net", holder.id()))?;
    Ok((Host { net, ip }, holder))
}

/// Runs a command to its end and gives its output; its error output is in the error.
pub fn run(command: &mut Command) -> Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("cannot start `{name}`"))?;
    if !output.status.success() {
        bail!("`{name}` failed ({}): {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
