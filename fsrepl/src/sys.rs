//! System calls that no crate wraps safely: file handles, the identity of one thread, inode flags,
//! extended attributes of things that cannot be opened.
//!
//! With `uring`, the only place where unsafe code is allowed.
#![allow(unsafe_code)]

use rustix::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use rustix::io::Errno;
use std::ffi::{CStr, CString, OsStr};
use std::io;
use std::os::unix::ffi::OsStrExt;

/// Result of a system call.
pub type Sys<T> = Result<T, Errno>;

fn last() -> Errno {
    Errno::from_raw_os_error(std::io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO))
}

fn check(ret: libc::c_int) -> Sys<libc::c_int> {
    if ret < 0 { Err(last()) } else { Ok(ret) }
}

fn check_long(ret: libc::c_long) -> Sys<libc::c_long> {
    if ret < 0 { Err(last()) } else { Ok(ret) }
}

fn check_size(ret: libc::ssize_t) -> Sys<usize> {
    usize::try_from(ret).map_err(|_| last())
}

/// A NUL-terminated copy of `name`; names with a NUL inside are EINVAL.
pub fn cstr(name: &OsStr) -> Sys<CString> {
    CString::new(name.as_bytes()).map_err(|_| Errno::INVAL)
}

/// Largest file handle that any Linux file system makes (`MAX_HANDLE_SZ`).
const HANDLE_BYTES: usize = 128;

#[repr(C)]
struct RawHandle {
    handle_bytes: u32,
    handle_type: i32,
    bytes: [u8; HANDLE_BYTES],
}

/// What `name_to_handle_at` gave: the file system's own name of an inode, generation included.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Handle {
    /// ext4, xfs, btrfs, tmpfs: no allocation for millions of objects.
    Small(i32, u8, [u8; 20]),
    /// Everything larger (overlayfs, network file systems).
    Large(Box<(i32, Vec<u8>)>),
}

impl Handle {
    /// From what [`Handle::parts`] gave; none if that is no handle.
    pub fn from_parts(handle_type: i32, bytes: &[u8]) -> Option<Handle> {
        if bytes.len() > HANDLE_BYTES {
            return None;
        }
        let mut small = [0; 20];
        Some(match small.get_mut(..bytes.len()) {
            Some(place) => {
                place.copy_from_slice(bytes);
                Handle::Small(handle_type, bytes.len() as u8, small)
            }
            None => Handle::Large(Box::new((handle_type, bytes.to_vec()))),
        })
    }

    /// Its type and its bytes.
    pub fn parts(&self) -> (i32, &[u8]) {
        match self {
            Handle::Small(handle_type, len, bytes) => (*handle_type, &bytes[..*len as usize]),
            Handle::Large(large) => (large.0, &large.1),
        }
    }

    fn from_raw(raw: &RawHandle) -> Handle {
        let len = (raw.handle_bytes as usize).min(HANDLE_BYTES);
        Handle::from_parts(raw.handle_type, &raw.bytes[..len]).expect("no longer than it may be")
    }

    fn to_raw(&self) -> RawHandle {
        let (handle_type, bytes) = self.parts();
        let mut raw = RawHandle { handle_bytes: bytes.len() as u32, handle_type, bytes: [0; HANDLE_BYTES] };
        raw.bytes[..bytes.len()].copy_from_slice(bytes);
        raw
    }
}

/// Handle of `name` in `dir` (an empty name means `dir` itself); symbolic links are not followed.
pub fn name_to_handle(dir: BorrowedFd<'_>, name: &CStr) -> Sys<Handle> {
    let mut raw = RawHandle { handle_bytes: HANDLE_BYTES as u32, handle_type: 0, bytes: [0; HANDLE_BYTES] };
    let mut mount_id: libc::c_int = 0;
    let flags = if name.is_empty() { libc::AT_EMPTY_PATH } else { 0 };
    // SAFETY: `raw` has the layout of struct file_handle with room for `handle_bytes` bytes behind it,
    // `name` is NUL-terminated, and both outlive the call.
    let ret = unsafe { libc::syscall(libc::SYS_name_to_handle_at, dir.as_raw_fd(), name.as_ptr(), &raw mut raw, &raw mut mount_id, flags) };
    check_long(ret)?;
    Ok(Handle::from_raw(&raw))
}

/// Attempts to open what is in the making, half of them a millisecond apart.
const IN_THE_MAKING: u32 = 200;

/// Opens what `handle` names, on the file system of `mount` (not an O_PATH descriptor). Needs
/// CAP_DAC_READ_SEARCH in effect. ESTALE when the inode is gone.
///
/// While the number of a removed inode is being used again, the kernel says ENOMEM: it finds an inode in the making and takes that
/// for none (`iget_locked`). That passes within microseconds; an ENOMEM that stays is one.
pub fn open_by_handle(mount: BorrowedFd<'_>, handle: &Handle, flags: libc::c_int) -> Sys<OwnedFd> {
    for attempt in 0..IN_THE_MAKING {
        match open_by_handle_once(mount, handle, flags) {
            Err(Errno::NOMEM) if attempt < IN_THE_MAKING / 2 => std::thread::yield_now(),
            Err(Errno::NOMEM) => std::thread::sleep(std::time::Duration::from_millis(1)),
            other => return other,
        }
    }
    open_by_handle_once(mount, handle, flags)
}

fn open_by_handle_once(mount: BorrowedFd<'_>, handle: &Handle, flags: libc::c_int) -> Sys<OwnedFd> {
    let mut raw = handle.to_raw();
    // SAFETY: `raw` has the layout of struct file_handle and its `handle_bytes` lie inside it.
    let fd = unsafe { libc::syscall(libc::SYS_open_by_handle_at, mount.as_raw_fd(), &raw mut raw, flags | libc::O_CLOEXEC) };
    let fd = check_long(fd)?;
    // SAFETY: the kernel just gave us this descriptor; nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as libc::c_int) })
}

/// Lets what `command` starts lead a session of its own: no terminal, and one number by which everything that it starts in
/// turn is found.
pub fn own_session(command: &mut std::process::Command) -> &mut std::process::Command {
    use std::os::unix::process::CommandExt;
    // SAFETY: between fork and exec only setsid(2) is called, which allocates nothing and takes no lock.
    unsafe { command.pre_exec(|| rustix::process::setsid().map(drop).map_err(io::Error::from)) }
}

/// Gives this thread a umask and a current directory of its own.
pub fn own_umask() -> Sys<()> {
    // SAFETY: unsharing the file system attributes touches no memory of ours.
    check(unsafe { libc::unshare(libc::CLONE_FS) }).map(drop)
}

/// Sets the umask of this thread's file system attributes (see [`own_umask`]).
pub fn umask(mask: u32) {
    // SAFETY: cannot fail and touches no memory.
    unsafe { libc::umask(mask) };
}

/// Sets the file system uid and gid of this thread only. Leaving uid 0 drops the thread's
/// file system capabilities, returning to it brings them back.
pub fn set_fs_ids(uid: u32, gid: u32) {
    // SAFETY: these calls change the credentials of this thread and cannot fail in a way that matters:
    // the kernel refuses only invalid ids, and then leaves the old ones.
    unsafe {
        libc::syscall(libc::SYS_setfsgid, gid);
        libc::syscall(libc::SYS_setfsuid, uid);
    }
}

/// Sets the supplementary groups of this thread only (glibc's `setgroups` would set all threads').
pub fn set_thread_groups(groups: &[u32]) -> Sys<()> {
    // SAFETY: `groups` is a valid array of `len` gid_t for the time of the call.
    check_long(unsafe { libc::syscall(libc::SYS_setgroups, groups.len(), groups.as_ptr()) }).map(drop)
}

/// Path through which an O_PATH descriptor can be given to calls that take paths.
fn proc_path(fd: BorrowedFd<'_>) -> [u8; 32] {
    use std::io::Write;
    let mut path = [0u8; 32];
    // "/proc/self/fd/" and ten digits fit with the NUL that is already there.
    let _ = write!(&mut path[..31], "/proc/self/fd/{}", fd.as_raw_fd());
    path
}

/// Reads an extended attribute of any kind of object through any kind of descriptor.
pub fn get_xattr(fd: BorrowedFd<'_>, name: &CStr, value: &mut [u8]) -> Sys<usize> {
    let path = proc_path(fd);
    // SAFETY: `path` and `name` are NUL-terminated, `value` is writable for its length.
    check_size(unsafe { libc::getxattr(path.as_ptr().cast(), name.as_ptr(), value.as_mut_ptr().cast(), value.len()) })
}

/// Lists the extended attributes of any kind of object.
pub fn list_xattr(fd: BorrowedFd<'_>, names: &mut [u8]) -> Sys<usize> {
    // SAFETY: `names` is writable for its length.
    match check_size(unsafe { libc::flistxattr(fd.as_raw_fd(), names.as_mut_ptr().cast(), names.len()) }) {
        // An O_PATH descriptor: a path is the longer way.
        Err(Errno::BADF) => {}
        other => return other,
    }
    let path = proc_path(fd);
    // SAFETY: `path` is NUL-terminated, `names` is writable for its length.
    check_size(unsafe { libc::listxattr(path.as_ptr().cast(), names.as_mut_ptr().cast(), names.len()) })
}

/// Sets an extended attribute; `flags` as in setxattr(2).
pub fn set_xattr(fd: BorrowedFd<'_>, name: &CStr, value: &[u8], flags: i32) -> Sys<()> {
    let path = proc_path(fd);
    // SAFETY: `path` and `name` are NUL-terminated, `value` is readable for its length.
    check(unsafe { libc::setxattr(path.as_ptr().cast(), name.as_ptr(), value.as_ptr().cast(), value.len(), flags) }).map(drop)
}

/// Removes an extended attribute.
pub fn remove_xattr(fd: BorrowedFd<'_>, name: &CStr) -> Sys<()> {
    let path = proc_path(fd);
    // SAFETY: `path` and `name` are NUL-terminated.
    check(unsafe { libc::removexattr(path.as_ptr().cast(), name.as_ptr()) }).map(drop)
}

/// Changes the mode of anything but a symbolic link, through any kind of descriptor.
pub fn chmod(fd: BorrowedFd<'_>, mode: u32) -> Sys<()> {
    let path = proc_path(fd);
    // SAFETY: `path` is NUL-terminated.
    check(unsafe { libc::chmod(path.as_ptr().cast(), mode) }).map(drop)
}

/// Opens again, with other flags, what an O_PATH descriptor names.
pub fn reopen(fd: BorrowedFd<'_>, flags: libc::c_int) -> Sys<OwnedFd> {
    let path = proc_path(fd);
    // SAFETY: `path` is NUL-terminated.
    let new = check(unsafe { libc::open(path.as_ptr().cast(), flags | libc::O_CLOEXEC) })?;
    // SAFETY: the kernel just gave us this descriptor; nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(new) })
}

/// `FS_IOC_GETFLAGS`.
pub const GET_FLAGS: u32 = 0x8008_6601;
/// `FS_IOC_SETFLAGS`.
pub const SET_FLAGS: u32 = 0x4008_6602;
/// `FS_IOC_FSGETXATTR`.
pub const GET_FSXATTR: u32 = 0x801c_581f;
/// `FS_IOC_FSSETXATTR`.
pub const SET_FSXATTR: u32 = 0x401c_5820;

/// One of the four inode flag calls above. `data` is exactly the structure of the call: 8 bytes for the
/// flags (the kernel reads and writes 4), 28 for fsxattr.
pub fn inode_flags(fd: BorrowedFd<'_>, call: u32, data: &mut [u8]) -> Sys<()> {
    let needed = match call {
        GET_FLAGS | SET_FLAGS => 8,
        GET_FSXATTR | SET_FSXATTR => 28,
        _ => return Err(Errno::NOTTY),
    };
    if data.len() < needed {
        return Err(Errno::INVAL);
    }
    // SAFETY: each of the four calls reads or writes at most `needed` bytes at the pointer.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), libc::Ioctl::from(call), data.as_mut_ptr()) }).map(drop)
}

/// `SEEK_DATA`/`SEEK_HOLE` on a descriptor that others may use: the offset of the descriptor is not used by us.
pub fn seek(fd: BorrowedFd<'_>, offset: i64, whence: i32) -> Sys<i64> {
    // SAFETY: touches no memory.
    let at = unsafe { libc::lseek(fd.as_raw_fd(), offset, whence) };
    if at < 0 { Err(last()) } else { Ok(at) }
}

/// Raw fallocate(2): rustix knows fewer mode bits than kernels do.
pub fn fallocate(fd: BorrowedFd<'_>, mode: i32, offset: u64, length: u64) -> Sys<()> {
    let (offset, length) = (i64::try_from(offset).map_err(|_| Errno::FBIG)?, i64::try_from(length).map_err(|_| Errno::FBIG)?);
    // SAFETY: touches no memory.
    check(unsafe { libc::fallocate(fd.as_raw_fd(), mode, offset, length) }).map(drop)
}

/// Whole-file-system flush of the file system that holds `fd`.
pub fn syncfs(fd: impl AsFd) -> Sys<()> {
    // SAFETY: touches no memory.
    check(unsafe { libc::syncfs(fd.as_fd().as_raw_fd()) }).map(drop)
}

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

    /// Inode numbers are used again: opening by the handle of what was removed meets the making of something new.
    #[test]
    fn a_handle_of_the_past_is_stale_and_nothing_else() {
        let temp = tempfile::tempdir().unwrap();
        let root = std::fs::File::open(temp.path()).unwrap();
        let over = std::sync::atomic::AtomicBool::new(false);
        let last = std::sync::Mutex::new(None);
        std::thread::scope(|threads| {
            for worker in 0..2 {
                let (root, temp, over, last) = (&root, &temp, &over, &last);
                threads.spawn(move || {
                    for round in 0..20_000 {
                        let path = temp.path().join(format!("{worker}-{round}"));
                        std::fs::write(&path, "").unwrap();
                        let name = std::ffi::CString::new(path.file_name().unwrap().as_encoded_bytes()).unwrap();
                        let handle = name_to_handle(root.as_fd(), &name).unwrap();
                        std::fs::remove_file(&path).unwrap();
                        *last.lock().unwrap() = Some(handle);
                    }
                    over.store(true, std::sync::atomic::Ordering::SeqCst);
                });
            }
            while !over.load(std::sync::atomic::Ordering::SeqCst) {
                let Some(handle) = last.lock().unwrap().clone() else { continue };
                match open_by_handle(root.as_fd(), &handle, libc::O_RDWR) {
                    Ok(_) | Err(Errno::STALE) => {}
                    Err(other) => panic!("{other}"),
                }
            }
        });
    }
}
