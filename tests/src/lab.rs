//! One scenario: its scratch directory, its deadline, its cleaning up.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

/// Everything on this machine that belongs to one scenario.
#[derive(Debug)]
pub struct Lab {
    /// `PID-N-NAME`, unique on this machine.
    pub id: String,
    /// Scratch directory on a real disk.
    pub dir: PathBuf,
    inits: Mutex<Vec<i32>>,
}

/// How long a thread may take to end once its hosts are gone.
const AFTERMATH: Duration = Duration::from_secs(10);
/// What is printed of each log.
const LOG_TAIL: usize = 9000;

static NEXT: AtomicU32 = AtomicU32::new(0);

/// Runs `body` as the scenario `name`; after `limit` its hosts lose power and the test fails.
pub fn scenario(name: &str, limit: Duration, body: impl FnOnce(&Arc<Lab>) + Send + 'static) {
    // Building is not the scenario's time.
    understudy();
    let lab = Lab::new(name);
    let (done, ended) = channel();
    let of_body = lab.clone();
    let thread = std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(move || {
            let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| body(&of_body)));
            // The receiver is gone when the deadline has passed already.
            let _ = done.send(result);
        })
        .expect("start the scenario's thread");
    let result = match ended.recv_timeout(limit) {
        Ok(result) => result,
        Err(RecvTimeoutError::Timeout) => {
            eprintln!("{name}: not done after {limit:?}; its hosts are powered off");
            lab.print_logs();
            lab.power_off();
            let _ = ended.recv_timeout(AFTERMATH);
            lab.remove();
            panic!("{name}: deadline of {limit:?} passed");
        }
        Err(RecvTimeoutError::Disconnected) => panic!("{name}: the thread vanished"),
    };
    thread.join().expect("the body's panic was caught above");
    if result.is_err() {
        lab.print_logs();
    }
    lab.power_off();
    lab.remove();
    if let Err(panic) = result {
        std::panic::resume_unwind(panic);
    }
}

impl Lab {
    /// A fresh scratch directory.
    pub fn new(name: &str) -> Arc<Lab> {
        remove_leftovers();
        let id = format!("{}-{}-{name}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let dir = base().join(&id);
        fs::create_dir_all(&dir).unwrap_or_else(|e| panic!("create {}: {e}", dir.display()));
        Arc::new(Lab { id, dir, inits: Mutex::new(Vec::new()) })
    }

    /// Notes the first process of a host, so that the deadline can end it.
    pub(crate) fn register(&self, init: i32) {
        self.inits.lock().expect("no panic under this lock").push(init);
    }

    /// Forgets a host that has ended.
    pub(crate) fn forget(&self, init: i32) {
        self.inits.lock().expect("no panic under this lock").retain(|&known| known != init);
    }

    /// Empties the scratch directory, for scenarios that begin again with new hosts.
    pub fn clear(&self) {
        let Ok(entries) = fs::read_dir(&self.dir) else { return };
        entries.flatten().for_each(|entry| remove_tree(&entry.path()));
    }

    fn power_off(&self) {
        let inits = std::mem::take(&mut *self.inits.lock().expect("no panic under this lock"));
        for init in inits {
            crate::hosts::kill(init, rustix::process::Signal::KILL);
        }
    }

    /// The end of every log, on standard error.
    pub fn print_logs(&self) {
        let below = fs::read_dir(&self.dir).into_iter().flatten().flatten().map(|entry| entry.path().join("run"));
        for directory in std::iter::once(self.dir.clone()).chain(below) {
            print_logs_in(&directory);
        }
    }

    fn remove(&self) {
        if std::env::var_os("UNDERSTUDY_KEEP").is_some() {
            eprintln!("kept: {}", self.dir.display());
        } else {
            remove_tree(&self.dir);
        }
    }
}

fn print_logs_in(directory: &Path) {
    let Ok(entries) = fs::read_dir(directory) else { return };
    for entry in entries.flatten().filter(|e| e.path().extension().is_some_and(|x| x == "log")) {
        let text = fs::read(entry.path()).unwrap_or_default();
        let tail = &text[text.len().saturating_sub(LOG_TAIL)..];
        eprintln!("--- {}\n{}", entry.path().display(), String::from_utf8_lossy(tail));
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.power_off();
        if std::env::var_os("UNDERSTUDY_KEEP").is_none() {
            remove_tree(&self.dir);
        }
    }
}

/// Where scratch directories are made: a real disk, not memory.
fn base() -> PathBuf {
    std::env::var_os("UNDERSTUDY_TEST_DIR").map_or_else(|| PathBuf::from("/var/tmp/understudy-tests"), PathBuf::from)
}

/// Removes what test processes that no longer live have left. Their hosts ended with them: a
/// host's first process ends when the pipe from its test process closes.
fn remove_leftovers() {
    static ONCE: OnceLock<()> = OnceLock::new();
    ONCE.get_or_init(|| {
        let Ok(entries) = fs::read_dir(base()) else { return };
        for entry in entries.flatten() {
            let name = entry.file_name();
            let owner = name.to_string_lossy().split('-').next().and_then(|pid| pid.parse::<u32>().ok());
            let alive = owner.is_none_or(|pid| Path::new(&format!("/proc/{pid}")).exists());
            if !alive {
                remove_tree(&entry.path());
            }
        }
    });
}

/// `rm -rf`: unlike the standard library's it also removes paths longer than PATH_MAX.
pub fn remove_tree(path: &Path) {
    let status = Command::new("rm").arg("-rf").arg("--one-file-system").arg(path).stderr(Stdio::null()).status();
    if !status.is_ok_and(|s| s.success()) {
        // Inode flags set by a test may be in the way.
        let _ = Command::new("chattr").args(["-R", "-f", "-i", "-a"]).arg(path).status();
        let _ = Command::new("rm").arg("-rf").arg("--one-file-system").arg(path).status();
    }
}

/// The `understudy` binary: `UNDERSTUDY_BIN`, or the workspace's, built as this test was built.
pub fn understudy() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| {
        if let Some(path) = std::env::var_os("UNDERSTUDY_BIN") {
            return PathBuf::from(path);
        }
        // `cargo test` builds a package's binaries for that package's own tests only.
        let mut build = Command::new(env!("CARGO"));
        // Tests of the command line are built with it; for the whole workspace, because a package alone would be built with other
        // features, and all it needs once more.
        build.args(["test", "--quiet", "--workspace", "--no-run", "--test", "exit_codes"]);
        build.current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
        if !cfg!(debug_assertions) {
            build.arg("--release");
        }
        let target = built_beside();
        build.arg("--target-dir").arg(target.parent().expect("the profile's directory has a parent"));
        assert!(build.status().expect("run cargo").success(), "the understudy binary does not build");
        target.join("understudy")
    })
}

/// What acts inside hosts (`hand.rs`): `UNDERSTUDY_HAND`, or the program beside this one.
pub fn hand() -> PathBuf {
    std::env::var_os("UNDERSTUDY_HAND").map_or_else(|| built_beside().join("hand"), PathBuf::from)
}

/// A tool that `tests/setup` built.
pub fn tool(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/tools/bin").join(name);
    assert!(path.exists(), "{name} is missing: run tests/setup");
    path
}

/// `target/PROFILE`, where this test's executable (or its `deps` directory) lies.
fn built_beside() -> PathBuf {
    let exe = std::env::current_exe().expect("know this executable");
    let dir = exe.parent().expect("an executable lies in a directory");
    if dir.ends_with("deps") { dir.parent().expect("deps lies in the profile's directory").to_owned() } else { dir.to_owned() }
}
