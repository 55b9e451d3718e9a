//! Our own engines, started as an operator would start them.

use crate::columns::{Column, Rig};
use crate::hosts::run;
use crate::options::Regime;
use crate::server::{Server, Signal};
use anyhow::{Context, Result, bail, ensure};
use rustix::mount::UnmountFlags;
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// Where `receive` listens on host B.
pub const PORT: u16 = 7400;
const READY_WITHIN: Duration = Duration::from_secs(30);
const IN_SYNC_WITHIN: Duration = Duration::from_secs(120);
/// A resync of very many files, or of very much.
const RESYNC_WITHIN: Duration = Duration::from_secs(1800);

/// What statfs says of a FUSE file system.
const FUSE_SUPER_MAGIC: rustix::fs::FsWord = 0x6573_5546;
/// The secondary's directory.
const REPLICA: &str = "ours-b";
/// Written at the primary, looked for at the secondary.
const PROBE: &str = ".bench-probe";

/// A running `understudy mount`.
pub struct Mounted {
    server: Option<Server>,
    dir: PathBuf,
}

/// A primary and its secondary.
pub struct Pair {
    /// On host A.
    pub primary: Mounted,
    /// On host B.
    secondary: Option<Server>,
    replica: PathBuf,
    probes: u64,
}

impl Mounted {
    /// FUSE alone over the directory of its column.
    pub fn passthrough(rig: &Rig) -> Result<Mounted> {
        let dir = rig.dir(Column::Fuse);
        let mut command = understudy(rig, "fuse");
        command.arg("mount").arg(&dir).arg("--passthrough");
        Mounted::start(rig, "the FUSE mount", command, "fuse", dir)
    }

    fn start(rig: &Rig, name: &str, mut command: Command, log: &str, dir: PathBuf) -> Result<Mounted> {
        let log = rig.log(log);
        let server = rig.hosts().a.inside(|| Server::start(name, &mut command, log, Signal::TERM))?;
        let mounted = Mounted { server: Some(server), dir };
        mounted.server().wait_for("ready line", READY_WITHIN, is_ready)?;
        let kind = rustix::fs::statfs(&mounted.dir).with_context(|| format!("{name}: cannot look at its directory"))?.f_type;
        ensure!(kind == FUSE_SUPER_MAGIC, "{name} says `ready`, but its directory is no FUSE file system (type {kind:#x})");
        Ok(mounted)
    }

    fn server(&self) -> &Server {
        self.server.as_ref().expect("the server is taken in drop only")
    }

    /// Process id of the engine.
    pub fn pid(&self) -> u32 {
        self.server().pid()
    }

    /// Fails when the engine ended.
    pub fn check(&mut self) -> Result<()> {
        self.server.as_mut().expect("the server is taken in drop only").check()
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        self.server = None;
        // Left only by an engine that had to be killed; a mount that is not there is as good.
        if is_mount_point(&self.dir) {
            let _ = rustix::mount::unmount(&self.dir, UnmountFlags::DETACH);
        }
    }
}

impl Pair {
    /// Starts both engines, encrypted with a fresh key and `ack = memory`, and waits until they are in sync.
    pub fn start(rig: &Rig) -> Result<Pair> {
        let key = rig.path("key");
        if !key.exists() {
            run(understudy(rig, "primary").arg("keygen").arg(&key))?;
        }
        let secondary = receive(rig, &key)?;
        let dir = rig.dir(Column::Ours);
        let mut command = understudy(rig, "primary");
        command.arg("mount").arg(&dir).arg("--to").arg(rig.hosts().b.at(rig.via(PORT)).to_string());
        command.arg("--key").arg(&key).args(["--name", "bench", "--ack", "memory", "--json"]);
        if rig.regime() == Regime::LowLatency {
            command.arg("--low-latency");
        }
        let primary = Mounted::start(rig, "the primary", command, "primary", dir)?;
        primary.server().wait_for("state PRIM, in sync,", RESYNC_WITHIN, |line| is_state(line, "PRIM"))?;
        Ok(Pair { primary, secondary: Some(secondary), replica: rig.path(REPLICA), probes: 0 })
    }

    /// Empties the replica: the next start copies everything. No pair may run.
    pub fn forget_replica(rig: &Rig) -> Result<()> {
        for name in [REPLICA, "secondary-state"] {
            let path = rig.path(name);
            if path.exists() {
                fs::remove_dir_all(&path)?;
            }
        }
        Ok(fs::create_dir(rig.path(REPLICA))?)
    }

    /// Process id of the secondary's engine.
    pub fn secondary_pid(&self) -> Result<u32> {
        Ok(self.secondary.as_ref().context("the secondary was lost")?.pid())
    }

    /// Kills the secondary and waits until the primary goes on alone.
    pub fn lose_secondary(&mut self) -> Result<()> {
        self.secondary.take().context("the secondary was lost already")?.kill()?;
        self.primary.server().wait_for("state ALONE", READY_WITHIN, |line| is_state(line, "ALONE"))
    }

    /// Starts the secondary again. Gives the time from the moment they are connected until they are in sync.
    pub fn secondary_returns(&mut self, rig: &Rig) -> Result<Duration> {
        self.secondary = Some(receive(rig, &rig.path("key"))?);
        let server = self.primary.server();
        server.wait_for("resync", IN_SYNC_WITHIN, |line| json_field(line, "reason_code").is_some_and(|code| code == "resync"))?;
        let start = Instant::now();
        server.wait_for("state PRIM, in sync,", RESYNC_WITHIN, |line| is_state(line, "PRIM"))?;
        Ok(start.elapsed())
    }

    /// Fails when an engine ended or the primary went on alone.
    pub fn check(&mut self) -> Result<()> {
        self.primary.check()?;
        self.secondary.as_mut().context("the secondary was lost")?.check()?;
        let lost = self.primary.server().new_lines().into_iter().find(|line| is_state(line, "ALONE"));
        if let Some(line) = lost {
            bail!("the pair fell out of sync while measured: {line}");
        }
        self.probe()
    }

    /// A write that has returned is on the other side: figures of a pair that does not replicate would be fine ones.
    fn probe(&mut self) -> Result<()> {
        self.probes += 1;
        let text = self.probes.to_string();
        fs::write(self.primary.dir.join(PROBE), &text)?;
        let found = fs::read_to_string(self.replica.join(PROBE)).context("the secondary lacks a file that was written")?;
        ensure!(found == text, "the secondary has `{found}` where `{text}` was written");
        Ok(())
    }
}

fn receive(rig: &Rig, key: &Path) -> Result<Server> {
    let mut command = understudy(rig, "secondary");
    command.arg("receive").arg(rig.path(REPLICA)).arg("--listen").arg(rig.hosts().b.at(PORT).to_string());
    command.arg("--key").arg(key).args(["--name", "bench", "--json"]);
    let log = rig.log("secondary");
    let server = rig.hosts().b.inside(|| Server::start("the secondary", &mut command, log, Signal::TERM))?;
    server.wait_for("ready line", READY_WITHIN, is_ready)?;
    Ok(server)
}

/// The binary with state and run directories of its own: two nodes live on this machine.
fn understudy(rig: &Rig, node: &str) -> Command {
    let mut command = Command::new(rig.binary());
    for option in ["config", "state", "run"] {
        command.arg(format!("--{option}")).arg(rig.path(&format!("{node}-{option}")));
    }
    command
}

fn is_ready(line: &str) -> bool {
    line == "ready" || json_field(line, "event").is_some_and(|event| event == "ready")
}

fn is_state(line: &str, state: &str) -> bool {
    json_field(line, "state").is_some_and(|word| word == state)
}

fn json_field(line: &str, field: &str) -> Option<String> {
    let value: Value = serde_json::from_str(line).ok()?;
    Some(value.get(field)?.as_str()?.to_owned())
}

fn is_mount_point(dir: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    // A dead FUSE mount cannot even be looked at: that is one as well.
    let Ok(here) = std::fs::metadata(dir) else { return true };
    dir.parent().and_then(|parent| std::fs::metadata(parent).ok()).is_some_and(|above| above.dev() != here.dev())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_contract_are_understood() {
        let state = r#"{"schema":1,"event":"state","state":"PRIM","data":"uptodate","reason":"in sync"}"#;
        assert!(is_ready("ready") && is_ready(r#"{"schema":1,"event":"ready","time":"x"}"#) && !is_ready(state));
        assert!(is_state(state, "PRIM") && !is_state(state, "ALONE") && !is_state("noise", "PRIM"));
    }
}
