//! The state from before a resync, as the operator of a secondary sees it.

use super::super::putback;
use super::Follower;
use crate::kept::consistent;
use crate::report::{Failure, FailureKind, State};
use std::sync::atomic::Ordering::SeqCst;

impl Follower {
    /// The state that is kept while a resync runs, or was cut off.
    pub fn consistent(&self) -> Option<consistent::Shown> {
        let keep = self.objects.lock().as_ref().and_then(|objects| objects.keep());
        consistent::shown(&self.hidden, keep.as_deref())
    }

    /// Puts that state back. With `dry_run` only says whether that can be done.
    pub fn put_back(&self, dry_run: bool) -> Result<Option<consistent::Done>, Failure> {
        putback::may_put_back(&self.hidden, self.identity().as_ref())?;
        {
            let current = self.current.lock();
            let refused =
                |why: &str, cure: &str| Failure::new(FailureKind::Refused, "cannot put the last consistent state back", why, cure);
            if current.is_some() {
                return Err(refused("a primary is connected, and the resync goes on", "let it end, or stop the primary first"));
            }
            if dry_run {
                return Ok(None);
            }
            if self.putting_back.swap(true, SeqCst) {
                return Err(refused("that is being done already", "wait for its end"));
            }
        }
        let failed = |why: String| Failure::new(FailureKind::Failed, "cannot put the last consistent state back", why, "see the log");
        let outcome = self.objects().map_err(|why| failed(why.to_string())).and_then(|objects| {
            putback::put_back(&objects, &self.hidden, |done| self.store(|identity| identity.put_back(done.follows)).map_err(failed))
        });
        self.putting_back.store(false, SeqCst);
        let done = outcome?;
        let reason = "the state from before the resync was put back".to_owned();
        self.status.set(State::Wait, self.data(), reason, "put_back");
        Ok(Some(done))
    }
}
