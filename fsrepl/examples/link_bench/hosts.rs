//! Two hosts on this machine: network namespaces joined by a veth pair.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::process::{Child, Command, Stdio};
use std::thread;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::Outcome;

const PRIMARY: &str = "192.0.2.1";
const SECONDARY: &str = "192.0.2.2";

/// A process that keeps one namespace alive, and ends when we do: its standard input closes.
struct Holder(Child);

impl Holder {
    fn new() -> Outcome<Self> {
        let mut child = Command::new("unshare")
            .args(["--net", "sh", "-c", "echo ready; exec cat"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let output = child.stdout.take().ok_or("no output")?;
        let holder = Self(child);
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line)?;
        if line.trim() != "ready" {
            return Err("cannot make a network namespace (are you root?)".into());
        }
        Ok(holder)
    }

    fn namespace(&self) -> String {
        format!("/proc/{}/ns/net", self.0.id())
    }

    fn ip(&self, arguments: &str) -> Outcome<()> {
        let status = Command::new("nsenter").arg(format!("--net={}", self.namespace())).arg("ip").args(arguments.split(' ')).status()?;
        if status.success() { Ok(()) } else { Err(format!("ip {arguments}: {status}").into()) }
    }

    /// Runs `action` in a thread inside the namespace; sockets made there belong to it.
    fn inside<T: Send>(&self, action: impl FnOnce() -> Outcome<T> + Send) -> Outcome<T> {
        let namespace = File::open(self.namespace())?;
        thread::scope(|scope| {
            let entered = scope.spawn(move || {
                move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
                action()
            });
            entered.join().map_err(|_| "a thread panicked")?
        })
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub struct Hosts {
    primary: Holder,
    secondary: Holder,
}

impl Hosts {
    pub fn new() -> Outcome<Self> {
        let hosts = Self { primary: Holder::new()?, secondary: Holder::new()? };
        let far = hosts.secondary.0.id();
        hosts.primary.ip(&format!("link add wire type veth peer name wire netns {far}"))?;
        for (host, address) in [(&hosts.primary, PRIMARY), (&hosts.secondary, SECONDARY)] {
            host.ip(&format!("addr add {address}/24 dev wire"))?;
            host.ip("link set wire up")?;
        }
        Ok(hosts)
    }

    /// One connection: the primary's end and the secondary's.
    pub fn connect(&self) -> Outcome<(TcpStream, TcpStream)> {
        let listener = self.secondary.inside(|| Ok(TcpListener::bind((SECONDARY, 0))?))?;
        let address = listener.local_addr()?;
        let near = self.primary.inside(|| Ok(TcpStream::connect(address)?))?;
        Ok((near, listener.accept()?.0))
    }
}
