//! Hosts on one machine: own network, mounts, processes and host name each.
//!
//! The namespaces have no names. A host lives as long as its first process, which ends when the
//! demo does, however that happens: nothing is left to remove.

use super::{failed, init};
use fsrepl::report::{Failure, FailureKind};
use rustix::process::{Pid, Signal, kill_process};
use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

const NAMESPACES: [&str; 5] = ["--mount", "--uts", "--ipc", "--net", "--pid"];
/// A process that is being made while its host is paused is found in the next round.
const PAUSE_ROUNDS: usize = 20;

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
    if !Path::new("/dev/fuse").exists() {
        return Err(missing("/dev/fuse is not there", "load it: modprobe fuse"));
    }
    Ok(())
}

/// Something of the machine is not there.
pub fn missing(why: &str, cure: &str) -> Failure {
    Failure::new(FailureKind::Failed, "the demo cannot run", why, cure)
}

/// One host.
pub struct Host {
    name: &'static str,
    /// `unshare`, the parent of the host's first process.
    holder: Child,
    init: Pid,
    keep: bool,
}

impl Host {
    /// With `keep`, the host can outlive this process.
    pub fn start(name: &'static str, exe: &Path, keep: bool) -> Result<Host, Failure> {
        let mut command = Command::new("unshare");
        command.args(NAMESPACES).args(["--fork", "--kill-child", "--mount-proc"]).arg(exe).args(["demo-part", "host", name]);
        if keep {
            command.arg("--keep");
        }
        let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).process_group(0);
        let mut holder = command.spawn().map_err(failed("cannot make a host"))?;
        let mut up = String::new();
        if let Some(out) = holder.stdout.take() {
            BufReader::new(out).read_line(&mut up).map_err(failed("cannot make a host"))?;
        }
        match first_child(&holder).filter(|_| up == init::UP) {
            Some(init) => Ok(Host { name, holder, init, keep: false }),
            None => {
                let _ = holder.kill();
                let _ = holder.wait();
                Err(missing("namespaces are refused", "run it as root, outside of restricted containers"))
            }
        }
    }

    pub fn name(&self) -> &'static str {
        self.name
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
        let entered = self.entered();
        // The kernel ends a process namespace with its first process, none of the others can react.
        let _ = kill_process(self.init, Signal::KILL);
        // It is over when the last of its processes has been collected by its parent.
        signal(&entered, Signal::CONT);
        let _ = self.holder.wait();
    }

    /// SIGSTOP to every process of the host.
    pub fn pause(&self) {
        let mut paused = Vec::new();
        for _ in 0..PAUSE_ROUNDS {
            let new: Vec<Pid> = self.processes().into_iter().filter(|pid| !paused.contains(pid)).collect();
            if new.is_empty() {
                break;
            }
            signal(&new, Signal::STOP);
            paused.extend(new);
        }
    }

    /// SIGCONT to every process of the host.
    pub fn resume(&self) {
        signal(&self.processes(), Signal::CONT);
        signal(&self.entered(), Signal::CONT);
    }

    /// All processes of the host but its first, which runs nothing.
    fn processes(&self) -> Vec<Pid> {
        self.found("pid", |_| true)
    }

    /// Processes of this machine whose children are the host's: `nsenter` stops when its child is stopped.
    fn entered(&self) -> Vec<Pid> {
        let inside = self.processes();
        self.found("pid_for_children", |pid| !inside.contains(&pid))
    }

    /// Processes with this namespace of the host's.
    fn found(&self, kind: &str, wanted: impl Fn(Pid) -> bool) -> Vec<Pid> {
        let Ok(own) = fs::read_link(format!("/proc/{}/ns/pid", self.pid())) else { return Vec::new() };
        let all = fs::read_dir("/proc").into_iter().flatten().flatten();
        let pids = all.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok()).filter(|&pid| pid != self.pid());
        let same = pids.filter(|pid| fs::read_link(format!("/proc/{pid}/ns/{kind}")).is_ok_and(|of: PathBuf| of == own));
        same.filter_map(Pid::from_raw).filter(|&pid| wanted(pid)).collect()
    }

    /// From now on the host outlives the demo.
    pub fn keep(&mut self) {
        self.keep = true;
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if !self.keep {
            self.kill();
        }
    }
}

fn signal(pids: &[Pid], signal: Signal) {
    for &pid in pids {
        let _ = kill_process(pid, signal);
    }
}

/// `unshare` forks once; `/proc/PID/task/PID/children` would need a kernel option.
fn first_child(parent: &Child) -> Option<Pid> {
    let wanted = format!("PPid:\t{}", parent.id());
    let processes = fs::read_dir("/proc").ok()?;
    processes.flatten().find_map(|entry| {
        let pid: i32 = entry.file_name().to_str()?.parse().ok()?;
        let status = fs::read_to_string(entry.path().join("status")).ok()?;
        status.lines().any(|line| line == wanted).then(|| Pid::from_raw(pid)).flatten()
    })
}
