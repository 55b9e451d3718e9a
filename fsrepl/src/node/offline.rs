//! A replica that no engine runs on: the cluster reads and changes what it is.

use super::change::Change;
use super::identity::{Identity, boot_id, has_data};
use super::private::PrivateTree;
use super::registry::Registry;
use super::stale;
use crate::report::{Failure, FailureKind};
use std::path::Path;

/// The replica as it lies there.
#[derive(Debug)]
pub struct Offline {
    tree: PrivateTree,
    identity: Option<Identity>,
}

impl Offline {
    /// Opens the replica in `dir`: what killed engines left over it is taken off first. Refused while an engine answers, and
    /// when a replica should be there and its disk is not mounted.
    pub fn open(dir: &Path, state: &Path) -> Result<Offline, Failure> {
        for removed in stale::clean(dir)? {
            tracing::debug!("{removed}");
        }
        let tree = PrivateTree::open(dir)?;
        let identity = Identity::load(&tree)?;
        Registry::new(state).check(tree.path(), identity.as_ref().map(|identity| identity.set))?;
        Ok(Offline { tree, identity })
    }

    /// What it is; none: no replica.
    pub fn identity(&self) -> Option<&Identity> {
        self.identity.as_ref()
    }

    /// Whether the directory holds anything that an application could miss.
    pub fn has_data(&self) -> bool {
        use std::os::unix::ffi::OsStrExt;
        let Ok(entries) = std::fs::read_dir(self.tree.path()) else { return true };
        let names: Vec<_> = entries.flatten().map(|entry| entry.file_name()).collect();
        has_data(names.iter().map(|name| name.as_bytes()))
    }

    pub(super) fn tree(&self) -> &PrivateTree {
        &self.tree
    }

    pub(super) fn store(&mut self, change: impl FnOnce(&mut Identity)) -> Result<(), Failure> {
        let Some(present) = &self.identity else {
            return Err(Failure::new(FailureKind::Refused, "cannot record a change", "the directory is no replica yet", ""));
        };
        let mut next = present.clone();
        change(&mut next);
        next.store(&self.tree)?;
        self.identity = Some(next);
        Ok(())
    }

    /// Records a change; gives what the replica is now.
    pub fn change(&mut self, change: &Change) -> Result<&Identity, Failure> {
        let Some(present) = &self.identity else {
            return Err(Failure::new(FailureKind::Refused, "cannot record a change", "the directory is no replica yet", ""));
        };
        if !change.fits(present) {
            return Err(super::answers::stale_change("it was meant for another session or generation"));
        }
        let mut next = present.clone();
        change.apply(&mut next);
        next.store(&self.tree)?;
        Ok(self.identity.insert(next))
    }
}

/// The boot of today, to be compared with [`Identity::boot_id`].
pub fn boot_now() -> String {
    boot_id().unwrap_or_default()
}
