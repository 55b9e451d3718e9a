//! Who is let in, and what is recorded of it before anything is promised.

use super::super::identity::{Identity, Local, Sender, Verdict, boot_id, decide, has_data};
use super::super::putback;
use super::{Current, Follower};
use crate::apply::read_directory;
use crate::id::ObjectId;
use crate::objects::Objects;
use crate::op;
use crate::replica::hello::{Compare, Hello, Refusal, Welcome};
use crate::report::State;
use crate::wire::Channel;
use std::net::SocketAddr;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

impl Follower {
    /// Decides about a connection, before anything is promised.
    pub(super) fn respond(&self, from: SocketAddr, channel: Channel, hello: &[u8]) -> Result<Vec<u8>, Refusal> {
        let hello: Hello = op::decode(hello).map_err(|why| refuse("protocol", format!("its greeting makes no sense: {why}"), ""))?;
        match (channel, hello) {
            (Channel::Ordered, Hello::Ordered { session, sender, incarnation, floor, lost_power, exclude, timeout_ms }) => {
                self.make_room(&sender)?;
                // Alone, and yet part of the sender's past: an operator overruled what only this node has.
                let overruled = self.identity.lock().as_ref().is_some_and(|own| own.alone && own.set == sender.set && !own.base.is_nil());
                let (welcome, loses) = self.admit(&sender, lost_power)?;
                let loses = loses || overruled;
                let compare = welcome.compare;
                // The longer of both: neither side may be more impatient than it was told to be.
                let timeout = Duration::from_millis(timeout_ms.clamp(100, 3_600_000)).max(self.options.peer_timeout);
                let mut current = self.current.lock();
                if self.putting_back.load(SeqCst) {
                    return Err(refuse("busy", "its last consistent state is being put back", "try again"));
                }
                if current.is_some() {
                    // Two connections of one primary at once: one of them came late.
                    return Err(refuse("busy", "another connection was faster", "try again"));
                }
                *current = Some(Current {
                    session,
                    sender: *sender,
                    from,
                    exclude,
                    timeout,
                    incarnation,
                    floor,
                    compare,
                    loses,
                    live: None,
                    bulk: None,
                });
                drop(current);
                Ok(op::encode(&welcome))
            }
            (Channel::Bulk, Hello::Bulk { session }) => {
                let known = self.current.lock().as_ref().is_some_and(|current| current.session == session);
                if !known {
                    return Err(refuse("session", "the session is over", "connect again"));
                }
                Ok(op::encode(&Welcome {
                    reason: String::new(),
                    code: String::new(),
                    compare: Compare::Content,
                    session: 0,
                    next: ObjectId(0),
                }))
            }
            _ => Err(refuse("protocol", "a greeting for another kind of connection", "run the same version on both nodes")),
        }
    }

    /// One sender at a time; the same one coming back means that its old connection is dead.
    fn make_room(&self, sender: &Identity) -> Result<(), Refusal> {
        if self.sealed.load(SeqCst) {
            return Err(refuse("sealed", "this node has given up that history", "follow this node, or wait for it to follow"));
        }
        if self.putting_back.load(SeqCst) {
            return Err(refuse("busy", "its last consistent state is being put back", "try again"));
        }
        if self.ending.load(SeqCst) {
            return Err(refuse("stopping", "this node is being stopped", "start `understudy receive` again"));
        }
        let until = Instant::now() + Duration::from_secs(3);
        loop {
            let current = self.current.lock();
            let Some(present) = current.as_ref() else { return Ok(()) };
            if present.sender.node != sender.node || Instant::now() > until {
                let reason = format!("it already receives from {}", present.from);
                return Err(refuse("busy", reason, "a replica has one primary: stop the other one first"));
            }
            if let Some(session) = &present.live {
                session.hang_up();
            }
            drop(current);
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Takes the sender's data if that is right, and records that this copy is in between from now on. Also says
    /// whether changes of this node are given up.
    fn admit(&self, sender: &Identity, lost_power: bool) -> Result<(Welcome, bool), Refusal> {
        let mut identity = self.identity.lock();
        let boot = boot_id().unwrap_or_default();
        let local = Local {
            has_data: self.has_data(),
            lost_power: identity.as_ref().is_some_and(|own| own.lost_power(&boot)),
            rebooted: identity.as_ref().is_some_and(|own| own.boot_id != boot),
            identity: identity.clone(),
        };
        let decided = decide(&Sender { identity: sender, lost_power }, &local, self.options.discard_local);
        let (welcome, loses) = match decided {
            Verdict::Accept { reason, reason_code, compare, loses } => {
                let session = local.identity.as_ref().map_or(0, |own| own.session).max(sender.session) + 1;
                (Welcome { reason, code: reason_code.into(), compare, session, next: self.next_id() }, loses)
            }
            Verdict::Refuse { reason, reason_code, cure } => return Err(Refusal { reason, code: reason_code.into(), cure }),
        };
        let record = |why: String| refuse("disk", format!("it cannot record who it follows: {why}"), "see its log");
        let own = local.identity.as_ref().filter(|own| own.set == sender.set);
        let about = (sender.current, local.lost_power);
        putback::before_session(&self.hidden, &self.root, own, about, self.options.keep_budget).map_err(|why| record(why.to_string()))?;
        let mut next = match identity.take().filter(|own| own.set == sender.set) {
            Some(own) => own,
            None => Identity::join(sender, &self.options.name),
        };
        next.follow(boot);
        next.session = welcome.session;
        next.store(&self.root).map_err(|failure| record(failure.to_string()))?;
        *identity = Some(next);
        self.registry.remember(&self.options.name, &self.dir, sender.set).map_err(|failure| record(failure.to_string()))?;
        tracing::debug!(reason = welcome.reason, code = welcome.code, compare = ?welcome.compare, "following a primary");
        Ok((welcome, loses))
    }

    fn has_data(&self) -> bool {
        let Ok(objects) = self.root.try_clone().map_err(|_| ()).and_then(|root| Objects::new(root).map_err(|_| ())) else { return true };
        let Ok(live) = objects.live(crate::id::ObjectId::ROOT) else { return true };
        let names = read_directory(&live).unwrap_or_default();
        use std::os::unix::ffi::OsStrExt;
        has_data(names.iter().map(|entry| entry.name.as_bytes()))
    }

    /// Says, once, why nobody is let in; what is known of the peer is its address.
    pub(super) fn turn_away(&self, from: SocketAddr, why: &str) {
        let news = Some((from.ip(), why.to_owned()));
        let mut last = self.unwanted.lock();
        if *last != news {
            *last = news;
            tracing::warn!(from = %from.ip(), why, "a connection was refused");
        }
    }

    /// The state says why this node waits, unless it follows somebody.
    pub(super) fn refused(&self, from: SocketAddr, refusal: &Refusal) {
        self.turn_away(from, &refusal.reason);
        let current = self.current.lock();
        if current.is_none() && !matches!(refusal.code.as_str(), "busy" | "stopping" | "session") {
            let reason = format!("refused the primary at {}: {}; {}", from.ip(), refusal.reason, refusal.cure);
            self.status.set(State::Wait, self.data(), reason, &refusal.code);
        }
    }
}

fn refuse(code: &str, reason: impl Into<String>, cure: &str) -> Refusal {
    Refusal { reason: reason.into(), code: code.into(), cure: cure.into() }
}
