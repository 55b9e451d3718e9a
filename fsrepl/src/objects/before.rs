//! What is asked before the tree of a secondary changes: the one way from operations to its last consistent state
//! ([`crate::kept::consistent`]). Nothing is kept most of the time, and then each question is one look at a flag.

use super::Objects;
use crate::kept::consistent::Keep;
use crate::sys::Sys;
use rustix::fd::AsFd;
use rustix::fs::Stat;
use std::ffi::{CStr, CString};
use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Release};

impl Objects {
    /// Changes are saved from here on, or not any more.
    pub fn set_keep(&self, keep: Option<Arc<Keep>>) {
        let mut place = self.keep.write();
        self.keeping.store(keep.is_some(), Release);
        *place = keep;
    }

    /// What is being kept.
    pub fn keep(&self) -> Option<Arc<Keep>> {
        if !self.keeping.load(Acquire) {
            return None;
        }
        self.keep.read().clone()
    }

    fn ask<T: Default>(&self, ask: impl FnOnce(&Keep) -> Sys<T>) -> Sys<T> {
        self.keep().map_or_else(|| Ok(T::default()), |keep| ask(&keep))
    }

    /// An object was made.
    pub fn born(&self, inode: u64) {
        if let Some(keep) = self.keep() {
            keep.born(inode);
        }
    }

    /// Before attributes of an object change.
    pub fn before_attributes(&self, object: impl AsFd) -> Sys<()> {
        self.ask(|keep| keep.attributes(object.as_fd()))
    }

    /// Before content of a file changes, from an offset to another.
    pub fn before_content(&self, file: impl AsFd, from: u64, to: u64) -> Sys<()> {
        self.ask(|keep| keep.content(file.as_fd(), from, to))
    }

    /// Before the size of a file changes.
    pub fn before_size(&self, file: impl AsFd, present: u64, next: u64) -> Sys<()> {
        self.before_content(file, next.min(present), present)
    }

    /// Before a name is given or moved.
    pub fn before_name(&self, dir: impl AsFd, name: &CStr) -> Sys<()> {
        self.ask(|keep| keep.name(dir.as_fd(), name))
    }

    /// The same for several names of a directory.
    pub fn before_names<'a>(&self, dir: impl AsFd, names: impl Iterator<Item = &'a CStr>) -> Sys<()> {
        self.ask(|keep| keep.names(dir.as_fd(), names))
    }

    /// Before a name is removed, or replaced, that was `stat`.
    pub fn before_removal(&self, dir: impl AsFd, name: &CStr, stat: &Stat) -> Sys<()> {
        self.ask(|keep| keep.last_name(dir.as_fd(), name, stat))
    }

    /// Instead of removing a directory: true if that is done.
    pub fn keep_directory(&self, dir: impl AsFd, name: &CStr) -> Sys<bool> {
        self.ask(|keep| keep.move_directory(dir.as_fd(), name))
    }

    /// Instead of removing a whole tree: a name for [`Keep::weigh`] if that is done.
    pub fn keep_tree(&self, dir: impl AsFd, name: &CStr) -> Sys<Option<CString>> {
        self.ask(|keep| keep.take(dir.as_fd(), name))
    }

    /// A directory that is no part of the tree.
    pub fn set_outside(&self, dir: impl AsFd) -> Sys<()> {
        self.ask(|keep| keep.set_outside(dir))
    }

    /// Before something that is immutable or append-only is unlocked for a moment.
    pub fn before_unlocking<'a>(&self, fds: impl IntoIterator<Item = rustix::fd::BorrowedFd<'a>>) -> Sys<()> {
        fds.into_iter()
            .filter(|fd| super::flags::of(*fd).unwrap_or(0) & super::flags::LOCKING != 0)
            .try_for_each(|fd| self.before_attributes(fd))
    }
}
