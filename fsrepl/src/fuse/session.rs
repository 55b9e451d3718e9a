//! Mounting over the directory, and leaving it again.

use super::Bridge;
use crate::apply::Volume;
use crate::limits::FUSE_THREADS_EXTRA;
use fuser::{Config, MountOption, Session, SessionACL};
use rustix::io::Errno;
use rustix::mount::UnmountFlags;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

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
    let mut config = Config::default();
    config.mount_options = vec![
        MountOption::FSName("understudy".into()),
        MountOption::Subtype("understudy".into()),
        MountOption::DefaultPermissions,
        MountOption::Dev,
        MountOption::Suid,
        MountOption::RW,
    ];
    config.acl = SessionACL::All;
    config.n_threads = Some(threads());
    config.clone_fd = true;
    let session = Session::new(Bridge::new(volume, threads()), dir, &config)?;
    let serving = std::thread::Builder::new().name("fuse".into()).spawn(move || session.run())?;
    Ok(Mounted { dir: dir.to_path_buf(), serving: Some(serving) })
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

    /// Whether the kernel has ended the session by itself (unmounted by hand, connection aborted).
    pub fn is_over(&self) -> bool {
        self.serving.as_ref().is_none_or(JoinHandle::is_finished)
    }
}
