//! Changes that lose are kept: before a replica gives up what only it has, what it changed since both were equal
//! is copied to a browsable tree beside the data (`.understudy/kept/ID/tree`), until an operator removes it.

mod changed;
pub mod consistent;
pub mod copy;

pub use changed::keep_changes;
pub use copy::CopyError;

use crate::limits::{KEPT_MANIFEST, KEPT_SHARE};
use crate::resync::target::remove_tree;
use crate::sys::Sys;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, Mode, OFlags, mkdirat, openat};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::{self, Read, Write};
use std::sync::atomic::AtomicBool;
use std::time::SystemTime;
use uuid::Uuid;

const KEPT: &CStr = c"kept";
const MANIFEST: &CStr = c"manifest.json";
const TREE: &CStr = c"tree";
const SCHEMA: u64 = 1;

/// Room that may be used, and what was used.
#[derive(Clone, Debug)]
pub struct Budget {
    limit: u64,
    /// Bytes copied, as if nothing could be shared.
    pub bytes: u64,
    /// Files, links and devices copied.
    pub files: u64,
    /// Directories made.
    pub directories: u64,
}

impl Budget {
    /// At most this many bytes.
    pub fn of(limit: u64) -> Budget {
        Budget { limit, bytes: 0, files: 0, directories: 0 }
    }

    /// The part of a file system's free space that may be used: one part in [`KEPT_SHARE`].
    pub fn of_free_space(root: impl AsFd) -> Sys<Budget> {
        let free = rustix::fs::fstatvfs(root)?;
        Ok(Budget::of(free.f_bavail * free.f_frsize / KEPT_SHARE))
    }

    fn take(&mut self, bytes: u64) -> Result<(), CopyError> {
        self.bytes += bytes;
        if self.bytes > self.limit { Err(CopyError::Budget(self.limit)) } else { Ok(()) }
    }
}

/// What a kept tree is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Version of this form.
    pub schema: u64,
    /// Name of the kept tree.
    pub id: String,
    /// When it was kept (RFC 3339).
    pub time: String,
    /// Why, in the operator's words.
    pub reason: String,
    /// The generation that was given up.
    pub generation: Uuid,
    /// Files, links and devices in it.
    pub files: u64,
    /// Directories in it.
    pub directories: u64,
    /// Bytes in it.
    pub bytes: u64,
    /// Directories, as paths, of which names were added, moved or removed: what was removed cannot be kept.
    pub renamed_in: Vec<String>,
}

/// A tree that is being kept: durable, and listed, once finished.
pub struct Keeping {
    home: OwnedFd,
    id: CString,
    tree: OwnedFd,
    /// What it may take.
    pub budget: Budget,
}

fn home(hidden: impl AsFd) -> Sys<OwnedFd> {
    match mkdirat(&hidden, KEPT, Mode::RWXU) {
        Ok(()) | Err(Errno::EXIST) => copy::directory(hidden.as_fd(), KEPT),
        Err(why) => Err(why),
    }
}

impl Keeping {
    /// Begins one in the hidden directory of a replica, for `generation`.
    pub fn begin(hidden: impl AsFd, generation: Uuid, budget: Budget) -> Sys<Keeping> {
        let home = home(hidden)?;
        let time = humantime::format_rfc3339_seconds(SystemTime::now()).to_string().replace([':', '-'], "");
        let short = generation.simple().to_string();
        for number in 0..100 {
            let id = CString::new(format!("{time}-{}{}", &short[..8], if number == 0 { String::new() } else { format!("-{number}") }));
            let Ok(id) = id else { return Err(Errno::INVAL) };
            match mkdirat(&home, &id, Mode::RWXU) {
                Ok(()) => {
                    let own = copy::directory(home.as_fd(), &id)?;
                    mkdirat(&own, TREE, Mode::RWXU)?;
                    let tree = copy::directory(own.as_fd(), TREE)?;
                    return Ok(Keeping { home, id, tree, budget });
                }
                Err(Errno::EXIST) => {}
                Err(why) => return Err(why),
            }
        }
        Err(Errno::EXIST)
    }

    /// Where copies go.
    pub fn tree(&self) -> BorrowedFd<'_> {
        self.tree.as_fd()
    }

    /// Makes it durable and lists it. With nothing in it, it goes and `None` is given.
    pub fn finish(self, generation: Uuid, reason: &str, renamed_in: Vec<String>) -> io::Result<Option<Manifest>> {
        if self.budget.files + self.budget.directories == 0 && renamed_in.is_empty() {
            self.give_up()?;
            return Ok(None);
        }
        let manifest = Manifest {
            schema: SCHEMA,
            id: self.id.to_string_lossy().into_owned(),
            time: humantime::format_rfc3339_millis(SystemTime::now()).to_string(),
            reason: reason.to_owned(),
            generation,
            files: self.budget.files,
            directories: self.budget.directories,
            bytes: self.budget.bytes,
            renamed_in,
        };
        crate::sys::syncfs(&self.tree)?;
        let own = copy::directory(self.home.as_fd(), &self.id)?;
        let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut file = File::from(openat(&own, MANIFEST, flags, Mode::RUSR | Mode::WUSR)?);
        file.write_all(&serde_json::to_vec_pretty(&manifest)?)?;
        file.sync_all()?;
        rustix::fs::fsync(&own)?;
        rustix::fs::fsync(&self.home)?;
        Ok(Some(manifest))
    }

    /// Removes what was copied so far.
    pub fn give_up(self) -> Sys<()> {
        remove_tree(&self.home, &self.id, &AtomicBool::new(false))
    }
}

/// The trees kept in a replica, oldest first. One without a manifest was never finished and is not listed.
pub fn list(hidden: impl AsFd) -> io::Result<Vec<Manifest>> {
    let home = home(hidden)?;
    let mut all = Vec::new();
    for id in copy::names(home.as_fd())? {
        if let Some(manifest) = read(&home, &id)? {
            all.push(manifest);
        }
    }
    all.sort_by(|one: &Manifest, other| one.time.cmp(&other.time));
    Ok(all)
}

fn read(home: &OwnedFd, id: &CStr) -> io::Result<Option<Manifest>> {
    let own = copy::directory(home.as_fd(), id)?;
    let file = match openat(&own, MANIFEST, OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty()) {
        Err(Errno::NOENT) => return Ok(None),
        other => File::from(other?),
    };
    let mut bytes = Vec::new();
    file.take(KEPT_MANIFEST).read_to_end(&mut bytes)?;
    Ok(serde_json::from_slice(&bytes).ok())
}

/// Removes a kept tree; false if there is none of this name.
pub fn remove(hidden: impl AsFd, id: &str) -> io::Result<bool> {
    let home = home(hidden)?;
    let plain = !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    let Some(name) = plain.then(|| CString::new(id).ok()).flatten() else { return Ok(false) };
    match rustix::fs::statat(&home, &*name, AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => return Ok(false),
        other => drop(other?),
    }
    remove_tree(&home, &name, &AtomicBool::new(false))?;
    rustix::fs::fsync(&home)?;
    Ok(true)
}

/// Removes what a killed engine left unfinished.
pub fn tidy(hidden: impl AsFd) -> io::Result<()> {
    let home = home(hidden)?;
    for id in copy::names(home.as_fd())? {
        if read(&home, &id)?.is_none() {
            remove_tree(&home, &id, &AtomicBool::new(false))?;
        }
    }
    Ok(())
}
