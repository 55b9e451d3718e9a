//! A node of the demo's cluster: a host, its disk, its daemon, and what the daemon says.

use super::hosts::Host;
use super::wires;
use super::{Interrupt, disk, failed};
use cluster::daemon::{SOCKET, socket_directory};
use fsrepl::node::control;
use fsrepl::report::{Failure, FailureKind};
use serde_json::{Value, json};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::{Duration, Instant};

/// The module of the demo.
pub const MODULE: &str = "app";
/// For one answer of a daemon.
const ANSWER: Duration = Duration::from_secs(10);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(20);

/// Paths that are the same on both nodes.
#[derive(Clone)]
pub struct Places {
    pub exe: PathBuf,
    /// `cluster.toml` and modules.
    pub config: PathBuf,
    /// Where each host's own disk is.
    pub disk: PathBuf,
    /// The replicated directory, on it.
    pub data: PathBuf,
    pub files: u32,
    pub keep: bool,
}

/// A node.
pub struct Node {
    pub host: Host,
    pub number: usize,
    /// It has a file system of its own.
    pub own_disk: bool,
    base: PathBuf,
    places: Places,
    daemon: Option<Child>,
}

impl Node {
    /// A host with a disk that is plugged in; no daemon runs yet.
    pub fn make(base: PathBuf, number: usize, places: &Places, outside: &Host) -> Result<Node, Failure> {
        fs::create_dir_all(base.join("run")).map_err(failed("cannot make the demo's directories"))?;
        let host = Host::start(["node1", "node2"][number], &places.exe, places.keep)?;
        let own_disk = disk::attach_or(&host, &base.join("image"), &base.join("disk"), &places.disk, places.files);
        let node = Node { host, number, own_disk, base, places: places.clone(), daemon: None };
        wires::plug(outside, &node.host, number)?;
        let made = node.host.command("mkdir").arg("-p").args([&places.data, &places.disk.join("state")]).status();
        made.map_err(failed("cannot make the demo's directories"))?;
        Ok(node)
    }

    pub fn name(&self) -> &'static str {
        self.host.name()
    }

    pub fn run(&self) -> PathBuf {
        self.base.join("run")
    }

    /// Its host is dead: comes back with the disk as it was, and an empty `/run`.
    pub fn boot(&mut self, outside: &Host) -> Result<(), Failure> {
        self.host = Host::start(self.host.name(), &self.places.exe, self.places.keep)?;
        if !disk::again(&self.host, &self.base.join("image"), &self.base.join("disk"), &self.places.disk) {
            let cure = "look at `losetup -a`, and try again";
            return Err(Failure::new(FailureKind::Failed, "the old host does not come back", "its disk cannot be mounted", cure));
        }
        fs::remove_dir_all(self.run()).and_then(|()| fs::create_dir_all(self.run())).map_err(failed("cannot empty a run directory"))?;
        wires::unplug(outside, self.number);
        wires::plug(outside, &self.host, self.number)?;
        self.start_daemon()
    }

    /// Starts the daemon and waits until it answers.
    pub fn start_daemon(&mut self) -> Result<(), Failure> {
        let log = File::options().create(true).append(true).open(self.log()).map_err(failed("cannot write a log"))?;
        let mut command = self.host.command(&self.places.exe);
        command.arg("--config").arg(&self.places.config).arg("--state").arg(self.places.disk.join("state"));
        command.arg("--run").arg(self.run()).args(["daemon", "--node", self.name()]);
        let child = command.stdout(log.try_clone().map_err(failed("cannot write a log"))?).stderr(log).spawn();
        self.daemon = Some(child.map_err(failed("cannot start a daemon"))?);
        let until = Instant::now() + ANSWER;
        while let Err(why) = self.call("ping", &json!({})) {
            let ended = self.daemon.as_mut().is_some_and(|child| child.try_wait().is_ok_and(|ended| ended.is_some()));
            if ended || Instant::now() > until {
                let cure = format!("see {}", self.log().display());
                let why = if ended { last_words(&self.log()) } else { why.to_string() };
                return Err(Failure::new(FailureKind::Failed, format!("the daemon of {} does not start", self.name()), why, cure));
            }
            std::thread::sleep(LOOK);
        }
        Ok(())
    }

    fn log(&self) -> PathBuf {
        self.base.join("daemon.log")
    }

    /// All its processes are killed at once.
    pub fn kill(&mut self) {
        self.host.kill();
        if let Some(mut daemon) = self.daemon.take() {
            let _ = daemon.wait();
        }
    }

    /// Asks its daemon.
    pub fn call(&self, verb: &str, args: &Value) -> Result<Value, Failure> {
        control::call(&socket_directory(&self.run()), SOCKET, verb, args, ANSWER)
    }

    /// The module as its daemon sees it.
    pub fn status(&self) -> Value {
        self.call("status", &json!({ "module": MODULE })).map_or(Value::Null, |status| status["modules"][0].clone())
    }

    /// Waits until the module is as `wanted` says; `meanwhile` sees each look.
    pub fn reach(
        &self,
        what: &str,
        patience: Duration,
        interrupt: &Interrupt,
        wanted: impl Fn(&Value) -> bool,
        mut meanwhile: impl FnMut(&Value),
    ) -> Result<Value, Failure> {
        let until = Instant::now() + patience;
        loop {
            interrupt.check()?;
            let status = self.status();
            if wanted(&status) {
                return Ok(status);
            }
            if Instant::now() > until {
                let word = |key: &str| status[key].as_str().unwrap_or("?").to_owned();
                let why = format!("{} is {} there: {}", MODULE, word("state"), word("reason"));
                let cure = "run it again with --keep, and look at the logs that it names";
                return Err(Failure::new(FailureKind::TimedOut, format!("{} did not become {what}", self.name()), why, cure));
            }
            meanwhile(&status);
            std::thread::sleep(LOOK);
        }
    }

    /// What the module's log holds, oldest first.
    pub fn events(&self) -> Vec<Value> {
        let log = self.call("log", &json!({ "module": MODULE, "count": 100 })).unwrap_or_default();
        log["events"].as_array().cloned().unwrap_or_default()
    }

    /// Looks of the engine at files in its last resync, and bytes sent, as its log says.
    pub fn resynced(&self) -> Option<(u64, u64)> {
        resynced(&fs::read_to_string(self.run().join(format!("{MODULE}.engine.log"))).ok()?)
    }
}

fn resynced(log: &str) -> Option<(u64, u64)> {
    let line = log.lines().rfind(|line| line.contains("resync done"))?;
    let figure = |name: &str| line.split_once(&format!("{name}="))?.1.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok();
    Some((figure("objects")?, figure("bytes_sent")?))
}

/// The last line of a log: why a process ended.
pub fn last_words(log: &Path) -> String {
    let log = fs::read_to_string(log).unwrap_or_default();
    let last = log.lines().map(str::trim).rfind(|line| !line.is_empty()).unwrap_or("it said nothing");
    last.strip_prefix("understudy: ").unwrap_or(last).into()
}

/// Serves, with a secondary that has everything and may take over: what an operator looks for before anything is risked.
pub fn in_sync(status: &Value) -> bool {
    status["state"] == "PRIM" && status["readiness"] == "ready" && status["can_fail_over"]["now"] == true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_of_the_last_resync() {
        let line = |objects: u32| format!("2026 INFO fsrepl: resync done objects={objects} bytes_sent=4096 seconds=0.1\n");
        assert_eq!(resynced(&(line(1) + &line(22) + "more\n")), Some((22, 4096)));
        assert_eq!(resynced("nothing"), None);
    }
}
