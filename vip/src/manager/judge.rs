//! What is to be done about an address that is watched. Pure: what was seen in, decision out, time passed in.

use super::wanted::{OnLoss, Reason};
use crate::interface::Snapshot;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// Between putting an address back and doing so again: whoever deletes it always shall not keep us busy.
pub(super) const RESTORE_PAUSE: Duration = Duration::from_secs(1);

/// What is remembered of a watched address.
#[derive(Clone, Debug)]
pub(super) struct Watched {
    pub(super) on_loss: OnLoss,
    pub(super) lost: Option<Reason>,
    /// When it was last put back, or that was tried.
    pub(super) tried: Option<Instant>,
}

/// In this order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Decision {
    /// Tell that it is lost.
    pub(super) lost: Option<Reason>,
    /// Put it back; then announce it and tell.
    pub(super) restore: bool,
    /// Not yet: look again then.
    pub(super) again: Option<Instant>,
}

/// Whether `ip` is where it should be: on the interface called `name`.
pub(super) fn missing(snapshot: &Snapshot, ip: IpAddr, name: &str) -> Option<Reason> {
    match snapshot.named(name) {
        None => Some(Reason::InterfaceGone),
        // Its addresses may be gone as well: the kernel removes those of IPv6.
        Some(interface) if !interface.up => Some(Reason::InterfaceDown),
        Some(interface) if !interface.carrier => Some(Reason::NoCarrier),
        Some(interface) if !snapshot.has(ip, interface.index) => Some(Reason::Deleted),
        Some(_) => None,
    }
}

/// One table: `seen` is what [`missing`] says now.
pub(super) fn decide(watched: &Watched, seen: Option<Reason>, now: Instant) -> Decision {
    let lost = seen.filter(|_| watched.lost.is_none());
    let back = match seen {
        Some(Reason::Deleted) => true,
        Some(_) => false, // there is nothing to put it on
        None => watched.lost.is_some(),
    };
    if watched.on_loss == OnLoss::Fail || !back {
        return Decision { lost, ..Decision::default() };
    }
    match watched.tried.map(|tried| tried + RESTORE_PAUSE).filter(|next| *next > now) {
        Some(next) => Decision { lost, restore: false, again: Some(next) },
        None => Decision { lost, restore: true, again: None },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::interface::{Assigned, Interface};

    fn watched(on_loss: OnLoss, lost: Option<Reason>) -> Watched {
        Watched { on_loss, lost, tried: None }
    }

    const NOTHING: Decision = Decision { lost: None, restore: false, again: None };

    #[test]
    fn the_table() {
        let now = Instant::now();
        let (deleted, down) = (Some(Reason::Deleted), Some(Reason::InterfaceDown));
        for (on_loss, lost, seen, decision) in [
            (OnLoss::Restore, None, None, NOTHING),
            (OnLoss::Restore, None, deleted, Decision { lost: deleted, restore: true, again: None }),
            (OnLoss::Restore, None, down, Decision { lost: down, ..NOTHING }),
            (OnLoss::Restore, down, down, NOTHING),
            (OnLoss::Restore, down, Some(Reason::InterfaceGone), NOTHING),
            (OnLoss::Restore, down, deleted, Decision { restore: true, ..NOTHING }),
            (OnLoss::Restore, down, None, Decision { restore: true, ..NOTHING }),
            (OnLoss::Fail, None, None, NOTHING),
            (OnLoss::Fail, None, deleted, Decision { lost: deleted, ..NOTHING }),
            (OnLoss::Fail, deleted, deleted, NOTHING),
            (OnLoss::Fail, down, None, NOTHING),
        ] {
            assert_eq!(decide(&watched(on_loss, lost), seen, now), decision, "{on_loss:?} {lost:?} {seen:?}");
        }
    }

    #[test]
    fn who_deletes_it_always_is_not_followed_at_his_pace() {
        let now = Instant::now();
        let mut one = watched(OnLoss::Restore, None);
        one.tried = Some(now);
        let later = decide(&one, Some(Reason::Deleted), now + Duration::from_millis(10));
        assert_eq!(later, Decision { lost: Some(Reason::Deleted), restore: false, again: Some(now + RESTORE_PAUSE) });
        one.lost = later.lost;
        assert!(decide(&one, Some(Reason::Deleted), now + RESTORE_PAUSE).restore);
    }

    #[test]
    fn what_is_missing() {
        let ip: IpAddr = "10.0.0.100".parse().unwrap();
        let eth0 = Interface { name: "eth0".into(), index: 2, mac: None, up: true, carrier: true, loopback: false };
        let there = Assigned { ip, prefix: 24, index: 2, secondary: true, usable: true, broadcast: None };
        let mut node = Snapshot { interfaces: vec![eth0], addresses: vec![there] };
        assert_eq!(missing(&node, ip, "eth0"), None);
        assert_eq!(missing(&node, ip, "eth1"), Some(Reason::InterfaceGone));
        node.addresses[0].index = 3;
        assert_eq!(missing(&node, ip, "eth0"), Some(Reason::Deleted), "on another interface it is not where it should be");
        node.interfaces[0].carrier = false;
        assert_eq!(missing(&node, ip, "eth0"), Some(Reason::NoCarrier));
        node.interfaces[0].up = false;
        assert_eq!(missing(&node, ip, "eth0"), Some(Reason::InterfaceDown));
    }
}
