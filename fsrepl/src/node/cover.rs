//! The read-only cover: while this node is secondary, others can read the directory and not
//! change it; the engine works on its private tree beneath.
//!
//! The cover is a mount, so it outlives the engine: a secondary that was killed stays covered
//! until the next start takes the cover off (`stale`).

use super::holders::{Holder, holders};
use super::mounts;
use super::private::clone_mount;
use crate::report::{Failure, FailureKind};
use crate::sys::{MountAttributes, mount_attributes};
use rustix::fs::CWD;
use rustix::mount::{MoveMountFlags, UnmountFlags, move_mount, unmount};
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

/// A directory mounted read-only over itself.
#[derive(Debug)]
pub struct ReadOnlyCover {
    dir: PathBuf,
    id: u64,
}

impl ReadOnlyCover {
    /// Covers `dir`. There is no moment at which the cover can be written to: it is made
    /// read-only before it is attached.
    pub fn put(dir: &Path) -> Result<ReadOnlyCover, Failure> {
        let attempt = || -> io::Result<ReadOnlyCover> {
            let dir = std::fs::canonicalize(dir)?;
            let cover = clone_mount(&dir)?;
            mount_attributes(cover.as_fd(), MountAttributes { read_only: true, private: true })?;
            move_mount(&cover, "", CWD, &dir, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?;
            let id = mounts::id_of(&dir)?;
            Ok(ReadOnlyCover { dir, id })
        };
        attempt().map_err(|error| {
            let what = format!("cannot cover {} read-only", dir.display());
            let cure = "a kernel of 5.12 or newer and CAP_SYS_ADMIN are needed";
            Failure::new(FailureKind::Failed, what, error.to_string(), cure)
        })
    }

    /// Takes the cover off. Processes that still read through it keep their files; they are
    /// returned, and new look-ups see the directory itself.
    pub fn remove(self) -> Result<Vec<Holder>, Failure> {
        if mounts::id_of(&self.dir).ok() != Some(self.id) {
            return Err(self.failure("another mount lies on it, or it is gone"));
        }
        match unmount(&self.dir, UnmountFlags::NOFOLLOW) {
            Ok(()) => Ok(Vec::new()),
            Err(rustix::io::Errno::BUSY) => {
                let readers = holders(&self.dir);
                unmount(&self.dir, UnmountFlags::NOFOLLOW | UnmountFlags::DETACH).map_err(|error| self.failure(&error.to_string()))?;
                Ok(readers)
            }
            Err(error) => Err(self.failure(&error.to_string())),
        }
    }

    fn failure(&self, why: &str) -> Failure {
        let what = format!("cannot take the read-only cover off {}", self.dir.display());
        Failure::new(FailureKind::Failed, what, why, format!("look at it with: findmnt {}", self.dir.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::holders::How;
    use crate::node::private::PrivateTree;
    use crate::sys::in_private_mounts;
    use rustix::fs::{Mode, OFlags, openat};
    use std::fs;
    use std::process::Command;

    #[test]
    fn others_read_and_do_not_write_and_the_engine_does() {
        let temp = tempfile::tempdir().unwrap();
        in_private_mounts(|| {
            fs::write(temp.path().join("old"), "x").unwrap();
            let tree = PrivateTree::open(temp.path()).unwrap();
            let cover = ReadOnlyCover::put(temp.path()).unwrap();
            let refused = fs::write(temp.path().join("new"), "").unwrap_err();
            assert_eq!(refused.kind(), io::ErrorKind::ReadOnlyFilesystem);
            openat(&tree, "mine", OFlags::CREATE | OFlags::WRONLY, Mode::from_raw_mode(0o600)).unwrap();
            assert!(temp.path().join("mine").exists());
            assert_eq!(fs::read(temp.path().join("old")).unwrap(), b"x");
            assert_eq!(cover.remove().unwrap(), []);
            fs::write(temp.path().join("new"), "").unwrap();
        });
    }

    #[test]
    fn readers_are_named_and_do_not_keep_it() {
        let temp = tempfile::tempdir().unwrap();
        in_private_mounts(|| {
            let cover = ReadOnlyCover::put(temp.path()).unwrap();
            let mut reader = Command::new("cat").current_dir(temp.path()).stdin(std::process::Stdio::piped()).spawn().unwrap();
            let readers = cover.remove();
            reader.kill().unwrap();
            reader.wait().unwrap();
            let readers = readers.unwrap();
            assert_eq!(readers.len(), 1);
            assert_eq!(readers[0].how, How::WorkingDirectory(fs::canonicalize(temp.path()).unwrap()));
            fs::write(temp.path().join("new"), "").unwrap();
        });
    }

    #[test]
    fn somebody_elses_mount_on_top_is_left_alone() {
        let temp = tempfile::tempdir().unwrap();
        in_private_mounts(|| {
            let cover = ReadOnlyCover::put(temp.path()).unwrap();
            rustix::mount::mount("none", temp.path(), "tmpfs", rustix::mount::MountFlags::empty(), None).unwrap();
            assert!(cover.remove().is_err());
            fs::write(temp.path().join("theirs"), "").unwrap();
        });
    }
}
