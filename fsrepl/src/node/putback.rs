//! The state from before an unfinished resync: kept while the resync runs, put back on request, or dropped at the end.

use super::identity::{Identity, boot_id, hidden_directory};
use super::offline::Offline;
use crate::id::ObjectId;
use crate::kept::consistent::{self, Done, Header, Keep, Stage};
use crate::objects::Objects;
use crate::report::{Data, Failure, FailureKind};
use rustix::fd::{AsFd, OwnedFd};
use std::io;
use std::sync::Arc;
use uuid::Uuid;

/// Whether a replica is consistent before a session begins, so that it is worth being kept: it could be served, with or
/// without an operator's word about its age.
pub(super) fn is_consistent(identity: &Identity, lost_power: bool) -> bool {
    identity.data != Data::Inconsistent && !identity.current.is_nil() && !lost_power
}

/// A session with a primary is about to begin, and `own` is what this replica is until then. What was kept before counts
/// only for a replica that is in between already. An error means that an old log is still there and would be believed.
pub(super) fn before_session(
    hidden: &OwnedFd,
    root: &OwnedFd,
    own: Option<&Identity>,
    (follows, lost_power): (Uuid, bool),
    budget: Option<u64>,
) -> io::Result<()> {
    if own.is_some_and(|own| own.data == Data::Inconsistent) {
        return Ok(());
    }
    consistent::discard(hidden)?;
    let Some(own) = own.filter(|own| is_consistent(own, lost_power)) else { return Ok(()) };
    let budget = match budget {
        Some(0) => return Ok(()),
        Some(budget) => budget,
        None => consistent::usual_budget(root)?,
    };
    let header = Header {
        id: Uuid::new_v4(),
        stage: Stage::Prepared,
        generation: own.current,
        follows,
        since: super::answers::rfc3339(std::time::SystemTime::now()),
        boot: boot_id().unwrap_or_default(),
        budget,
    };
    if let Err(why) = consistent::prepare(hidden, header) {
        tracing::warn!(%why, "the last consistent state cannot be kept; the resync goes on without");
        consistent::discard(hidden)?;
    }
    Ok(())
}

/// What was prepared, or kept by an earlier session, is kept on. Before anything is changed.
pub(super) fn keep_on(objects: &Objects, hidden: &OwnedFd) {
    let ready = || {
        objects.write_old_times(0);
        crate::sys::syncfs(objects.root())
    };
    let keep: io::Result<Option<Arc<Keep>>> = Keep::open(hidden, &boot_id().unwrap_or_default(), ready);
    let keep = keep.unwrap_or_else(|why| {
        tracing::warn!(%why, "the last consistent state is not kept any more; the resync goes on");
        if let Err(why) = consistent::discard(hidden) {
            tracing::error!(%why, "and what is left of it cannot be removed");
        }
        None
    });
    objects.set_keep(keep);
}

/// The resync has ended: the old state is not needed any more.
pub(super) fn drop_kept(objects: Option<&Objects>, hidden: &OwnedFd) {
    if let Some(objects) = objects {
        objects.set_keep(None);
    }
    let cleared = consistent::discard(hidden).and_then(|()| Ok(rustix::io::dup(hidden)?)).and_then(|hidden| {
        let work = move || {
            if let Err(why) = consistent::tidy(&hidden) {
                tracing::warn!(%why, "what was kept of the old state is removed at the next start");
            }
        };
        std::thread::Builder::new().name("kept".into()).spawn(work).map(drop)
    });
    if let Err(why) = cleared {
        tracing::warn!(%why, "what was kept of the old state cannot be removed");
    }
}

fn refused(why: impl Into<String>, cure: &str) -> Failure {
    Failure::new(FailureKind::Refused, "cannot put the last consistent state back", why, cure)
}

/// Whether there is something to put back into a replica that is `identity`.
pub(super) fn may_put_back(hidden: &OwnedFd, identity: Option<&Identity>) -> Result<(), Failure> {
    let found = consistent::look(hidden).map_err(|why| refused(why.to_string(), "finish the resync, or accept the data as it is"))?;
    let cure = "finish the resync: start the node that has the data";
    let Some(identity) = identity.filter(|identity| identity.data == Data::Inconsistent) else {
        return Err(refused("no resync of this copy was cut off", "`understudy status` says what the data here is"));
    };
    match found {
        Some(Header { stage: Stage::Keeping, generation, .. }) if generation == identity.current => Ok(()),
        Some(Header { stage: Stage::Keeping, .. }) => Err(refused("what is kept is of another generation than this copy", cure)),
        Some(Header { stage: Stage::GivenUp(why), .. }) => Err(refused(format!("it was given up: {why}"), cure)),
        Some(Header { stage: Stage::Prepared, .. }) | None => Err(refused("none is kept", cure)),
    }
}

/// Puts it back; `record` notes what the replica is now, before what was kept goes.
pub(super) fn put_back(objects: &Objects, hidden: &OwnedFd, record: impl FnOnce(&Done) -> Result<(), Failure>) -> Result<Done, Failure> {
    objects.write_old_times(0);
    objects.set_keep(None);
    let failed = |why: io::Error| {
        let cure = "correct that and say it again: it goes on where it was";
        Failure::new(FailureKind::Failed, "cannot put the last consistent state back", why.to_string(), cure)
    };
    let done = consistent::put_back(objects.root(), hidden).map_err(failed)?;
    // What was removed and is there again is known by no id.
    objects.clear().and_then(|()| objects.table.commit(ObjectId(0))).map_err(failed)?;
    record(&done)?;
    tracing::warn!(names = done.names, objects = done.objects, bytes = done.bytes, "the last consistent state was put back on request");
    drop_kept(None, hidden);
    Ok(done)
}

impl Offline {
    /// Puts the state from before an unfinished resync back; with `dry_run` only says whether that can be done.
    pub fn put_back(&mut self, dry_run: bool) -> Result<Option<Done>, Failure> {
        let failed =
            |why: io::Error| Failure::new(FailureKind::Failed, "cannot put the last consistent state back", why.to_string(), "see the log");
        let hidden = hidden_directory(self.tree()).map_err(failed)?;
        may_put_back(&hidden, self.identity())?;
        if dry_run {
            return Ok(None);
        }
        let root = self.tree().as_fd().try_clone_to_owned().map_err(failed)?;
        let objects = Objects::open(root, &hidden).map_err(failed)?;
        let done = put_back(&objects, &hidden, |done| self.store(|identity| identity.put_back(done.follows)))?;
        Ok(Some(done))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_be_served_is_consistent() {
        let whole = Identity::create("n");
        assert!(is_consistent(&whole, false));
        assert!(is_consistent(&Identity { data: Data::Outdated, ..whole.clone() }, false));
        assert!(!is_consistent(&whole, true), "what was acknowledged from memory may be missing");
        assert!(!is_consistent(&Identity { data: Data::Inconsistent, ..whole.clone() }, false));
        assert!(!is_consistent(&Identity { current: Uuid::nil(), ..whole }, false));
    }
}
