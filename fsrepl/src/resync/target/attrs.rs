//! Attributes of one object, made those of the primary.

use super::{Target, nonsense};
use crate::apply::remote::{ApplyError, Incoming, told};
use crate::apply::{own, xattr_names};
use crate::id::ObjectId;
use crate::objects::{Kind, Live, Objects, flags, mtime, set_mtime};
use crate::op::SyncMeta;
use crate::sys;
use rustix::fd::AsFd;
use rustix::fs::AtFlags;
use std::ffi::{CStr, CString};

impl Target {
    /// SYNC_META: attributes and extended attributes as they are on the primary.
    pub fn meta(&self, objects: &Objects, op: &Incoming<'_>) -> Result<(), ApplyError> {
        let meta: SyncMeta = nonsense(op.body)?;
        let _held = objects.locks.one(op.object);
        self.unlock(objects, op.object)?;
        let live = told("resync", objects.live(op.object))?;
        told("keep", objects.before_attributes(&*live))?;
        let mut stat = told("resync", rustix::fs::statat(&*live, c"", AtFlags::EMPTY_PATH))?;
        // What the primary sent of the content ends in another time each.
        let mut stamped = false;
        if let Some(size) = meta.size.filter(|size| *size != stat.st_size as u64) {
            let fd = told("truncate", live.for_writing())?;
            told("keep", objects.before_size(&*live, stat.st_size as u64, size))?;
            told("truncate", rustix::fs::ftruncate(fd, size))?;
            stamped = true;
        }
        let owned = told("resync", own(live.as_fd(), &stat, meta.uid, meta.gid, meta.mode))?;
        if set_xattrs(&live, &meta)? || owned {
            // An ACL changes the mode and a set-id bit may have gone with the owner: the primary's mode is last.
            stat = told("resync", rustix::fs::statat(&*live, c"", AtFlags::EMPTY_PATH))?;
            told("resync", own(live.as_fd(), &stat, meta.uid, meta.gid, meta.mode))?;
        }
        // At once, not lazily: most of what a resync brings is not touched again soon.
        objects.times.take(op.object);
        if stamped || mtime(&stat) != op.mtime {
            told("utimens", set_mtime(live.as_fd(), op.mtime))?;
        }
        if let Some(wanted) = meta.flags.filter(|_| matches!(live.kind, Kind::File | Kind::Directory))
            && flags::set(&live, wanted)
        {
            objects.close(op.object);
        }
        self.unlocked.lock().remove(&op.object.0);
        if live.kind != Kind::Directory {
            self.owed.lock().settle(op.object);
        }
        Ok(())
    }

    /// What is immutable or append-only cannot be healed: its flags come back with its attributes.
    pub(super) fn unlock(&self, objects: &Objects, id: ObjectId) -> Result<(), ApplyError> {
        let kind = objects.table.look(id, |entry| entry.kind);
        if !matches!(kind, Some(Kind::File | Kind::Directory)) {
            return Ok(());
        }
        let live = told("resync", objects.live(id))?;
        // A file that opened for writing is neither; a directory has to be asked.
        if live.kind == Kind::File && live.for_writing().is_ok() && !live.appends() {
            return Ok(());
        }
        let present = flags::get(&live).unwrap_or(0);
        if present & flags::LOCKING == 0 {
            return Ok(());
        }
        told("keep", objects.before_attributes(&*live))?;
        // Durably before: whoever finds this half done must get the attributes again.
        self.remember(std::iter::once((id, Kind::Special)))?;
        if flags::set(&live, present & !flags::LOCKING) {
            objects.close(id);
            self.unlocked.lock().entry(id.0).or_insert(present);
        }
        Ok(())
    }

    /// The primary did not send the attributes of what was unlocked for an operation of the application: they were right.
    pub(super) fn lock_again(&self, objects: &Objects) -> Result<(), ApplyError> {
        for (id, present) in std::mem::take(&mut *self.unlocked.lock()) {
            let id = ObjectId(id);
            let _held = objects.locks.one(id);
            let Ok(live) = objects.live(id) else { continue };
            // Such an object takes no times any more.
            told("resync", objects.write_time_locked(id))?;
            if flags::set(&live, present) {
                objects.close(id);
            }
        }
        Ok(())
    }
}

/// True if something was changed.
fn set_xattrs(live: &Live, meta: &SyncMeta) -> Result<bool, ApplyError> {
    let mut changed = false;
    for name in told("xattr", xattr_names(live.as_fd()))? {
        if !meta.xattrs.iter().any(|(wanted, _)| wanted[..] == *name.to_bytes()) {
            told("xattr", sys::remove_xattr(live.as_fd(), &name))?;
            changed = true;
        }
    }
    for (name, value) in &meta.xattrs {
        let name = CString::new(&name[..]).map_err(|_| ApplyError::Nonsense("an attribute name with a NUL".into()))?;
        if !has(live, &name, value) {
            told("xattr", sys::set_xattr(live.as_fd(), &name, value, 0))?;
            changed = true;
        }
    }
    Ok(changed)
}

/// Whether the attribute has this value already.
fn has(live: &Live, name: &CStr, value: &[u8]) -> bool {
    let mut present = vec![0; value.len() + 1];
    sys::get_xattr(live.as_fd(), name, &mut present).is_ok_and(|length| present[..length] == *value)
}
