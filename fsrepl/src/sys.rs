//! System calls that no crate wraps safely. Everything here takes and gives safe types; the
//! argument why that holds stands at each call.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// What [`mount_attributes`] makes of a mount.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MountAttributes {
    /// Nothing can be written through this mount.
    pub read_only: bool,
    /// Mounts below neither come from nor go to other mounts of the same file system.
    pub private: bool,
}

/// Changes the mount whose root `mount` is (also one that is attached nowhere).
pub fn mount_attributes(mount: BorrowedFd<'_>, want: MountAttributes) -> io::Result<()> {
    let attributes = libc::mount_attr {
        attr_set: if want.read_only { libc::MOUNT_ATTR_RDONLY } else { 0 },
        attr_clr: 0,
        propagation: if want.private { libc::MS_PRIVATE } else { 0 },
        userns_fd: 0,
    };
    // SAFETY: the path is a NUL-terminated literal, `attributes` lives across the call and its
    // size is passed with it; the kernel only reads both. The descriptor is borrowed, so open.
    let outcome = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            &raw const attributes,
            size_of::<libc::mount_attr>(),
        )
    };
    if outcome == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Runs `test` on a thread with a mount namespace of its own: what it mounts ends with it.
#[cfg(test)]
pub fn in_private_mounts<T: Send>(test: impl FnOnce() -> T + Send) -> T {
    use rustix::mount::{MountPropagationFlags, mount_change};
    use rustix::thread::{UnshareFlags, unshare_unsafe};
    let run = || {
        // SAFETY: NEWNS takes no descriptors away; the thread gets its own working directory and
        // root, which nothing in these tests shares.
        unsafe { unshare_unsafe(UnshareFlags::NEWNS) }.expect("these tests run as root");
        mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC).expect("private mounts");
        test()
    };
    std::thread::scope(|scope| match scope.spawn(run).join() {
        Ok(value) => value,
        Err(panic) => std::panic::resume_unwind(panic),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::private::PrivateTree;
    use std::io::Read;
    use std::os::fd::{AsFd, FromRawFd};

    const HANDLE_BYTES: usize = 128;

    #[repr(C)]
    struct Handle {
        bytes: libc::c_uint,
        kind: libc::c_int,
        handle: [u8; HANDLE_BYTES],
    }

    /// What the engines rest on: handles open below a mount that covers the files, for writing.
    #[test]
    fn handles_open_through_a_private_tree() {
        let temp = tempfile::tempdir().unwrap();
        std::fs::write(temp.path().join("file"), "content").unwrap();
        in_private_mounts(|| {
            let tree = PrivateTree::open(temp.path()).unwrap();
            rustix::mount::mount("none", temp.path(), "tmpfs", rustix::mount::MountFlags::empty(), None).unwrap();
            let root = tree.as_fd().as_raw_fd();
            let mut handle = Handle { bytes: HANDLE_BYTES as libc::c_uint, kind: 0, handle: [0; HANDLE_BYTES] };
            let place = (&raw mut handle).cast::<libc::file_handle>();
            let mut mount = 0;
            // SAFETY: `handle` has the layout of file_handle followed by as many bytes as it says;
            // the name is NUL-terminated and all of them live across the call.
            let named = unsafe { libc::name_to_handle_at(root, c"file".as_ptr(), place, &raw mut mount, 0) };
            assert_eq!(named, 0, "{}", io::Error::last_os_error());
            // SAFETY: as above; the kernel filled the handle in.
            let opened = unsafe { libc::open_by_handle_at(root, place, libc::O_RDWR | libc::O_CLOEXEC) };
            assert!(opened >= 0, "{}", io::Error::last_os_error());
            // SAFETY: the kernel just made this descriptor, and nothing else owns it.
            let mut file = unsafe { std::fs::File::from_raw_fd(opened) };
            let mut text = String::new();
            file.read_to_string(&mut text).unwrap();
            assert_eq!(text, "content");
        });
    }
}
