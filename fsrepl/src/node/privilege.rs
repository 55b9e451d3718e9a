//! What an engine needs from the kernel, and how it guards itself and the machine.
//!
//! Order at a start: [`check`], then [`protect`] on the main thread before any other is started,
//! then [`drop_sys_resource`] on the threads that apply the application's writes.

use crate::report::{Failure, FailureKind};
use rustix::mm::{MlockAllFlags, mlockall};
use rustix::process::{Resource, Rlimit, configure_io_flusher_behavior, getrlimit, setrlimit};
use rustix::thread::{CapabilitySet, capabilities, set_capabilities};
use std::fs::{self, File};
use std::io::{self, Write};

/// Something missing: what, and its cure.
type Missing = (&'static str, &'static str);

const CAPABILITIES: [(CapabilitySet, Missing); 2] = [
    (CapabilitySet::SYS_ADMIN, ("CAP_SYS_ADMIN is missing (mounting)", "run as root, in a container with --cap-add SYS_ADMIN")),
    (
        CapabilitySet::DAC_READ_SEARCH,
        ("CAP_DAC_READ_SEARCH is missing (opening files by handle)", "run as root, in a container with --cap-add DAC_READ_SEARCH"),
    ),
];

/// Refuses a start without what is needed; names all of it, each with its cure, in one line.
/// `mounts` is for the primary, which also needs FUSE.
pub fn check(mounts: bool) -> Result<(), Failure> {
    let effective = capabilities(None).map_or(CapabilitySet::empty(), |sets| sets.effective);
    let root = rustix::process::geteuid().is_root();
    let device = if mounts { File::options().read(true).write(true).open("/dev/fuse").map(drop) } else { Ok(()) };
    verdict(root, effective, device)
}

fn verdict(root: bool, effective: CapabilitySet, device: io::Result<()>) -> Result<(), Failure> {
    let mut missing: Vec<Missing> = Vec::new();
    if !root {
        missing.push(("it does not run as root", "run it as root"));
    }
    missing.extend(CAPABILITIES.iter().filter(|(needed, _)| !effective.contains(*needed)).map(|(_, words)| *words));
    if let Err(error) = device {
        missing.push(match error.kind() {
            io::ErrorKind::NotFound => ("/dev/fuse is missing", "modprobe fuse, in a container --device /dev/fuse"),
            io::ErrorKind::PermissionDenied => ("/dev/fuse may not be opened", "in a container: --device /dev/fuse"),
            _ => ("/dev/fuse does not work", "modprobe fuse"),
        });
    }
    if missing.is_empty() {
        return Ok(());
    }
    let (whys, mut cures): (Vec<_>, Vec<_>) = missing.into_iter().unzip();
    cures.dedup();
    Err(Failure::new(FailureKind::Failed, "cannot start", whys.join(", "), cures.join("; ")))
}

/// Guards this process: enough descriptors, progress while memory is short, the last to be
/// killed when it runs out. Best effort: what is refused is logged, and replication goes on
/// without it. Threads started before do not become I/O flushers.
pub fn protect() {
    attempt("raise the limit of open files", raise_descriptors());
    // Otherwise an allocation here may wait for write-back that waits for this process.
    attempt("become an I/O flusher", configure_io_flusher_behavior(true).map_err(Into::into));
    // On fault: what was never touched (thread stacks, large buffers) is not paged in for nothing.
    let lock = MlockAllFlags::CURRENT | MlockAllFlags::FUTURE | MlockAllFlags::ONFAULT;
    attempt("lock memory", mlockall(lock).map_err(Into::into));
    attempt("be spared by the OOM killer", fs::write("/proc/self/oom_score_adj", "-1000"));
}

fn attempt(what: &str, outcome: io::Result<()>) {
    if let Err(error) = outcome {
        tracing::warn!(%error, "cannot {what}");
    }
}

/// To the kernel's maximum where allowed, else to the hard limit.
fn raise_descriptors() -> io::Result<()> {
    let set = |limit| setrlimit(Resource::Nofile, Rlimit { current: limit, maximum: limit });
    let most = fs::read_to_string("/proc/sys/fs/nr_open").ok().and_then(|text| text.trim().parse().ok());
    if most.is_some() && set(most).is_ok() {
        return Ok(());
    }
    Ok(set(getrlimit(Resource::Nofile).maximum)?)
}

/// Takes CAP_SYS_RESOURCE from this thread and those it starts, so that quotas and reserved
/// blocks hold for what they write. After [`protect`], which needs it.
pub fn drop_sys_resource() -> io::Result<()> {
    let mut sets = capabilities(None)?;
    sets.effective.remove(CapabilitySet::SYS_RESOURCE);
    sets.permitted.remove(CapabilitySet::SYS_RESOURCE);
    sets.inheritable.remove(CapabilitySet::SYS_RESOURCE);
    Ok(set_capabilities(None, sets)?)
}

/// Keeps idle processors from sleeping deeply, so that a hand-over does not pay for waking one.
#[derive(Debug)]
pub struct LowLatency {
    /// The kernel honours the request while this is open.
    _request: File,
}

impl LowLatency {
    /// Holds `/dev/cpu_dma_latency` at 0 until it is dropped.
    pub fn hold() -> io::Result<LowLatency> {
        let mut request = File::options().write(true).open("/dev/cpu_dma_latency")?;
        request.write_all(&0i32.to_ne_bytes())?;
        Ok(LowLatency { _request: request })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn root_with_everything_passes_and_each_lack_is_named() {
        let all = CapabilitySet::SYS_ADMIN | CapabilitySet::DAC_READ_SEARCH;
        verdict(true, all, Ok(())).unwrap();
        let words = |root, set, device| verdict(root, set, device).unwrap_err().to_string();
        assert!(words(false, all, Ok(())).contains("root"));
        let both = words(true, CapabilitySet::empty(), Ok(()));
        assert!(both.contains("CAP_SYS_ADMIN") && both.contains("CAP_DAC_READ_SEARCH"), "{both}");
        let device = words(true, all, Err(io::ErrorKind::NotFound.into()));
        assert!(device.contains("/dev/fuse") && device.contains("modprobe") && !device.contains('\n'), "{device}");
    }

    #[test]
    fn this_machine_can_run_the_tests() {
        check(true).unwrap();
    }

    #[test]
    fn dropping_the_capability_reaches_later_threads_and_no_others() {
        let has = || capabilities(None).unwrap().effective.contains(CapabilitySet::SYS_RESOURCE);
        let before = has();
        let after = std::thread::spawn(move || {
            drop_sys_resource().unwrap();
            (has(), std::thread::spawn(has).join().unwrap())
        });
        assert_eq!(after.join().unwrap(), (false, false));
        assert_eq!(has(), before);
    }

    /// In a process of its own: the settings are the whole process's and inherited.
    #[test]
    fn a_protected_process() {
        const INSIDE: &str = "UNDERSTUDY_TEST_PROTECT";
        if std::env::var_os(INSIDE).is_some() {
            protect();
            if capabilities(None).unwrap().effective.contains(CapabilitySet::SYS_RESOURCE) {
                assert!(rustix::process::is_io_flusher().unwrap());
                assert_eq!(fs::read_to_string("/proc/self/oom_score_adj").unwrap().trim(), "-1000");
            }
            let status = fs::read_to_string("/proc/self/status").unwrap();
            assert!(!status.contains("VmLck:\t       0 kB"), "{status}");
            let limit = getrlimit(Resource::Nofile);
            assert_eq!(limit.current, limit.maximum);
            return;
        }
        let this = std::env::current_exe().unwrap();
        let mut inside = std::process::Command::new(this);
        inside.args(["--exact", "node::privilege::tests::a_protected_process"]).env(INSIDE, "1");
        let output = inside.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    }

    #[test]
    fn the_latency_request_is_held() {
        if Path::new("/dev/cpu_dma_latency").exists() {
            drop(LowLatency::hold().unwrap());
        }
    }
}
