//! What a killed engine leaves over its directory, and its removal at the next start.
//!
//! Only two kinds of mount are ever taken off: FUSE mounts of our type that no engine answers
//! for, and read-only covers. A cover is known by its shape, which survives everything a record
//! in a file would not: it shows the very directory it lies on, of the same file system, read-only.

use super::mounts::{self, Mount};
use crate::limits::{STALE_MOUNTS, STALE_PROBE};
use crate::report::{Failure, FailureKind};
use rustix::fs::{AtFlags, CWD, StatxFlags, statx};
use rustix::mount::{UnmountFlags, unmount};
use std::path::{Path, PathBuf};
use std::sync::mpsc;

/// Type of our mounts in the mount table.
pub const FUSE_KIND: &str = "fuse.understudy";

/// Takes off what killed engines left over `dir`, topmost first, and says what it was. Stops at
/// the first mount that is not ours. An engine that lives is a refusal.
pub fn clean(dir: &Path) -> Result<Vec<String>, Failure> {
    // A path that does not resolve has nothing stale on it; `PrivateTree::open` says what it lacks.
    let Ok(dir) = mounts::resolve(dir) else { return Ok(Vec::new()) };
    let mut removed = Vec::new();
    while removed.len() < STALE_MOUNTS {
        let Some(leftover) = top(&dir)? else { return Ok(removed) };
        if leftover == Leftover::Engine {
            refuse_living(&dir)?;
        }
        unmount(&dir, UnmountFlags::NOFOLLOW | UnmountFlags::DETACH)
            .map_err(|error| failed(&dir, format!("{} cannot be taken off ({error})", leftover.words())))?;
        removed.push(format!("took {} off {}", leftover.words(), dir.display()));
    }
    Err(failed(&dir, format!("more than {STALE_MOUNTS} stale mounts lie on it")))
}

/// Whether a read-only cover lies on `dir`.
pub fn is_covered(dir: &Path) -> bool {
    mounts::resolve(dir).is_ok_and(|dir| matches!(top(&dir), Ok(Some(Leftover::Cover))))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Leftover {
    Engine,
    Cover,
}

impl Leftover {
    fn words(self) -> &'static str {
        match self {
            Leftover::Engine => "the mount of an engine that was killed",
            Leftover::Cover => "the read-only cover of an engine that was killed",
        }
    }
}

/// What of ours is the topmost mount on `dir`, if it is ours.
fn top(dir: &Path) -> Result<Option<Leftover>, Failure> {
    let mounts = mounts::listed()?;
    let stack = mounts::stack(&mounts, dir).map_err(|error| failed(dir, error.to_string()))?;
    let Some(top) = stack.last() else { return Ok(None) };
    if top.kind == FUSE_KIND {
        return Ok(Some(Leftover::Engine));
    }
    let beneath = mounts.iter().find(|m| m.id == top.parent);
    Ok(beneath.filter(|beneath| is_cover(top, beneath, dir)).map(|_| Leftover::Cover))
}

fn is_cover(top: &Mount, beneath: &Mount, dir: &Path) -> bool {
    top.read_only && top.device == beneath.device && mounts::root_of(beneath, dir).is_some_and(|root| root == top.root)
}

/// Whether an engine answers behind the FUSE mount on `dir`. Asked on a thread of its own: a
/// stopped engine never answers, and the question cannot be taken back.
fn refuse_living(dir: &Path) -> Result<(), Failure> {
    let (answer, wait) = mpsc::channel();
    let path: PathBuf = dir.to_path_buf();
    std::thread::Builder::new()
        .name("stale-probe".to_owned())
        .spawn(move || {
            // Past the kernel's cached attributes, which a dead engine may have left valid.
            let asked = statx(CWD, &path, AtFlags::STATX_FORCE_SYNC, StatxFlags::BASIC_STATS);
            let _ = answer.send(asked.map(drop));
        })
        .map_err(|error| failed(dir, error.to_string()))?;
    let what = format!("cannot use {}", dir.display());
    match wait.recv_timeout(STALE_PROBE) {
        Ok(Err(rustix::io::Errno::NOTCONN | rustix::io::Errno::CONNABORTED)) => Ok(()),
        Ok(_) => Err(Failure::new(
            FailureKind::Refused,
            what,
            "another engine has it mounted and answers",
            "see `understudy status`, and stop that engine first",
        )),
        Err(_) => Err(Failure::new(
            FailureKind::Refused,
            what,
            format!("another engine has it mounted and did not answer within {} s", STALE_PROBE.as_secs()),
            "end that engine (kill -9 if it is stopped), then start again",
        )),
    }
}

fn failed(dir: &Path, why: impl Into<String>) -> Failure {
    let what = format!("cannot clean up over {}", dir.display());
    Failure::new(FailureKind::Failed, what, why, format!("take it off by hand: umount -l {}", dir.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::cover::ReadOnlyCover;
    use crate::sys::in_private_mounts;
    use rustix::mount::{MountFlags, mount, mount_bind};
    use std::ffi::CString;
    use std::fs::{self, File};
    use std::os::fd::AsRawFd;

    /// A mount of ours whose engine never answers; dead once the file is closed.
    fn fuse(at: &Path) -> File {
        let device = File::options().read(true).write(true).open("/dev/fuse").unwrap();
        let options = format!("fd={},rootmode=40000,user_id=0,group_id=0", device.as_raw_fd());
        let options = CString::new(options).unwrap();
        mount("understudy", at, FUSE_KIND, MountFlags::empty(), options.as_c_str()).unwrap();
        device
    }

    #[test]
    fn nothing_there_nothing_done() {
        let temp = tempfile::tempdir().unwrap();
        assert!(clean(temp.path()).unwrap().is_empty());
        assert!(clean(&temp.path().join("none")).unwrap().is_empty());
    }

    #[test]
    fn dead_mounts_and_covers_in_any_stack_are_removed() {
        let temp = tempfile::tempdir().unwrap();
        in_private_mounts(|| {
            fs::write(temp.path().join("data"), "").unwrap();
            let _ = ReadOnlyCover::put(temp.path()).unwrap();
            let _ = ReadOnlyCover::put(temp.path()).unwrap();
            drop(fuse(temp.path()));
            let removed = clean(temp.path()).unwrap();
            assert_eq!(removed.len(), 3, "{removed:?}");
            assert!(removed[0].contains("mount of an engine"), "{removed:?}");
            fs::write(temp.path().join("data"), "again").unwrap();
        });
    }

    #[test]
    fn a_cover_of_a_mount_point_is_removed_and_the_mount_stays() {
        let temp = tempfile::tempdir().unwrap();
        in_private_mounts(|| {
            mount("none", temp.path(), "tmpfs", MountFlags::empty(), None).unwrap();
            fs::write(temp.path().join("data"), "").unwrap();
            let _ = ReadOnlyCover::put(temp.path()).unwrap();
            assert_eq!(clean(temp.path()).unwrap().len(), 1);
            fs::write(temp.path().join("data"), "again").unwrap();
        });
    }

    #[test]
    fn a_stopped_engine_is_refused() {
        let temp = tempfile::tempdir().unwrap();
        in_private_mounts(|| {
            let engine = fuse(temp.path());
            let failure = clean(temp.path()).unwrap_err();
            assert_eq!(failure.kind, FailureKind::Refused);
            assert!(failure.why.contains("did not answer"), "{failure}");
            drop(engine);
            assert_eq!(clean(temp.path()).unwrap().len(), 1);
        });
    }

    #[test]
    fn mounts_of_others_stay() {
        let temp = tempfile::tempdir().unwrap();
        in_private_mounts(|| {
            let other = temp.path().join("other");
            let dir = temp.path().join("dir");
            fs::create_dir(&other).unwrap();
            fs::create_dir(&dir).unwrap();
            mount_bind(&other, &dir).unwrap();
            rustix::mount::mount_remount(&dir, MountFlags::BIND | MountFlags::RDONLY, "").unwrap();
            assert!(clean(&dir).unwrap().is_empty(), "a read-only bind of another directory");
            mount("none", &dir, "tmpfs", MountFlags::RDONLY, None).unwrap();
            assert!(clean(&dir).unwrap().is_empty(), "a read-only file system");
        });
    }
}
