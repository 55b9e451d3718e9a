//! Files that lost their last name while descriptors are short: instead of a descriptor, a name in the hidden
//! directory keeps them until the kernel forgets them.

use crate::id::ObjectId;
use crate::sys::Sys;
use parking_lot::RwLock;
use rustc_hash::FxHashSet;
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{AtFlags, Dir, Mode, OFlags, linkat, mkdirat, openat, unlinkat};
use rustix::io::Errno;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

const DIRECTORY: &str = "unnamed";

/// The names, if this node has a place for them. Removing the value removes them.
#[derive(Default)]
pub struct Unnamed {
    dir: OnceLock<OwnedFd>,
    kept: RwLock<FxHashSet<u64>>,
    any: AtomicBool,
}

impl Unnamed {
    /// From now on there is a place, inside the hidden directory; what a killed engine left there goes.
    pub fn settle(&self, hidden: impl AsFd) -> Sys<()> {
        match mkdirat(&hidden, DIRECTORY, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(why) => return Err(why),
        }
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let dir = openat(&hidden, DIRECTORY, flags, Mode::empty())?;
        clear(&dir)?;
        // Set once only: a second place would be the same.
        let _ = self.dir.set(dir);
        Ok(())
    }

    /// Gives the file behind `pin` a name; false without a place.
    pub fn keep(&self, id: ObjectId, pin: impl AsFd) -> Sys<bool> {
        let Some(dir) = self.dir.get() else { return Ok(false) };
        linkat(pin, c"", dir, name(id), AtFlags::EMPTY_PATH)?;
        self.any.store(true, Ordering::Release);
        self.kept.write().insert(id.0);
        Ok(true)
    }

    /// Whether the object is kept here.
    pub fn has(&self, id: ObjectId) -> bool {
        self.any.load(Ordering::Acquire) && self.kept.read().contains(&id.0)
    }

    /// Lets the file go; false if it was not kept here.
    pub fn forget(&self, id: ObjectId) -> bool {
        if !self.any.load(Ordering::Acquire) {
            return false;
        }
        let mut kept = self.kept.write();
        if !kept.remove(&id.0) {
            return false;
        }
        self.any.store(!kept.is_empty(), Ordering::Release);
        drop(kept);
        if let Some(dir) = self.dir.get()
            && let Err(why) = unlinkat(dir, name(id), AtFlags::empty())
        {
            tracing::warn!(%id, %why, "a removed file keeps its room until the next start");
        }
        true
    }
}

impl Drop for Unnamed {
    fn drop(&mut self) {
        if let Some(dir) = self.dir.get() {
            // What cannot be removed goes at the next start.
            let _ = clear(dir);
        }
    }
}

fn name(id: ObjectId) -> String {
    format!("{:016x}", id.0)
}

fn clear(dir: &OwnedFd) -> Sys<()> {
    for entry in Dir::read_from(dir)? {
        let entry = entry?;
        if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
            unlinkat(dir, entry.file_name(), AtFlags::empty())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, File};

    #[test]
    fn a_kept_file_lives_until_it_is_forgotten() {
        let temp = tempfile::tempdir().unwrap();
        let hidden = File::open(temp.path()).unwrap();
        let unnamed = Unnamed::default();
        let path = temp.path().join("file");
        fs::write(&path, "content").unwrap();
        let pin = File::open(&path).unwrap();
        assert_eq!(unnamed.keep(ObjectId(7), &pin), Ok(false), "no place yet");
        unnamed.settle(&hidden).unwrap();
        assert_eq!(unnamed.keep(ObjectId(7), &pin), Ok(true));
        let inside = temp.path().join(DIRECTORY).join(name(ObjectId(7)));
        assert!(unnamed.has(ObjectId(7)) && inside.exists());
        assert!(unnamed.forget(ObjectId(7)) && !unnamed.forget(ObjectId(7)) && !inside.exists());
        assert_eq!(unnamed.keep(ObjectId(8), &pin), Ok(true));
        let after_a_crash = Unnamed::default();
        after_a_crash.settle(&hidden).unwrap();
        assert_eq!(fs::read_dir(temp.path().join(DIRECTORY)).unwrap().count(), 0);
    }
}
