//! Going on without the secondary: who is asked, and what is on disk before anything is acknowledged.

use super::super::faults;
use super::super::identity::boot_id;
use super::super::options::Begin;
use super::{DIRECTORY_LOST, Shared};
use crate::arbiter::Verdict;
use crate::report::{Data, Failure, FailureKind, State};
use std::sync::atomic::Ordering::SeqCst;
use std::time::Instant;
use uuid::Uuid;

impl Shared {
    /// Asks whether this node may go on without its secondary, records durably that it does, and goes on.
    pub fn go_alone(&self, reason: &str, code: &str) -> Result<(), Failure> {
        self.journal.alone();
        faults::point("alone-before-identity");
        let (joined, superseded) = self.ask_to_go_on(reason)?;
        let boot = boot_id().unwrap_or_default();
        self.store_identity(|identity| {
            let next = joined.unwrap_or_else(|| identity.intend(Uuid::new_v4()));
            identity.begin(next, &superseded, boot);
        })?;
        faults::point("alone-after-identity");
        *self.holding.lock() = None;
        self.status.set(State::Alone, Data::Uptodate, reason, code);
        Ok(())
    }

    /// The intent is on disk before anybody is asked; who asks again after a crash asks for the same. Gives the generation that
    /// was joined, if it is another one's.
    fn ask_to_go_on(&self, reason: &str) -> Result<(Option<Uuid>, Vec<Uuid>), Failure> {
        if self.arbiter.intends() {
            self.store_identity(|identity| {
                identity.intend(Uuid::new_v4());
            })?;
        }
        if self.arbiter.asks() {
            *self.holding.lock() = Some((Instant::now(), reason.to_owned()));
            self.status.set(State::Prim, Data::Uptodate, format!("{reason}: replies are held, asks whether it may go on"), "holding");
        }
        let identity = self.identity.lock().clone();
        let next = identity.intent.unwrap_or_else(Uuid::nil);
        match self.arbiter.go_on_alone(&identity, next, &|| self.is_ending() || self.fenced.load(SeqCst)) {
            Verdict::Granted { .. } | Verdict::Joined { .. } if self.fenced.load(SeqCst) => {
                Err(self.may_not("it was told to stop serving"))
            }
            Verdict::Granted { superseded } => Ok((None, superseded)),
            Verdict::Joined { generation, superseded } => Ok((Some(generation), superseded)),
            Verdict::Refused { reason } => Err(self.may_not(&reason)),
        }
    }

    fn may_not(&self, reason: &str) -> Failure {
        Failure::new(FailureKind::Refused, "cannot go on alone", reason, "the other node serves; this one follows as its secondary")
    }

    /// Another replica of the module goes on from generation `from` without its secondary: so does this one, before anything is
    /// acknowledged there. What is held stays held until this one has begun the new generation as well.
    pub fn renew(&self, from: Uuid) {
        *self.renewing.lock() = Some(from);
        self.primary.drop_peer(DIRECTORY_LOST, "directory_lost");
        // It may rest between two attempts to find the secondary.
        self.retry.ring();
    }

    /// Whether this replica has to begin a new generation before it may have a session.
    pub(super) fn renewal_due(&self) -> bool {
        let identity = self.identity.lock().clone();
        self.renewal_is_wanted() || self.arbiter.has_moved(&identity)
    }

    /// It was told to, and has not done so.
    pub(super) fn renewal_is_wanted(&self) -> bool {
        let wanted = *self.renewing.lock();
        wanted.is_some_and(|from| from == self.identity.lock().current)
    }

    /// Begins the generation that the cluster was granted for this start.
    pub fn begin(&self, begin: &Begin) -> Result<(), Failure> {
        self.journal.alone();
        let boot = boot_id().unwrap_or_default();
        self.store_identity(|identity| identity.begin(begin.generation, &begin.superseded, boot))?;
        self.status.set(State::Alone, Data::Uptodate, "promoted", "promoted");
        Ok(())
    }
}
