//! On whose behalf this thread acts on the file system beneath.
//!
//! Creating as the caller gives new files their owner, group inheritance and default ACLs in one call;
//! writing as the caller lets the kernel clear set-id bits and hold reserved blocks and quotas. Changing the
//! identity costs more than a write, so a thread keeps the last one until another is needed. Handles can be
//! opened as root only.

use crate::objects::Live;
use crate::sys;
use std::cell::Cell;

#[derive(Clone, Copy, PartialEq, Eq)]
struct Who {
    uid: u32,
    gid: u32,
}

const ROOT: Who = Who { uid: 0, gid: 0 };
/// The kernel's "no caller" (write-back, requests of the kernel itself).
const NOBODY: u32 = u32::MAX;

thread_local! {
    static WHO: Cell<Who> = const { Cell::new(ROOT) };
    static UMASK: Cell<Option<u32>> = const { Cell::new(None) };
}

fn become_(who: Who) {
    WHO.with(|current| {
        if current.get() != who {
            sys::set_fs_ids(who.uid, who.gid);
            current.set(who);
        }
    });
}

/// Acts as root.
pub fn as_root() {
    become_(ROOT);
}

/// Acts as the caller of a request.
pub fn as_caller(uid: u32, gid: u32) {
    if uid == NOBODY {
        return as_root();
    }
    become_(Who { uid, gid });
}

/// Gives this thread the umask of a request.
pub fn umask(mask: u32) {
    UMASK.with(|current| {
        if current.get() == Some(mask) {
            return;
        }
        if current.get().is_none()
            && let Err(why) = sys::own_umask()
        {
            // Without an own umask a thread would change everybody's: files would get wrong modes.
            tracing::error!(%why, "cannot give a worker thread its own umask");
        }
        sys::umask(mask);
        current.set(Some(mask));
    });
}

/// Runs `act` as the caller with the caller's supplementary groups, which a request does not carry: they
/// are read from the process. For rare requests whose outcome depends on them.
pub fn with_groups<T>(uid: u32, gid: u32, pid: u32, act: impl FnOnce() -> T) -> T {
    as_root();
    let groups = groups_of(pid);
    if let Err(why) = sys::set_thread_groups(&groups) {
        tracing::debug!(pid, %why, "supplementary groups not taken over");
    }
    as_caller(uid, gid);
    let result = act();
    as_root();
    let _ = sys::set_thread_groups(&[]);
    result
}

/// Runs `act`, which changes the content of `live`, as the caller, so that the kernel beneath clears set-id
/// bits as it must. Whether a set-gid bit without group execution stays depends on the caller's groups.
pub fn as_writer<T>(uid: u32, gid: u32, pid: u32, live: &Live, act: impl FnOnce() -> T) -> T {
    if uid != 0 && uid != NOBODY && live.has_set_id() && rustix::fs::fstat(live).is_ok_and(|stat| stat.st_mode & 0o2010 == 0o2000) {
        return with_groups(uid, gid, pid, act);
    }
    as_caller(uid, gid);
    act()
}

fn groups_of(pid: u32) -> Vec<u32> {
    let Ok(status) = std::fs::read_to_string(format!("/proc/{pid}/status")) else { return Vec::new() };
    let line = status.lines().find_map(|line| line.strip_prefix("Groups:")).unwrap_or("");
    line.split_whitespace().filter_map(|group| group.parse().ok()).collect()
}

/// Whether the caller is in `group`, supplementary groups included.
pub fn in_group(gid: u32, pid: u32, group: u32) -> bool {
    gid == group || groups_of(pid).contains(&group)
}
