//! Hosts on a switch: network namespaces without names on a bridge. A namespace lives as long as a descriptor or a
//! thread holds it, so there is nothing to remove, also after a failure.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::fd::AsFd;
use std::process::{Command, Stdio};

/// One host's network.
#[derive(Clone)]
pub struct Host(std::sync::Arc<File>);

/// A switch with hosts on it. Host `n` has `eth0` with 10.9.0.N/16 and fd09::N/64.
pub struct Lan {
    switch: Host,
    pub hosts: Vec<Host>,
}

impl Host {
    fn new() -> (Host, std::process::Child) {
        let mut holder = Command::new("unshare")
            .args(["--net", "sh", "-c", "echo up; exec sleep infinity"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("unshare is there, and the tests run as root");
        let mut line = String::new();
        BufReader::new(holder.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let net = File::open(format!("/proc/{}/ns/net", holder.id())).unwrap();
        (Host(net.into()), holder)
    }

    /// Makes the calling thread, and what it starts, live on this host.
    pub fn enter(&self) {
        rustix::thread::move_into_link_name_space(self.0.as_fd(), Some(rustix::thread::LinkNameSpaceType::Network)).unwrap();
    }

    /// Runs `work` on this host.
    pub fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                self.enter();
                work()
            });
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Runs a command that must succeed, with `input`; gives its output.
    pub fn run(&self, command: &str, input: &str) -> String {
        self.inside(|| {
            let mut words = command.split_whitespace();
            let mut child = Command::new(words.next().unwrap())
                .args(words)
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap();
            child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
            let output = child.wait_with_output().unwrap();
            assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
            String::from_utf8(output.stdout).unwrap()
        })
    }

    pub fn ip(&self, lines: &str) {
        self.run("ip -batch -", lines);
    }
}

impl Lan {
    pub fn new(count: usize) -> Lan {
        let (switch, mut holder) = Host::new();
        switch.ip("link add br0 type bridge\nlink set br0 up\nlink add br1 type bridge\nlink set br1 up\n");
        let hosts = (1..=count).map(|number| plug(&switch, number)).collect();
        holder.kill().unwrap();
        holder.wait().unwrap();
        Lan { switch, hosts }
    }

    /// Moves host `number` to another switch, or back.
    pub fn part(&self, number: usize, apart: bool) {
        self.switch.ip(&format!("link set p{number} master br{}\n", u8::from(apart)));
    }

    /// Pulls the cable of host `number`, counted from 1, or puts it back.
    pub fn cable(&self, number: usize, plugged: bool) {
        self.switch.ip(&format!("link set p{number} {}\n", if plugged { "up" } else { "down" }));
    }
}

fn plug(switch: &Host, number: usize) -> Host {
    let (host, mut holder) = Host::new();
    let pid = holder.id();
    switch.ip(&format!("link add p{number} type veth peer name eth0 netns {pid}\nlink set p{number} master br0\nlink set p{number} up\n"));
    host.ip(&format!(
        "link set lo up\nlink set eth0 up\naddress add 10.9.0.{number}/16 dev eth0\naddress add fd09::{number}/64 dev eth0 nodad\n"
    ));
    holder.kill().unwrap();
    holder.wait().unwrap();
    host
}
