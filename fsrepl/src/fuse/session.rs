//! Mounting over the directory, and leaving it again.

use super::Bridge;
use crate::apply::Volume;
use crate::limits::FUSE_THREADS_EXTRA;
use fuser::{Config, Session, SessionACL};
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use rustix::fs::{CWD, Mode, OFlags, StatVfsMountFlags, openat};
use rustix::io::Errno;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, UnmountFlags, fsconfig_create, fsmount, fsopen};
use std::ffi::CString;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// A mounted volume.
pub struct Mounted {
    dir: PathBuf,
    serving: Option<JoinHandle<io::Result<()>>>,
}

/// Threads that serve requests: one each core, and some that may wait for disks and peers.
fn threads() -> usize {
    std::thread::available_parallelism().map_or(2, usize::from) + FUSE_THREADS_EXTRA
}

/// Mounts `volume` over `dir` and serves it.
pub fn mount(volume: Arc<Volume>, dir: &Path) -> io::Result<Mounted> {
    let device = attach(dir, flags_of(volume.objects.root())?)?;
    let mut config = Config::default();
    config.n_threads = Some(threads());
    config.clone_fd = true;
    let session = Session::from_fd(Bridge::new(volume, threads()), device, SessionACL::All, config).inspect_err(|_| {
        // Without a session nobody would answer: the directory must not stay covered.
        let _ = rustix::mount::unmount(dir, UnmountFlags::DETACH);
    })?;
    let serving = std::thread::Builder::new().name("fuse".into()).spawn(move || session.run())?;
    Ok(Mounted { dir: dir.to_path_buf(), serving: Some(serving) })
}

/// What the mount beneath does not allow is not allowed above it either.
fn flags_of(root: BorrowedFd<'_>) -> io::Result<MountFlags> {
    let beneath = rustix::fs::fstatvfs(root)?.f_flag;
    let kept = [
        (StatVfsMountFlags::RDONLY, MountFlags::RDONLY),
        (StatVfsMountFlags::NOSUID, MountFlags::NOSUID),
        (StatVfsMountFlags::NODEV, MountFlags::NODEV),
        (StatVfsMountFlags::NOEXEC, MountFlags::NOEXEC),
        (StatVfsMountFlags::NOATIME, MountFlags::NOATIME),
        (StatVfsMountFlags::NODIRATIME, MountFlags::NODIRATIME),
    ];
    Ok(kept.into_iter().filter(|(flag, _)| beneath.contains(*flag)).map(|(_, flag)| flag).collect())
}

/// Mounts a new FUSE connection over `dir`. By mount(2) itself, because only its type argument takes the
/// subtype by which a stale mount of ours is recognised.
fn attach(dir: &Path, flags: MountFlags) -> io::Result<OwnedFd> {
    let device = openat(CWD, "/dev/fuse", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
    let options = format!("fd={},rootmode=40000,user_id=0,group_id=0,default_permissions,allow_other", device.as_raw_fd());
    let options = CString::new(options).map_err(io::Error::other)?;
    rustix::mount::mount("understudy", dir, "fuse.understudy", flags, Some(&*options))?;
    Ok(device)
}

impl Mounted {
    /// Unmounts; EBUSY while anybody uses the directory. `detach` takes it out of sight at once and lets
    /// those who still use it finish.
    pub fn unmount(&mut self, detach: bool) -> Result<(), Errno> {
        let flags = if detach { UnmountFlags::DETACH } else { UnmountFlags::empty() };
        rustix::mount::unmount(&self.dir, flags)?;
        Ok(())
    }

    /// Waits until the last request is answered after [`Mounted::unmount`].
    pub fn join(&mut self) -> io::Result<()> {
        let Some(serving) = self.serving.take() else { return Ok(()) };
        match serving.join() {
            Ok(result) => result,
            Err(_) => Err(io::Error::other("a thread that serves requests panicked")),
        }
    }

    /// Waits for that at most `patience`.
    pub fn is_over_within(&self, patience: Duration) -> bool {
        let until = Instant::now() + patience;
        while !self.is_over() {
            if Instant::now() >= until {
                return false;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        true
    }

    /// Ends the connection of `device` (`0:minor`) in the kernel: copies of the mount in other mount namespaces would keep it
    /// for ever. Who still uses one of them gets errors.
    pub fn abort(&self, device: &str) -> io::Result<()> {
        let (_, minor) = device.split_once(':').ok_or(io::ErrorKind::InvalidInput)?;
        let context = fsopen("fusectl", FsOpenFlags::FSOPEN_CLOEXEC)?;
        fsconfig_create(context.as_fd())?;
        let control = fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())?;
        let switch = openat(&control, format!("{minor}/abort"), OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
        rustix::io::write(&switch, b"1")?;
        Ok(())
    }

    /// Whether the kernel has ended the session by itself (unmounted by hand, connection aborted).
    pub fn is_over(&self) -> bool {
        self.serving.as_ref().is_none_or(JoinHandle::is_finished)
    }
}
