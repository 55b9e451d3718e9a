//! What the data plane has recorded of a replica, as the control plane sees it.

use super::{Past, Replica};
use fsrepl::node::identity::Identity;
use fsrepl::report::Data;

impl Replica {
    /// The replica of `identity` in boot `boot`. `durable`: what is acknowledged is on the disk (`ack = "disk"`).
    pub fn of(identity: &Identity, boot: &str, durable: bool) -> Replica {
        let current = Some(identity.current).filter(|generation| !generation.is_nil());
        let past = |&generation: &super::Generation| Past { generation, led: identity.led.contains(&generation) };
        Replica {
            current,
            history: identity.history.iter().map(past).collect(),
            data: if current.is_none() { Data::Inconsistent } else { identity.data },
            role: identity.role,
            alone: identity.alone,
            clean: !identity.in_sync_open && !identity.alone && identity.data == Data::Uptodate,
            whole: durable || !identity.lost_power(boot),
            rebooted: identity.boot_id != boot,
            intent: identity.intent,
            tried: identity.tried.clone(),
            yielded_to: identity.yielded_to,
            right: identity.right,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replica::Right;
    use uuid::Uuid;

    const BOOT: &str = "boot";

    fn seen(identity: &Identity) -> Replica {
        Replica::of(identity, BOOT, false)
    }

    /// What the data plane records is what the decisions were proved with: every step leads to the same replica.
    #[test]
    fn both_planes_take_the_same_steps() {
        let mut primary = Identity::create("p");
        let first = primary.current;
        primary.begin(first, &[], BOOT.into());
        let mut one = Replica::first(first);
        assert_eq!(seen(&primary), one);

        let mut secondary = Identity::join(&primary, "s");
        secondary.follow(BOOT.into());
        let mut two = Replica::default();
        two.follow();
        assert_eq!(seen(&secondary).current, None);

        primary.close_in(BOOT.into());
        one.close_in();
        assert_eq!(seen(&primary), one);
        secondary.adopt(&primary);
        secondary.now_in_sync(BOOT.into());
        two.adopt(&one);
        assert_eq!(seen(&secondary), Replica { clean: false, ..two.clone() });
        primary.now_in_sync(BOOT.into());
        assert_eq!(seen(&primary), one);

        let (lost, next) = (Uuid::new_v4(), Uuid::new_v4());
        secondary.right = Right::Quorum;
        two.right = Right::Quorum;
        secondary.intend(next);
        two.intend(next);
        assert_eq!(seen(&secondary), two);
        primary.intend(lost);
        primary.yield_to(next);
        one.intend(lost);
        one.yield_to(next);
        assert_eq!(seen(&primary), one);
        secondary.begin(next, &[lost], BOOT.into());
        two.commit(next, &[lost]);
        assert_eq!(seen(&secondary), two);

        primary.follow(BOOT.into());
        one.follow();
        secondary.close_in(BOOT.into());
        two.close_in();
        primary.adopt(&secondary);
        primary.now_in_sync(BOOT.into());
        one.adopt(&two);
        assert_eq!(seen(&primary), one);
        assert!(one.history.iter().any(|past| past.generation == first && past.led));
    }

    #[test]
    fn a_power_cut_in_sync_is_remembered() {
        let mut identity = Identity::create("p");
        assert!(Replica::of(&identity, "other", false).whole, "alone, nobody has more");
        identity.close_in(BOOT.into());
        identity.now_in_sync(BOOT.into());
        assert!(seen(&identity).whole);
        assert!(!Replica::of(&identity, "other", false).whole);
        assert!(Replica::of(&identity, "other", true).whole, "acknowledged is on the disk");
        identity.in_sync_open = false;
        assert!(Replica::of(&identity, "other", false).whole, "left in order");
        assert!(Replica::of(&identity, "other", false).clean);
    }
}
