//! Leaves nothing behind: the measuring process lives in its own pid, mount and IPC namespaces.
//!
//! The program starts itself again inside them. When that inner process ends, however it ends, the kernel ends every
//! server it started and drops every mount and network namespace it made; the outer one then removes the data.
//! The inner one ends when its standard input closes, so it does not outlive the outer one even after a `kill -9`.

use anyhow::{Context, Result, bail};
use rustix::fs::FlockOperation;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

/// First argument of the inner process.
pub const INNER: &str = "__inner";
const LOCK: &str = "lock";
/// Where the data can be mounted: reachable by other users (PostgreSQL runs as its own) even when the build directory is not.
const ANCHORS: [&str; 3] = ["/mnt", "/media", "/srv"];

/// The data directory of one run, removed with it.
struct RunDir {
    path: PathBuf,
    _lock: File,
}

impl RunDir {
    fn new(parent: &Path) -> Result<RunDir> {
        fs::create_dir_all(parent).with_context(|| format!("cannot create {}", parent.display()))?;
        let parent = parent.canonicalize()?;
        remove_stale(&parent)?;
        let path = parent.join(format!("run-{}", std::process::id()));
        fs::create_dir(&path)?;
        let lock = File::create(path.join(LOCK))?;
        rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive)?;
        Ok(RunDir { path, _lock: lock })
    }
}

impl Drop for RunDir {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.path) {
            eprintln!("benches: {} could not be removed: {error}", self.path.display());
        }
    }
}

/// Removes what a killed run left: a run directory whose lock nobody holds.
fn remove_stale(parent: &Path) -> Result<()> {
    for entry in fs::read_dir(parent)? {
        let entry = entry?;
        let ours = entry.file_name().to_string_lossy().starts_with("run-");
        let Ok(lock) = File::open(entry.path().join(LOCK)) else { continue };
        if ours && rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive).is_ok() {
            fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}

/// The outer process: runs the inner one with the same arguments and cleans up after it.
pub fn run_inside(parent: &Path, binary: &Path) -> Result<u8> {
    if !rustix::process::getuid().is_root() {
        bail!("namespaces and mounts need root: run it as root");
    }
    let run = RunDir::new(parent)?;
    let mut signals = signal_hook::iterator::Signals::new([SIGINT, SIGTERM, SIGHUP])?;
    let mut inner = Command::new("unshare")
        .args(["--mount", "--pid", "--ipc", "--fork", "--kill-child", "--mount-proc", "--"])
        .arg(std::env::current_exe()?)
        .arg(INNER)
        .arg(&run.path)
        .args(std::env::args_os().skip(1))
        // For the hosts with daemons.
        .env("UNDERSTUDY_TEST_DIR", run.path.join("hosts"))
        .env("UNDERSTUDY_HAND", std::env::current_exe()?)
        .env("UNDERSTUDY_BIN", binary)
        .stdin(Stdio::piped())
        .spawn()
        .context("cannot start `unshare`: install util-linux")?;
    let leash = inner.stdin.take();
    let closer = signals.handle();
    let watcher = std::thread::spawn(move || {
        let interrupted = signals.forever().next().is_some();
        drop(leash);
        interrupted
    });
    let status = inner.wait()?;
    closer.close();
    let interrupted = watcher.join().unwrap_or(true);
    Ok(exit_code(status, interrupted))
}

fn exit_code(status: ExitStatus, interrupted: bool) -> u8 {
    if interrupted { 130 } else { status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1) }
}

/// The inner process, first thing: end with the outer one, and put the data where every user can reach it.
pub fn enter(data: &Path, needed: &[&Path]) -> Result<PathBuf> {
    std::thread::spawn(|| {
        // Nothing is ever written there: the read ends when the outer process lets go or dies.
        let _ = std::io::stdin().read(&mut [0]);
        std::process::exit(130);
    });
    let anchor = ANCHORS
        .into_iter()
        .map(Path::new)
        .find(|anchor| anchor.is_dir() && !data.starts_with(anchor) && !needed.iter().any(|p| p.starts_with(anchor)))
        .with_context(|| format!("no free directory among {ANCHORS:?} to mount the data at"))?;
    rustix::mount::mount_bind(data, anchor).with_context(|| format!("cannot mount the data at {}", anchor.display()))?;
    // PostgreSQL's shared memory files would survive its death.
    rustix::mount::mount("tmpfs", "/dev/shm", "tmpfs", rustix::mount::MountFlags::empty(), None)?;
    Ok(anchor.to_path_buf())
}
