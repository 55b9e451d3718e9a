//! Inode flags, as chattr(1) sets them.

use super::Live;
use crate::sys;
use rustix::fd::{AsFd, BorrowedFd};

/// Flags that matter to applications and can be set: immutable, append-only, nodump, noatime, sync, dirsync.
const KEPT: u32 = 0x10 | 0x20 | 0x40 | 0x80 | 0x8 | 0x1_0000;

/// Of those, what keeps an object from being moved, linked and given times: immutable, append-only.
pub const LOCKING: u32 = 0x10 | 0x20;

fn all(fd: BorrowedFd<'_>) -> Option<[u8; 8]> {
    let mut data = [0; 8];
    sys::inode_flags(fd, sys::GET_FLAGS, &mut data).ok()?;
    Some(data)
}

fn number(data: [u8; 8]) -> u32 {
    u32::from_ne_bytes([data[0], data[1], data[2], data[3]])
}

/// The flags of an object, where its file system has them.
pub fn get(live: &Live) -> Option<u32> {
    of(live.as_fd())
}

/// The same of anything that is open, but not by its path only.
pub fn of(fd: BorrowedFd<'_>) -> Option<u32> {
    all(fd).map(|data| number(data) & KEPT)
}

/// Sets the flags if they differ; true if something was changed.
pub fn set(live: &Live, wanted: u32) -> bool {
    change(live.as_fd(), wanted)
}

/// The same of anything that is open, but not by its path only.
pub fn change(fd: BorrowedFd<'_>, wanted: u32) -> bool {
    let Some(mut data) = all(fd) else { return false };
    let present = number(data);
    let next = present & !KEPT | wanted & KEPT;
    if next == present {
        return false;
    }
    data[..4].copy_from_slice(&next.to_ne_bytes());
    sys::inode_flags(fd, sys::SET_FLAGS, &mut data).is_ok()
}

/// Does what an immutable or append-only object does not allow, and locks it again.
pub fn unlocked<T>(live: &Live, act: impl FnOnce() -> T) -> T {
    let flags = get(live).unwrap_or(0);
    set(live, flags & !LOCKING);
    let outcome = act();
    set(live, flags);
    outcome
}
