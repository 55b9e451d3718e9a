//! The usual set-up: a primary on host `a`, a secondary on host `b`, one cable.

use crate::engine::{Engine, PATIENCE, Start, command};
use crate::hosts::{Host, Link};
use crate::lab::Lab;
use crate::tree::{Ignore, differences};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The port receivers listen on.
pub const PORT: u16 = 7400;

/// Two hosts and what runs on them.
pub struct Pair {
    pub a: Host,
    pub b: Host,
    pub link: Link,
    /// The replicated directory on `a`: a mount while the primary runs.
    pub dir_a: PathBuf,
    /// The replicated directory on `b`.
    pub dir_b: PathBuf,
    pub key: PathBuf,
    pub primary: Option<Engine>,
    pub secondary: Option<Engine>,
    /// What engines are started under (limits); empty as usual.
    pub wrapper: Vec<String>,
}

impl Pair {
    /// Hosts, cable, key and empty directories; no engine yet.
    pub fn prepare(lab: &Arc<Lab>) -> Pair {
        let a = lab.host("a");
        let b = lab.host("b");
        let (dir_a, dir_b) = (a.dir.join("data"), b.dir.join("data"));
        Pair::on(lab, a, b, dir_a, dir_b)
    }

    /// The same on hosts and directories that are there already.
    pub fn on(lab: &Arc<Lab>, a: Host, b: Host, dir_a: PathBuf, dir_b: PathBuf) -> Pair {
        let link = lab.link(&a, &b);
        for (host, dir) in [(&a, &dir_a), (&b, &dir_b)] {
            host.run([Path::new("mkdir"), Path::new("-p"), dir]);
        }
        let key = make_key(&lab.dir.join("pair.key"), 1);
        Pair { a, b, link, dir_a, dir_b, key, primary: None, secondary: None, wrapper: Vec::new() }
    }

    /// Both engines with default options, in sync.
    pub fn in_sync(lab: &Arc<Lab>) -> Pair {
        let mut pair = Pair::prepare(lab);
        pair.start();
        pair
    }

    /// Starts both engines and waits until they are in sync.
    pub fn start(&mut self) {
        self.secondary = Some(self.receive().spawn());
        self.secondary().wait_ready();
        self.primary = Some(self.mount().spawn());
        self.primary().wait_ready();
        self.wait_in_sync();
    }

    /// `understudy mount` as usual; add options before `spawn`.
    pub fn mount(&self) -> Start {
        let to = self.link.second_socket(PORT).to_string();
        let start = Start::under(&self.a, &self.wrapper, "mount", &self.dir_a).args(["--to", &to, "--name", "pair"]);
        start.args([Path::new("--key"), &self.key])
    }

    /// `understudy receive` as usual.
    pub fn receive(&self) -> Start {
        let listen = self.link.second_socket(PORT).to_string();
        let start = Start::under(&self.b, &self.wrapper, "receive", &self.dir_b).args(["--listen", &listen, "--name", "pair"]);
        start.args([Path::new("--key"), &self.key])
    }

    /// The primary's engine.
    pub fn primary(&self) -> &Engine {
        self.primary.as_ref().expect("the primary was started")
    }

    /// The secondary's engine.
    pub fn secondary(&self) -> &Engine {
        self.secondary.as_ref().expect("the secondary was started")
    }

    /// Waits until the primary says PRIM and the secondary SECOND, both up to date.
    pub fn wait_in_sync(&self) {
        self.primary().wait_state("PRIM", "uptodate");
        self.secondary().wait_state("SECOND", "uptodate");
    }

    /// The mount, for the test process.
    pub fn mounted(&self) -> PathBuf {
        self.a.view(&self.dir_a)
    }

    /// The secondary's tree, for the test process; seen through the cover while it runs.
    pub fn replica(&self) -> PathBuf {
        self.b.view(&self.dir_b)
    }

    /// `understudy sync`: lazily written times and everything else are on both disks afterwards.
    pub fn sync(&self) {
        let mut sync = command(&self.a);
        let output = sync.args(["sync", "pair", "--timeout", "60s"]).output().expect("run nsenter");
        assert!(output.status.success(), "sync: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// The replica equals the mount, now.
    pub fn must_be_equal(&self) {
        self.must_be_equal_but(&Ignore::default());
    }

    /// The same, leaving something out of the comparison.
    pub fn must_be_equal_but(&self, ignore: &Ignore) {
        self.sync();
        let found = differences(&self.mounted(), &self.replica(), ignore);
        assert!(found.is_empty(), "mount and replica differ:\n{}", found.join("\n"));
    }

    /// Compares, stops both engines cleanly, and compares the bare directories.
    pub fn finish(self) {
        self.finish_but(&Ignore::default());
    }

    /// The same, leaving something out of the comparison.
    pub fn finish_but(mut self, ignore: &Ignore) {
        self.must_be_equal_but(ignore);
        self.primary.take().expect("the primary runs").stop();
        self.secondary.take().expect("the secondary runs").stop();
        let found = differences(&self.a.view(&self.dir_a), &self.b.view(&self.dir_b), ignore);
        assert!(found.is_empty(), "the bare directories differ:\n{}", found.join("\n"));
    }

    /// Stops the secondary and waits until the primary goes on alone.
    pub fn lose_secondary(&mut self) {
        let mark = self.primary().mark();
        self.secondary.take().expect("the secondary runs").kill();
        self.wait_alone_since(mark);
    }

    /// Waits for ALONE, said after `mark`.
    pub fn wait_alone_since(&self, mark: usize) {
        self.primary().wait_since(mark, "ALONE", PATIENCE, |said| said.is_state("ALONE"));
    }

    /// Starts the secondary (again) and waits until both are in sync.
    pub fn secondary_returns(&mut self) {
        self.secondary = Some(self.receive().spawn());
        self.secondary().wait_ready();
        self.wait_in_sync();
    }
}

/// A key file by `understudy keygen`, readable by root only. `n` only makes its name unique.
pub fn make_key(path: &Path, n: u32) -> PathBuf {
    let path = path.with_extension(format!("{n}.key"));
    let output = std::process::Command::new(crate::lab::understudy()).arg("keygen").arg(&path).output();
    let output = output.expect("run understudy keygen");
    assert!(output.status.success(), "keygen: {}", String::from_utf8_lossy(&output.stderr));
    let mode = fs::metadata(&path).unwrap_or_else(|_| panic!("the binary lacks keygen: no {}", path.display()));
    assert_eq!(mode.permissions().mode() & 0o7777, 0o600, "a key file is private");
    path
}
