//! The engine's own way to the files: a mount that is attached nowhere, so that it stays what it
//! is whatever is mounted over the directory afterwards.

use super::mounts;
use crate::report::{Failure, FailureKind};
use crate::sys::{MountAttributes, mount_attributes};
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::mount::{OpenTreeFlags, open_tree};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

/// A detached private clone of the mount that holds a directory, rooted at that directory.
#[derive(Debug)]
pub struct PrivateTree {
    root: OwnedFd,
    /// The clone itself: the kernel takes it apart when this is closed.
    _mount: OwnedFd,
    path: PathBuf,
}

impl PrivateTree {
    /// Clones what is seen at `dir` now: clean stale mounts first, cover the directory afterwards.
    pub fn open(dir: &Path) -> Result<PrivateTree, Failure> {
        let path = std::fs::canonicalize(dir).map_err(|error| unusable(dir, &error))?;
        let kind = std::fs::metadata(&path).map_err(|error| unusable(dir, &error))?;
        if !kind.is_dir() {
            return Err(refused(dir, "it is not a directory", "name a directory"));
        }
        if path == Path::new("/") {
            return Err(refused(dir, "it is the root of the system", "name a directory below it"));
        }
        refuse_mounts_inside(dir, &path)?;
        let (mount, root) = clone_and_open(&path).map_err(|error| {
            let cure = "a kernel of 5.12 or newer and CAP_SYS_ADMIN are needed";
            Failure::new(FailureKind::Failed, opening(dir), format!("a private mount was refused ({error})"), cure)
        })?;
        Ok(PrivateTree { root, _mount: mount, path })
    }

    /// The directory as the operator's tools see it: absolute, without symbolic links.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// One more descriptor of the root. It works as long as the tree itself is kept.
    pub fn duplicate(&self) -> io::Result<OwnedFd> {
        self.root.try_clone()
    }
}

impl AsFd for PrivateTree {
    /// Root of the tree, open for reading: for `openat`, `fsync`, `syncfs`, and as the mount for
    /// `open_by_handle_at`.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }
}

/// The clone, and its root opened in earnest: `open_by_handle_at` takes no `O_PATH` descriptor.
fn clone_and_open(path: &Path) -> io::Result<(OwnedFd, OwnedFd)> {
    let mount = clone_mount(path)?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = openat(&mount, ".", flags, Mode::empty())?;
    Ok((mount, root))
}

/// A detached mount of what is seen at `path`. Private, because newer kernels propagate mounts
/// into detached trees too: ours on `path` would appear in the clone.
pub(super) fn clone_mount(path: &Path) -> io::Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let root = open_tree(CWD, path, flags)?;
    mount_attributes(root.as_fd(), MountAttributes { private: true, ..Default::default() })?;
    Ok(root)
}

fn refuse_mounts_inside(dir: &Path, path: &Path) -> Result<(), Failure> {
    let mounts = mounts::listed()?;
    let holder = mounts::id_of(path).map_err(|error| unusable(dir, &error))?;
    let inside = mounts.iter().find(|m| m.parent == holder && m.point != path && m.point.starts_with(path));
    match inside {
        None => Ok(()),
        Some(mount) => Err(refused(
            dir,
            format!("another file system ({}) is mounted inside it at {}", mount.kind, mount.point.display()),
            "unmount that one, or replicate it as a directory of its own",
        )),
    }
}

fn opening(dir: &Path) -> String {
    format!("cannot replicate {}", dir.display())
}

fn refused(dir: &Path, why: impl Into<String>, cure: &str) -> Failure {
    Failure::new(FailureKind::Refused, opening(dir), why, cure)
}

fn unusable(dir: &Path, error: &io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::NotFound => refused(dir, "it does not exist", "create it, or mount the disk it is on"),
        io::ErrorKind::NotADirectory => refused(dir, "part of the path is not a directory", "name a directory"),
        _ => refused(dir, error.to_string(), "make it accessible to root"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::in_private_mounts;
    use rustix::mount::{MountFlags, mount};
    use std::fs;

    fn tmpfs(at: &Path) {
        mount("none", at, "tmpfs", MountFlags::empty(), None).unwrap();
    }

    fn create(tree: &PrivateTree, name: &str) -> rustix::io::Result<OwnedFd> {
        openat(tree, name, OFlags::CREATE | OFlags::WRONLY, Mode::from_raw_mode(0o600))
    }

    #[test]
    fn stays_what_it_was_when_something_is_mounted_over_it() {
        let temp = tempfile::tempdir().unwrap();
        in_private_mounts(|| {
            fs::write(temp.path().join("below"), "x").unwrap();
            let tree = PrivateTree::open(temp.path()).unwrap();
            tmpfs(temp.path());
            assert!(!temp.path().join("below").exists());
            create(&tree, "new").unwrap();
            openat(&tree, "below", OFlags::RDONLY, Mode::empty()).unwrap();
        });
        assert!(temp.path().join("new").exists());
    }

    #[test]
    fn mounts_made_later_on_a_shared_mount_do_not_reach_it() {
        use rustix::mount::{MountPropagationFlags, mount_change};
        let temp = tempfile::tempdir().unwrap();
        in_private_mounts(|| {
            tmpfs(temp.path());
            mount_change(temp.path(), MountPropagationFlags::SHARED).unwrap();
            let dir = temp.path().join("d");
            fs::create_dir_all(dir.join("sub")).unwrap();
            let tree = PrivateTree::open(&dir).unwrap();
            tmpfs(&dir.join("sub"));
            fs::write(dir.join("sub/above"), "x").unwrap();
            assert!(openat(&tree, "sub/above", OFlags::RDONLY, Mode::empty()).is_err());
        });
    }

    #[test]
    fn follows_links_to_the_directory() {
        let temp = tempfile::tempdir().unwrap();
        let real = temp.path().join("real");
        fs::create_dir(&real).unwrap();
        std::os::unix::fs::symlink("real", temp.path().join("link")).unwrap();
        let tree = PrivateTree::open(&temp.path().join("link")).unwrap();
        assert_eq!(tree.path(), fs::canonicalize(&real).unwrap());
    }

    #[test]
    fn refuses_what_is_no_directory_or_is_not_there() {
        let temp = tempfile::tempdir().unwrap();
        let file = temp.path().join("file");
        fs::write(&file, "").unwrap();
        for (path, why) in [(&file, "not a directory"), (&temp.path().join("none"), "does not exist")] {
            let failure = PrivateTree::open(path).unwrap_err();
            assert_eq!(failure.kind, FailureKind::Refused);
            assert!(failure.why.contains(why), "{failure}");
        }
    }

    #[test]
    fn refuses_another_mount_inside_and_names_it() {
        let temp = tempfile::tempdir().unwrap();
        in_private_mounts(|| {
            let inside = temp.path().join("a b");
            fs::create_dir(&inside).unwrap();
            tmpfs(&inside);
            let failure = PrivateTree::open(temp.path()).unwrap_err();
            assert_eq!(failure.kind, FailureKind::Refused);
            assert!(failure.why.contains("a b"), "{failure}");
            PrivateTree::open(&inside).expect("a mount point itself is fine");
        });
    }
}
