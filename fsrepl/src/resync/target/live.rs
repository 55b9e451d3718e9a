//! Operations of the application while a resync runs.
//!
//! The primary sends what concerns objects that it takes for known here. It may be wrong for a moment: an
//! object that had to be made anew is empty until the primary has heard of that. So an operation that does
//! not fit is no end of the session, as it is in a mirror: what it names is in doubt, durably, and is sent
//! again from the beginning. The primary ends the session when it hears of the same object again and again.

use super::disk::{open_plain, unlock_all};
use super::{Target, nonsense};
use crate::apply::remote::{ApplyError, Incoming, Touched, apply, component, told};
use crate::id::ObjectId;
use crate::objects::{Kind, Objects};
use crate::op::{Create, Name, Rename, kind};
use rustix::fd::AsFd;
use rustix::fs::AtFlags;
use rustix::io::Errno;

/// Errors that say that this tree is not the one the operation was made for.
pub(crate) fn differs(error: &ApplyError) -> bool {
    let other_tree = |why: Errno| {
        matches!(
            why,
            Errno::NOENT
                | Errno::STALE
                | Errno::EXIST
                | Errno::NOTEMPTY
                | Errno::NOTDIR
                | Errno::ISDIR
                | Errno::INVAL
                | Errno::PERM
                | Errno::NODATA
        )
    };
    matches!(error, ApplyError::System { why, .. } if other_tree(*why))
}

impl Target {
    /// Applies one frame of an operation of the application, or of the content that the resync sends.
    pub fn live(&mut self, objects: &Objects, op: &Incoming<'_>) -> Result<Touched, ApplyError> {
        let concerned = match op.kind {
            kind::CREATE => vec![nonsense::<Create>(op.body)?.parent],
            kind::LINK | kind::UNLINK => vec![nonsense::<Name>(op.body)?.parent],
            kind::RENAME => {
                let rename: Rename = nonsense(op.body)?;
                vec![rename.from.parent, rename.to.parent]
            }
            _ => vec![op.object],
        };
        let mut touched = Touched::Nothing;
        self.in_known(objects, &concerned, |target| {
            touched = target.attempt(objects, op)?;
            Ok(())
        })?;
        Ok(touched)
    }

    /// Runs `act` on objects that the primary takes for known here.
    pub(super) fn in_known(
        &mut self,
        objects: &Objects,
        concerned: &[ObjectId],
        act: impl FnOnce(&mut Target) -> Result<(), ApplyError>,
    ) -> Result<(), ApplyError> {
        let Err(error) = act(self) else { return Ok(()) };
        if !differs(&error) {
            return Err(error);
        }
        self.misfits += 1;
        #[cfg(test)]
        eprintln!("misfit: {concerned:?}: {error}");
        tracing::debug!(?concerned, %error, "an operation does not fit what is here: it will be compared");
        for id in concerned {
            let kind = objects.table.look(*id, |entry| entry.kind);
            let kinds = kind.map_or(vec![Kind::File, Kind::Directory, Kind::Symlink], |kind| vec![kind]);
            self.remember(kinds.into_iter().map(|kind| (*id, kind)))?;
            self.owed.lock().doubt(*id);
        }
        Ok(())
    }

    fn attempt(&mut self, objects: &Objects, op: &Incoming<'_>) -> Result<Touched, ApplyError> {
        match op.kind {
            kind::WRITE | kind::FALLOCATE | kind::SETATTR => {
                let at_end = |size: u64| op.offset == size;
                let live = objects.live(op.object).ok();
                let appends = live.filter(|live| live.appends());
                // Such a file writes at its end, whatever the offset.
                if let Some(live) = appends
                    && !rustix::fs::fstat(&*live).is_ok_and(|stat| at_end(stat.st_size as u64))
                {
                    self.unlock(objects, op.object)?;
                }
                match apply(objects, op) {
                    Err(ApplyError::System { why: Errno::PERM, .. }) => {
                        self.unlock(objects, op.object)?;
                        apply(objects, op)
                    }
                    other => other,
                }
            }
            kind::UNLINK => {
                let outcome = self.unlink(objects, op)?;
                if objects.table.look(op.object, |_| ()).is_none() {
                    self.owed.lock().settle(op.object);
                }
                Ok(outcome)
            }
            kind::RENAME => self.rename(objects, op),
            kind::FLAGS => {
                let outcome = apply(objects, op)?;
                self.unlocked.lock().remove(&op.object.0);
                Ok(outcome)
            }
            _ => apply(objects, op),
        }
    }

    /// A directory may hold what the primary's does not: then it is put aside. And what goes may be immutable here
    /// whose attributes have not been sent: left in its place it would be in the way of what the application makes
    /// there next, and everything in that would be missing here.
    fn unlink(&mut self, objects: &Objects, op: &Incoming<'_>) -> Result<Touched, ApplyError> {
        let mut outcome = apply(objects, op);
        if matches!(outcome, Err(ApplyError::System { why: Errno::PERM, .. })) {
            outcome = self.unlink_freely(objects, op);
        }
        match outcome {
            Err(error) if is_full(&error) => {
                self.park_directory(objects, &nonsense(op.body)?)?;
                Ok(Touched::Nothing)
            }
            other => other,
        }
    }

    fn unlink_freely(&mut self, objects: &Objects, op: &Incoming<'_>) -> Result<Touched, ApplyError> {
        let name: Name = nonsense(op.body)?;
        let dir = told("unlink", objects.live(name.parent))?;
        let it = told("unlink", open_plain(dir.as_fd(), &component(&name.name)?))?;
        let fds: Vec<_> = it.iter().map(AsFd::as_fd).chain([dir.as_fd()]).collect();
        told("keep", objects.before_unlocking(fds.iter().copied()))?;
        let _unlocked = told("unlink", unlock_all(&fds))?;
        apply(objects, op)
    }

    fn rename(&mut self, objects: &Objects, op: &Incoming<'_>) -> Result<Touched, ApplyError> {
        let mut outcome = apply(objects, op);
        if matches!(outcome, Err(ApplyError::System { why: Errno::INVAL, .. })) && op.offset != 0 {
            self.park_loose(objects, ObjectId(op.offset))?;
            outcome = apply(objects, op);
        }
        match outcome {
            Err(error) if is_full(&error) => {
                let rename: Rename = nonsense(op.body)?;
                self.park_directory(objects, &rename.to)?;
                apply(objects, op)
            }
            Err(ApplyError::System { why: Errno::PERM, .. }) => self.rename_freely(objects, op),
            other => other,
        }
    }

    /// Something is immutable here that is not on the primary: its flags come with its attributes.
    fn rename_freely(&mut self, objects: &Objects, op: &Incoming<'_>) -> Result<Touched, ApplyError> {
        let rename: Rename = nonsense(op.body)?;
        let (from, to) = (told("rename", objects.live(rename.from.parent))?, told("rename", objects.live(rename.to.parent))?);
        let names = [(&from, component(&rename.from.name)?), (&to, component(&rename.to.name)?)];
        let plain: Vec<_> = names.iter().filter_map(|(dir, name)| open_plain(dir.as_fd(), name).ok().flatten()).collect();
        let fds: Vec<_> = plain.iter().map(AsFd::as_fd).chain([from.as_fd(), to.as_fd()]).collect();
        told("keep", objects.before_unlocking(fds.iter().copied()))?;
        let _unlocked = told("rename", unlock_all(&fds))?;
        apply(objects, op)
    }

    /// Makes room for UNLINK or RENAME of a directory whose surplus has not been compared yet.
    fn park_directory(&mut self, objects: &Objects, name: &Name) -> Result<(), ApplyError> {
        let dir = told("park", objects.live(name.parent))?;
        let path = component(&name.name)?;
        let stat = told("park", rustix::fs::statat(&*dir, &*path, AtFlags::SYMLINK_NOFOLLOW))?;
        self.park(objects, &dir, &path, stat.st_ino)?;
        objects.times.set(name.parent, name.parent_mtime);
        Ok(())
    }
}

fn is_full(error: &ApplyError) -> bool {
    matches!(error, ApplyError::System { why: Errno::NOTEMPTY | Errno::EXIST, .. })
}
