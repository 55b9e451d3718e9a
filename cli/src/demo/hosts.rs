//! Two hosts on one machine: own network, mounts, processes and host name each, and a cable between them.
//!
//! The namespaces have no names. A host lives as long as its first process, which ends when the
//! demo does, however that happens: nothing is left to remove.

use super::failed;
use fsrepl::report::{Failure, FailureKind};
use rustix::process::{Pid, Signal, kill_process};
use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

/// Both ends see the cable as this.
const INTERFACE: &str = "eth0";
const NAMESPACES: [&str; 5] = ["--mount", "--uts", "--ipc", "--net", "--pid"];

/// What the demo needs from the machine, checked before anything is made.
pub fn prerequisites() -> Result<(), Failure> {
    if !rustix::process::geteuid().is_root() {
        return Err(missing("it makes network and mount namespaces", "run it as root"));
    }
    for (program, package) in [("ip", "iproute2"), ("unshare", "util-linux"), ("nsenter", "util-linux")] {
        if Command::new(program).arg("-V").stdin(Stdio::null()).output().is_err() {
            return Err(missing(&format!("`{program}` is not there"), &format!("install it: apt install {package}")));
        }
    }
    if !std::path::Path::new("/dev/fuse").exists() {
        return Err(missing("/dev/fuse is not there", "load it: modprobe fuse"));
    }
    Ok(())
}

fn missing(why: &str, cure: &str) -> Failure {
    Failure::new(FailureKind::Failed, "the demo cannot run", why, cure)
}

/// One of the two hosts.
pub struct Host {
    name: &'static str,
    /// `unshare`, the parent of the host's first process.
    holder: Child,
    init: Pid,
    keep: bool,
}

impl Host {
    /// With `keep`, the host outlives this process.
    pub fn start(name: &'static str, keep: bool) -> Result<Host, Failure> {
        let wait = if keep { "sleep infinity" } else { "cat" };
        let script = format!("echo {name} >/proc/sys/kernel/hostname; ip link set lo up; echo up; exec {wait} >/dev/null");
        let mut holder = Command::new("unshare")
            .args(NAMESPACES)
            .args(["--fork", "--kill-child", "--mount-proc", "sh", "-c", &script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .map_err(failed("cannot make a host"))?;
        let mut up = String::new();
        if let Some(out) = holder.stdout.take() {
            BufReader::new(out).read_line(&mut up).map_err(failed("cannot make a host"))?;
        }
        match first_child(&holder).filter(|_| up == "up\n") {
            Some(init) => Ok(Host { name, holder, init, keep: false }),
            None => {
                let _ = holder.kill();
                let _ = holder.wait();
                Err(missing("namespaces are refused", "run it as root, outside of restricted containers"))
            }
        }
    }

    /// A command that runs inside this host, in a process group of its own: a terminal's interrupt
    /// reaches the demo alone, which then ends everything in order.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command.arg("--target").arg(self.pid().to_string()).args(NAMESPACES).arg("--").arg(program);
        command.stdin(Stdio::null()).process_group(0);
        command
    }

    /// The first process of the host, as this machine numbers it.
    pub fn pid(&self) -> i32 {
        self.init.as_raw_nonzero().get()
    }

    /// SIGKILL to every process of the host at once.
    pub fn kill(&mut self) {
        // The kernel ends a process namespace with its first process, none of the others can react.
        let _ = kill_process(self.init, Signal::KILL);
        let _ = self.holder.wait();
    }

    /// From now on the host outlives the demo.
    pub fn keep(&mut self) {
        self.keep = true;
    }

    /// Cuts the cable at this end.
    pub fn link_down(&self) {
        let _ = self.ip(&["link", "set", INTERFACE, "down"]);
    }

    fn link_up(&self, address: &str) -> Result<(), Failure> {
        self.ip(&["address", "add", &format!("{address}/24"), "dev", INTERFACE])?;
        self.ip(&["link", "set", INTERFACE, "up"])
    }

    fn ip(&self, args: &[&str]) -> Result<(), Failure> {
        ip(self.command("ip").args(args), self.name)
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if !self.keep {
            self.kill();
        }
    }
}

/// Lays a cable between two hosts.
pub fn connect(a: &Host, address_a: &str, b: &Host, address_b: &str) -> Result<(), Failure> {
    let (pid_a, pid_b) = (a.pid().to_string(), b.pid().to_string());
    let add = ["link", "add", INTERFACE, "netns", &pid_a, "type", "veth", "peer", "name", INTERFACE, "netns", &pid_b];
    ip(Command::new("ip").args(add), "this machine")?;
    a.link_up(address_a)?;
    b.link_up(address_b)
}

fn ip(command: &mut Command, place: &str) -> Result<(), Failure> {
    let output = command.output().map_err(failed("cannot run `ip`"))?;
    if output.status.success() {
        return Ok(());
    }
    let why = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(Failure::new(
        FailureKind::Failed,
        format!("cannot connect the hosts (`ip` on {place})"),
        why,
        "check that the kernel has veth (modprobe veth)",
    ))
}

/// `unshare` forks once; `/proc/PID/task/PID/children` would need a kernel option.
fn first_child(parent: &Child) -> Option<Pid> {
    let wanted = format!("PPid:\t{}", parent.id());
    let processes = std::fs::read_dir("/proc").ok()?;
    processes.flatten().find_map(|entry| {
        let pid: i32 = entry.file_name().to_str()?.parse().ok()?;
        let status = std::fs::read_to_string(entry.path().join("status")).ok()?;
        status.lines().any(|line| line == wanted).then(|| Pid::from_raw(pid)).flatten()
    })
}
