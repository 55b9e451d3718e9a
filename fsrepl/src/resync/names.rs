//! Names: directory after directory, each under its lock, so that later changes of it travel as operations.

use super::progress::Doing;
use super::source::{Broken, Sync};
use crate::apply::{HIDDEN, describe, identity, read_directory};
use crate::id::ObjectId;
use crate::limits::{RESYNC_NAMES, RESYNC_NAMES_BYTES};
use crate::objects::{Kind, Live, mtime};
use crate::op::{self, Create, Op, SyncNames, kind};
use crate::sys::{Sys, cstr};
use rustix::fd::AsFd;
use rustix::fs::AtFlags;
use rustix::io::Errno;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::sync::atomic::Ordering::Relaxed;

impl Sync<'_> {
    /// Tells the secondary all names of one directory. Directories above it whose names it does not know are told
    /// first: then this one is in its place there, and nothing that moves into it can lie above it.
    pub(super) fn names(&mut self, id: ObjectId) -> Result<(), Broken> {
        let volume = self.volume;
        identity::as_root();
        while !volume.objects.is_orphan(id) && !volume.names_known(id, self.epoch) {
            {
                let _still = volume.ongoing.still();
                // Where everything is compared, directories are found from the root down; but one in doubt may not be
                // there, because the one that holds it is in doubt as well.
                let highest = if self.scope.everything && !self.scope.doubted(id) {
                    id
                } else {
                    let Some(chain) = Self::unless_gone(id, volume.chain(id))? else { return Ok(()) };
                    chain.into_iter().rev().find(|above| !volume.names_known(*above, self.epoch)).unwrap_or(id)
                };
                if !self.list(highest)? {
                    return Ok(());
                }
            }
            self.progress.files.0.fetch_add(1, Relaxed);
            self.progress.files.1.fetch_add(1, Relaxed);
            self.progress.steps.fetch_add(1, Relaxed);
            self.pace()?;
        }
        Ok(())
    }

    /// One directory, while nothing moves directories. False if it is gone.
    fn list(&mut self, id: ObjectId) -> Result<bool, Broken> {
        let volume = self.volume;
        *self.progress.doing.lock() = Doing::Names(id);
        let _held = volume.objects.locks.one(id);
        if volume.objects.is_orphan(id) {
            return Ok(false);
        }
        let Some(live) = Self::unless_gone(id, volume.objects.live(id))? else { return Ok(false) };
        self.send_names(id, &live)?;
        // Its attributes at once: what is created in it from now on inherits from them on both nodes.
        let mut stat = rustix::fs::fstat(&*live).map_err(|why| Broken::Local(id, why))?;
        volume.objects.overlay(id, &mut stat);
        self.meta(id, &live, &stat)?;
        volume.objects.table.change(id, |entry| (entry.names_epoch, entry.content_epoch) = (self.epoch, self.epoch));
        Ok(true)
    }

    fn send_names(&mut self, id: ObjectId, live: &Live) -> Result<(), Broken> {
        let local = |why| Broken::Local(id, why);
        let entries = read_directory(live).map_err(local)?;
        let stamp = mtime(&rustix::fs::fstat(live).map_err(local)?);
        let mut left = entries.into_iter().filter(|entry| !(id == ObjectId::ROOT && entry.name == HIDDEN)).peekable();
        let mut first = op::FIRST;
        loop {
            let mut names = SyncNames { entries: Vec::new() };
            let mut bytes = 0;
            while names.entries.len() < RESYNC_NAMES
                && bytes < RESYNC_NAMES_BYTES
                && let Some(entry) = left.next()
            {
                match self.name(id, live, &entry.name) {
                    Ok(Some(named)) => {
                        bytes += named.1.name.len() + named.1.target.as_ref().map_or(0, |target| target.len());
                        names.entries.push(named);
                    }
                    Ok(None) | Err(Errno::NOENT) => {}
                    Err(why) => return Err(local(why)),
                }
            }
            let more = if left.peek().is_some() { op::MORE } else { 0 };
            let op = Op { flags: first | more, ..Op::new(kind::SYNC_NAMES, id).mtime(stamp).body(&names) };
            self.push(&op, false)?;
            first = 0;
            if more == 0 {
                return Ok(());
            }
        }
    }

    /// One entry; none if it is excluded.
    fn name(&mut self, parent: ObjectId, dir: &Live, name: &OsStr) -> Sys<Option<(ObjectId, Create)>> {
        let volume = self.volume;
        let path = cstr(name)?;
        let stat = rustix::fs::statat(dir, &*path, AtFlags::SYMLINK_NOFOLLOW)?;
        let id = volume.objects.identify(dir.as_fd(), parent, &path, &stat)?;
        if volume.objects.table.is_local(parent) || volume.exclude.matches(dir.as_fd(), name) {
            volume.objects.table.set_local(id);
            return Ok(None);
        }
        let target = match Kind::of(stat.st_mode) {
            Kind::Symlink => Some(rustix::fs::readlinkat(dir, &*path, Vec::new())?.into_bytes()),
            Kind::Directory => {
                if !volume.names_known(id, self.epoch) {
                    self.directories.push_back(id);
                }
                None
            }
            _ => None,
        };
        // What was known when the resync began is on the list if the plan names it.
        let found = self.scope.everything || id >= self.born;
        if Kind::of(stat.st_mode) != Kind::Directory && found && !volume.content_known(id, self.epoch) {
            let size = if Kind::of(stat.st_mode) == Kind::File { stat.st_size as u64 } else { 0 };
            self.contents.push_back((id, size));
            self.progress.files.0.fetch_add(1, Relaxed);
            self.progress.bytes.0.fetch_add(size, Relaxed);
        }
        let create = describe(parent, name, &stat, (stat.st_mode, 0), target.as_deref().map(OsStr::from_bytes), mtime(&stat));
        Ok(Some((id, create)))
    }
}
