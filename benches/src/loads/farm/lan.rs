//! Hosts on a switch: network namespaces without names, that live as long as somebody holds them.

use crate::hosts::run;
use anyhow::{Context, Result};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::os::fd::AsFd;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

/// One host's network.
#[derive(Clone)]
pub struct Host(Arc<File>);

/// A switch; host `n`, counted from 1, has `eth0` with 10.9.0.N/16.
pub struct Lan {
    switch: Host,
    /// The hosts.
    pub hosts: Vec<Host>,
}

impl Host {
    fn new() -> Result<(Host, Child)> {
        let mut holder = Command::new("unshare")
            .args(["--net", "sh", "-c", "echo up; exec sleep infinity"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start `unshare`: install util-linux")?;
        let mut line = String::new();
        BufReader::new(holder.stdout.take().context("the holder has no output")?).read_line(&mut line)?;
        let net = File::open(format!("/proc/{}/ns/net", holder.id()))?;
        Ok((Host(Arc::new(net)), holder))
    }

    /// The calling thread, and what it starts, live on this host from now on.
    pub fn enter(&self) -> Result<()> {
        move_into_link_name_space(self.0.as_fd(), Some(LinkNameSpaceType::Network)).context("cannot enter the network namespace")
    }

    fn ip(&self, lines: &[String]) -> Result<()> {
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                self.enter()?;
                lines.iter().try_for_each(|line| run(Command::new("ip").args(line.split_whitespace())).map(drop))
            });
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }
}

impl Lan {
    /// `count` hosts.
    pub fn new(count: usize) -> Result<Lan> {
        let (switch, mut holder) = Host::new()?;
        switch.ip(&["link add br0 type bridge".into(), "link set br0 up".into()])?;
        let hosts = (1..=count).map(|number| plug(&switch, number)).collect::<Result<_>>();
        end(&mut holder)?;
        Ok(Lan { switch, hosts: hosts? })
    }

    /// Pulls the cable of host `number`, or puts it back.
    pub fn cable(&self, number: usize, plugged: bool) -> Result<()> {
        self.switch.ip(&[format!("link set p{number} {}", if plugged { "up" } else { "down" })])
    }
}

fn plug(switch: &Host, number: usize) -> Result<Host> {
    let (host, mut holder) = Host::new()?;
    let pid = holder.id();
    switch.ip(&[
        format!("link add p{number} type veth peer name eth0 netns {pid}"),
        format!("link set p{number} master br0"),
        format!("link set p{number} up"),
    ])?;
    let own = ["link set lo up".into(), "link set eth0 up".into(), format!("address add 10.9.0.{number}/16 dev eth0")];
    host.ip(&own)?;
    end(&mut holder)?;
    Ok(host)
}

fn end(holder: &mut Child) -> Result<()> {
    holder.kill()?;
    holder.wait()?;
    Ok(())
}
