//! Hosts: each has its own network, mounts, processes and name, and can lose its power or a link.
//!
//! A host lives as long as its first process, and that one lives as long as a pipe from the test
//! process: whatever ends the test ends its hosts, and the kernel takes interfaces and mounts
//! with the namespaces. Nothing has to be cleaned up by name.

use crate::lab::{Lab, hand};
use rustix::process::{Pid, Signal, kill_process};
use std::ffi::OsStr;
use std::fs;
use std::io::Read;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

/// One machine.
#[derive(Debug)]
pub struct Host {
    /// Its name within the scenario, also its host name (`us-PID-N-NAME`).
    pub name: String,
    /// Its own directory on the real disk (shared by nobody else).
    pub dir: PathBuf,
    lab: Arc<Lab>,
    unshare: Child,
    init: i32,
    nics: AtomicU8,
}

/// A cable between two hosts.
#[derive(Clone, Copy, Debug)]
pub struct Link {
    /// Interface number on the first host, and its address.
    pub first: (u8, Ipv4Addr),
    /// The same on the second.
    pub second: (u8, Ipv4Addr),
}

impl Lab {
    /// Starts a host.
    pub fn host(self: &Arc<Lab>, name: &str) -> Host {
        let dir = self.dir.join(name);
        fs::create_dir_all(&dir).expect("create the host's directory");
        let log = fs::File::create(self.dir.join(format!("{name}-host.log"))).expect("create the host's log");
        let mut unshare = Command::new("unshare")
            .args(["--net", "--mount", "--pid", "--ipc", "--uts", "--fork", "--kill-child", "--mount-proc"])
            .arg(hand())
            .arg("init")
            .arg(format!("us-{}-{name}", short(&self.id)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .expect("run unshare");
        let mut line = [0; 3];
        let stdout = unshare.stdout.as_mut().expect("stdout is piped");
        stdout.read_exact(&mut line).expect("the host's first process did not start: are the tests run as root?");
        let init = only_child(unshare.id()).expect("unshare has forked");
        self.register(init);
        let host = Host { name: name.to_owned(), dir, lab: self.clone(), unshare, init, nics: AtomicU8::new(0) };
        host.run(["ip", "link", "set", "lo", "up"]);
        host
    }

    /// Lays a cable between two hosts: network `10.77.N.0/24`, the first host is `.1`.
    pub fn link(&self, first: &Host, second: &Host) -> Link {
        let network = new_network();
        let ends = self.cable(first, second);
        let link = Link { first: (ends[0], Ipv4Addr::new(10, 77, network, 1)), second: (ends[1], Ipv4Addr::new(10, 77, network, 2)) };
        for (host, (number, address)) in [(first, link.first), (second, link.second)] {
            host.run(["ip", "address", "add", &format!("{address}/24"), "dev", &nic(number)]);
            host.run(["ip", "link", "set", &nic(number), "up"]);
        }
        link
    }

    /// A cable without addresses, and both ends down; the numbers of the interfaces.
    pub fn cable(&self, first: &Host, second: &Host) -> [u8; 2] {
        let ends = [first, second].map(|host| host.nics.fetch_add(1, Ordering::Relaxed));
        let status = Command::new("ip")
            .args(["link", "add", "name", &nic(ends[0]), "netns", &first.init.to_string()])
            .args(["type", "veth", "peer", "name", &nic(ends[1]), "netns", &second.init.to_string()])
            .status()
            .expect("run ip");
        assert!(status.success(), "no veth pair");
        ends
    }
}

/// Number of a network that no other hosts of this test process have.
pub fn new_network() -> u8 {
    static NETWORK: AtomicU8 = AtomicU8::new(0);
    NETWORK.fetch_add(1, Ordering::Relaxed)
}

impl Host {
    /// Every process of the host, as this machine numbers it, with its command line; not its first process.
    pub fn processes(&self) -> Vec<(i32, String)> {
        let space = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
        let Some(own) = space(&self.init.to_string()) else { return Vec::new() };
        let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
        let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
        let pids = names.filter_map(|name| name.parse::<i32>().ok().filter(|&pid| pid != self.init && space(&name).as_ref() == Some(&own)));
        let line = |pid: i32| {
            let bytes = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            (pid, String::from_utf8_lossy(&bytes).replace('\0', " "))
        };
        pids.map(line).collect()
    }

    /// A command that will run inside this host.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.init.to_string(), "--net", "--mount", "--pid", "--ipc", "--uts", "--"]).arg(program);
        command
    }

    /// Runs a command to its end, whatever that is.
    pub fn try_run<S: AsRef<OsStr>>(&self, words: impl IntoIterator<Item = S>) -> Output {
        let mut words = words.into_iter();
        let program = words.next().expect("a command has a name");
        self.command(program).args(words).stdin(Stdio::null()).output().expect("run nsenter")
    }

    /// Runs a command that must succeed; gives its standard output.
    pub fn run<S: AsRef<OsStr>>(&self, words: impl IntoIterator<Item = S>) -> String {
        let words: Vec<_> = words.into_iter().map(|w| w.as_ref().to_owned()).collect();
        let output = self.try_run(&words);
        let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}: {words:?}: {}\n{stdout}{stderr}", self.name, output.status);
        stdout
    }

    /// `path` as this host sees it, for the test process. Gone when the host is.
    pub fn view(&self, path: &Path) -> PathBuf {
        let relative = path.strip_prefix("/").expect("paths on hosts are absolute");
        Path::new("/proc").join(self.init.to_string()).join("root").join(relative)
    }

    /// Ends every process of the host at once, as a power cut does (what was written stays).
    pub fn power_off(&mut self) {
        self.lab.forget(self.init);
        kill(self.init, Signal::KILL);
        let _ = self.unshare.wait();
    }

    /// The process everything on this host depends on: SIGKILL to it is a power cut.
    pub fn first_process(&self) -> i32 {
        self.init
    }

    /// True until the power is off.
    pub fn is_up(&self) -> bool {
        Path::new("/proc").join(self.init.to_string()).join("root/proc").exists()
    }

    /// Drops everything that arrives on interface `number`: one direction of the link is cut.
    pub fn deafen(&self, number: u8) {
        let rules = format!(
            "table netdev cut{number} {{ chain in {{ type filter hook ingress device \"{}\" priority 0; policy drop; }}\n}}\n",
            nic(number)
        );
        self.nft(&rules);
    }

    /// Ends `deafen`.
    pub fn undeafen(&self, number: u8) {
        self.nft(&format!("delete table netdev cut{number}\n"));
    }

    /// Pulls the plug of interface `number` (both sides notice), or puts it back.
    pub fn set_link(&self, number: u8, up: bool) {
        self.run(["ip", "link", "set", &nic(number), if up { "up" } else { "down" }]);
    }

    fn nft(&self, rules: &str) {
        let file = self.dir.join("rules.nft");
        fs::write(&file, rules).expect("write the rules");
        self.run([OsStr::new("nft"), OsStr::new("-f"), file.as_os_str()]);
    }

    /// A file system of its own in a file, mounted in this host only; gives its mount point.
    pub fn small_disk(&self, name: &str, kind: &str, megabytes: u64) -> PathBuf {
        let image = self.dir.join(format!("{name}.img"));
        let file = fs::File::create(&image).expect("create the image");
        file.set_len(megabytes << 20).expect("size the image");
        let tool = format!("mkfs.{kind}");
        let quiet = if kind == "ext4" { ["-q", "-F"] } else { ["-q", "-f"] };
        self.run([OsStr::new(&tool), OsStr::new(quiet[0]), OsStr::new(quiet[1]), image.as_os_str()]);
        let at = self.dir.join(name);
        fs::create_dir_all(&at).expect("create the mount point");
        self.run([OsStr::new("mount"), OsStr::new("-o"), OsStr::new("loop"), image.as_os_str(), at.as_os_str()]);
        // The new file system is to be an empty directory.
        let _ = fs::remove_dir(self.view(&at).join("lost+found"));
        at
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.power_off();
    }
}

impl Link {
    /// An address on the second host.
    pub fn second_socket(&self, port: u16) -> SocketAddr {
        SocketAddr::new(IpAddr::V4(self.second.1), port)
    }

    /// An address on the first host.
    pub fn first_socket(&self, port: u16) -> SocketAddr {
        SocketAddr::new(IpAddr::V4(self.first.1), port)
    }
}

/// Sends a signal; a process that has ended already is no error.
pub fn kill(pid: i32, signal: Signal) {
    if let Some(pid) = Pid::from_raw(pid) {
        let _ = kill_process(pid, signal);
    }
}

/// The one child of process `pid`, once it has one.
pub fn only_child(pid: u32) -> Option<i32> {
    let path = format!("/proc/{pid}/task/{pid}/children");
    let text = fs::read_to_string(path).ok()?;
    text.split_whitespace().next()?.parse().ok()
}

/// Name of interface `number`.
pub fn nic(number: u8) -> String {
    format!("eth{number}")
}

/// `PID-N` of a laboratory's id: host names end at 64 bytes.
fn short(id: &str) -> String {
    id.splitn(3, '-').take(2).collect::<Vec<_>>().join("-")
}
