//! One of the two machines: its disk, its engine, its boots.

use crate::disk::{Disk, Image};
use crate::engine::{Engine, PATIENCE, Said, Start, command, wait_for};
use crate::hosts::Host;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What a node's copy holds of what the application was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Held {
    /// It may lack anything: another node went on without it, or it is in the middle of a resync.
    Unknown,
    /// What was flushed: it lost its power.
    Flushed,
    /// Everything.
    All,
}

/// A machine with a replica.
pub struct Node {
    pub host: Host,
    pub disk: Disk,
    pub dir: PathBuf,
    pub address: SocketAddr,
    pub engine: Option<Engine>,
    pub held: Held,
    /// Nothing has changed since everything was flushed.
    pub flushed: bool,
    boots: u32,
    key: PathBuf,
}

impl Node {
    pub fn new(host: Host, disk: Disk, address: SocketAddr, key: &Path) -> Node {
        let dir = disk.at().join("data");
        host.run([Path::new("mkdir"), &dir]);
        Node { host, disk, dir, address, engine: None, held: Held::Unknown, flushed: false, boots: 1, key: key.to_owned() }
    }

    /// The replicated directory, as the test process reaches it.
    pub fn view(&self) -> PathBuf {
        self.host.view(&self.dir)
    }

    fn start(&self, verb: &str) -> Start {
        let boot = format!("{}-boot-{}", self.host.name, self.boots);
        let start = Start::new(&self.host, verb, &self.dir).args(["--name", "pair"]).args([Path::new("--key"), &self.key]);
        start.env("UNDERSTUDY_TEST_BOOT_ID", &boot).env("RUST_LOG", "info")
    }

    /// Runs it as the primary that sends to `peer`.
    pub fn mount(&self, peer: SocketAddr) -> Start {
        self.start("mount").args(["--to", &peer.to_string()])
    }

    /// Runs it as the secondary.
    pub fn receive(&self) -> Start {
        self.start("receive").args(["--listen", &self.address.to_string()])
    }

    pub fn engine(&self) -> &Engine {
        self.engine.as_ref().expect("the engine runs")
    }

    /// Whether an engine was started and has not ended by itself.
    pub fn is_up(&mut self) -> bool {
        self.engine.as_mut().is_some_and(Engine::is_running)
    }

    pub fn kill(&mut self) {
        if let Some(mut engine) = self.engine.take() {
            engine.kill();
        }
    }

    /// The first half of a power cut: from here on nothing is acknowledged any more; what is on the disk counts.
    pub fn lose_power(&mut self) -> Image {
        if let Some(engine) = &self.engine {
            engine.freeze();
        }
        self.disk.image(&self.host)
    }

    /// The second half: everything ends, and the node comes back with another boot.
    pub fn boot(&mut self, image: Image) {
        self.kill();
        self.disk.boot(&self.host, image);
        self.boots += 1;
        if !self.flushed {
            self.held = self.held.min(Held::Flushed);
        }
    }

    /// Waits until it is ready. Some(reason) when it refused instead (exit code 3), None when it died at a point.
    pub fn wait_started(&mut self) -> Started {
        let engine = self.engine.as_mut().expect("the engine was started");
        let started = wait_for(PATIENCE, || {
            if engine.said_since(0).contains(&Said::Ready) {
                return Some(Started::Ready);
            }
            if engine.is_running() {
                return None;
            }
            let status = engine.wait_exit(Duration::ZERO);
            let words = engine.stderr().lines().last().unwrap_or_default().to_owned();
            Some(if status.code() == Some(3) { Started::Refused(words) } else { Started::Died })
        });
        let started = started.unwrap_or_else(|| panic!("{}: neither ready nor refused: {}", self.host.name, engine.stderr()));
        if started != Started::Ready {
            self.kill();
        }
        started
    }

    /// `understudy sync`: how many nodes have everything flushed.
    pub fn sync(&mut self) -> u64 {
        let output = command(&self.host).args(["sync", "pair", "--json", "--timeout", "60s"]).output().expect("run nsenter");
        assert!(output.status.success(), "sync: {}", String::from_utf8_lossy(&output.stderr));
        let said: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        said["nodes"].as_u64().unwrap_or(1)
    }
}

/// What became of a start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Started {
    Ready,
    /// Refused, with its words.
    Refused(String),
    /// It ended otherwise: a fail point.
    Died,
}
