//! Whether a receiver may take a sender's data, and what has to be compared then: one table over the generations
//! of both. In words: docs/generations.md. Clocks decide nothing.

use super::identity::Identity;
use crate::replica::hello::Compare;
use crate::report::Data;

/// What the sender says of itself.
#[derive(Clone, Debug)]
pub struct Sender<'a> {
    /// Its identity.
    pub identity: &'a Identity,
    /// Its machine went down while the pair was in sync.
    pub lost_power: bool,
}

/// What the receiver has.
#[derive(Clone, Debug, Default)]
pub struct Local {
    /// Its identity, if it is a replica.
    pub identity: Option<Identity>,
    /// The directory holds anything that an application could miss ([`has_data`]).
    pub has_data: bool,
    /// Its machine went down while the pair was in sync.
    pub lost_power: bool,
    /// Its machine went down since a copy into it began.
    pub rebooted: bool,
}

/// The answer, with its reason for people and for machines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Take the sender's data.
    Accept {
        /// In the operator's words.
        reason: String,
        /// Stable.
        reason_code: &'static str,
        /// What has to be compared.
        compare: Compare,
        /// What this side changed since both were equal is undone: it is to be kept aside first.
        loses: bool,
    },
    /// Leave the local data alone.
    Refuse {
        /// In the operator's words.
        reason: String,
        /// Stable.
        reason_code: &'static str,
        /// What to do next.
        cure: String,
    },
}

/// Whether these names in the root of a directory are data. `lost+found` comes with a file
/// system, the hidden directory is ours.
pub fn has_data<'a>(names: impl IntoIterator<Item = &'a [u8]>) -> bool {
    names.into_iter().any(|name| !matches!(name, b"." | b".." | b"lost+found" | b".understudy"))
}

/// How the local generation stands to the sender's. The rows of the table, first match wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Relation {
    SenderIncomplete,
    Empty,
    Foreign,
    Unmarked,
    Unfinished,
    Same,
    Older,
    Newer,
    Diverged,
}

fn relation(sender: &Identity, local: &Local) -> Relation {
    if sender.current.is_nil() {
        return Relation::SenderIncomplete;
    }
    let same_set = local.identity.as_ref().filter(|identity| identity.set == sender.set);
    let Some(own) = same_set else {
        return match (local.has_data, &local.identity) {
            (false, _) => Relation::Empty,
            (true, Some(_)) => Relation::Foreign,
            (true, None) => Relation::Unmarked,
        };
    };
    let local_known = sender.history.contains(&own.current);
    let sender_known = own.history.contains(&sender.current);
    match (own.current == sender.current, local_known, sender_known) {
        _ if own.current.is_nil() => Relation::Unfinished,
        (true, _, _) => Relation::Same,
        (_, true, false) => Relation::Older,
        (_, false, true) => Relation::Newer,
        // Each in the other's past contradicts itself: as unsafe as two own histories.
        (_, true, true) | (_, false, false) => Relation::Diverged,
    }
}

/// Decides whether a receiver with `local` takes the data of `sender`. Generations decide, never
/// times. `discard_local` is the operator's word that local data may be lost; it does not
/// cover data that is *newer* than the sender's, because a service file may carry it for years.
pub fn decide(sender: &Sender<'_>, local: &Local, discard_local: bool) -> Verdict {
    let tracked = local.identity.as_ref().map_or(Compare::Content, |own| tracking(sender.identity, own));
    match (relation(sender.identity, local), discard_local) {
        (Relation::SenderIncomplete, _) => {
            refuse("sender_incomplete", "the sender's own copy was never completed", "let the node that has the whole data send")
        }
        (Relation::Empty, _) => accept("local_empty", "the directory is empty: everything is copied", Compare::Attributes),
        // After a crash a file can have its size and time without its content.
        (Relation::Unfinished, _) if local.rebooted => {
            accept("copy_unfinished", "the first copy goes on; this machine went down meanwhile, so content is compared", Compare::Content)
        }
        (Relation::Unfinished, _) => accept("copy_unfinished", "the first copy goes on", Compare::Attributes),
        (Relation::Same, _) if sender.lost_power && holds_more(local) => refuse(
            "sender_lost_power",
            "the sender's machine went down while both were in sync, and this node's did not: acknowledged changes may be here only",
            "run `understudy mount` on this node and `understudy receive` on the other",
        ),
        (Relation::Same, _) => accept("same_generation", words("the same generation on both sides", tracked), tracked),
        (Relation::Older, _) => accept("local_outdated", words("the sender went on alone", tracked), tracked),
        (Relation::Newer, _) => refuse(
            "local_newer",
            "this node's data is newer: it went on alone after the sender's",
            "run `understudy mount` on this node and `understudy receive` on the other; to give up what only this \
             node has, remove .understudy in this directory and start with --discard-local",
        ),
        (Relation::Diverged, true) => {
            let reason = words("what this node changed alone is given up by --discard-local", tracked);
            lose(accept("local_discarded", reason, tracked))
        }
        (Relation::Foreign | Relation::Unmarked, true) => {
            accept("local_discarded", "the local data is given up by --discard-local", Compare::Attributes)
        }
        (Relation::Diverged, false) => refuse(
            "diverged",
            "both nodes went on alone: each has changes that the other lacks",
            "choose the side to keep, and start `understudy receive` on the other one with --discard-local",
        ),
        (Relation::Foreign, false) => refuse(
            "other_set",
            "the directory is a replica of something else",
            "name the right directory, or give up its data with --discard-local",
        ),
        (Relation::Unmarked, false) => refuse(
            "unrelated_data",
            "the directory holds data that is no replica of the sender's",
            "empty it, name another directory, or give up its data with --discard-local",
        ),
    }
}

fn words(reason: &str, compare: Compare) -> String {
    match compare {
        Compare::Changed => format!("{reason}: what changed is compared"),
        Compare::Attributes | Compare::Content => format!("{reason}, and change tracking does not reach back: everything is compared"),
    }
}

/// Whether this node surely has all that was acknowledged in its generation.
fn holds_more(local: &Local) -> bool {
    let followed = local.identity.as_ref().is_some_and(|own| own.in_sync_open && own.data == Data::Uptodate);
    followed && !local.lost_power
}

/// What the dirty logs of both sides are good for. They name everything in which the replicas differ if both
/// count since the point at which the replicas were equal last, or since an earlier one. The secondary records that
/// point first; a primary that went down before it did the same still counts since the one before.
fn tracking(sender: &Identity, own: &Identity) -> Compare {
    let counting = !sender.base.is_nil() && !own.base.is_nil();
    let common = own.base == sender.base || own.base == sender.current || sender.base == own.current;
    let common = counting && common;
    // A disk that was put back in time does not know the last session, or lacks checkpoints of it. A checkpoint is
    // noted by the secondary first, so one apart is a crash between the two.
    let rolled_back = own.session != sender.session || own.checkpoint.abs_diff(sender.checkpoint) > 1;
    if common && !rolled_back { Compare::Changed } else { Compare::Content }
}

fn accept(reason_code: &'static str, reason: impl Into<String>, compare: Compare) -> Verdict {
    Verdict::Accept { reason: reason.into(), reason_code, compare, loses: false }
}

fn lose(verdict: Verdict) -> Verdict {
    match verdict {
        Verdict::Accept { reason, reason_code, compare, .. } => Verdict::Accept { reason, reason_code, compare, loses: true },
        refused => refused,
    }
}

fn refuse(reason_code: &'static str, reason: &str, cure: &str) -> Verdict {
    Verdict::Refuse { reason: reason.to_owned(), reason_code, cure: cure.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::super::identity::Role;
    use super::*;
    use uuid::Uuid;

    const BOOT: &str = "this boot";

    fn local(identity: &Identity) -> Local {
        let lost_power = identity.lost_power(BOOT);
        Local { identity: Some(identity.clone()), has_data: true, lost_power, rebooted: identity.boot_id != BOOT }
    }

    /// A pair in sync: `(sender, receiver)`.
    fn pair() -> (Identity, Identity) {
        let mut sender = Identity { role: Role::Primary, ..Identity::create("s") };
        let mut receiver = Identity::join(&sender, "r");
        receiver.adopt(&sender);
        receiver.now_in_sync(BOOT.into());
        sender.now_in_sync(BOOT.into());
        (sender, receiver)
    }

    /// One side goes on without the other.
    fn alone(identity: &mut Identity) {
        identity.begin(Uuid::new_v4(), &[], identity.boot_id.clone());
    }

    fn ask(sender: &Identity, local: &Local, discard: bool) -> Verdict {
        decide(&Sender { identity: sender, lost_power: sender.lost_power(BOOT) }, local, discard)
    }

    #[track_caller]
    fn accepts(sender: &Identity, local: Local, discard: bool, code: &str, wanted: Compare) -> bool {
        match ask(sender, &local, discard) {
            Verdict::Accept { reason_code, compare, loses, .. } => {
                assert_eq!((reason_code, compare), (code, wanted));
                loses
            }
            refused => panic!("{refused:?}"),
        }
    }

    #[track_caller]
    fn refuses(sender: &Identity, local: Local, discard: bool, code: &str) {
        match ask(sender, &local, discard) {
            Verdict::Refuse { reason_code, cure, .. } => {
                assert_eq!(reason_code, code);
                assert!(!cure.is_empty());
            }
            accepted => panic!("{accepted:?}"),
        }
    }

    #[test]
    fn empty_accepts() {
        let (sender, _) = pair();
        accepts(&sender, Local::default(), false, "local_empty", Compare::Attributes);
        let other = Local { identity: Some(Identity::create("x")), ..Local::default() };
        accepts(&sender, other, false, "local_empty", Compare::Attributes);
    }

    #[test]
    fn same_generation_compares_what_changed() {
        let (sender, receiver) = pair();
        accepts(&sender, local(&receiver), false, "same_generation", Compare::Changed);
        // The roles changed: what the former primary had in flight is in its own marks.
        accepts(&receiver, local(&sender), false, "same_generation", Compare::Changed);
    }

    #[test]
    fn a_secondary_that_lost_power_gets_what_changed() {
        let (sender, mut receiver) = pair();
        receiver.boot_id = "an earlier boot".into();
        accepts(&sender, local(&receiver), false, "same_generation", Compare::Changed);
    }

    #[test]
    fn a_sender_that_lost_power_alone_may_not_lead() {
        let (mut sender, receiver) = pair();
        sender.boot_id = "an earlier boot".into();
        refuses(&sender, local(&receiver), false, "sender_lost_power");
        refuses(&sender, local(&receiver), true, "sender_lost_power");
        accepts(&receiver, local(&sender), false, "same_generation", Compare::Changed);
    }

    #[test]
    fn when_both_lost_power_whoever_is_started_as_primary_leads() {
        let (mut sender, mut receiver) = pair();
        sender.boot_id = "an earlier boot".into();
        receiver.boot_id = "an earlier boot".into();
        accepts(&sender, local(&receiver), false, "same_generation", Compare::Changed);
    }

    #[test]
    fn after_a_clean_end_a_reboot_means_nothing() {
        let (mut sender, receiver) = pair();
        sender.in_sync_open = false;
        sender.boot_id = "an earlier boot".into();
        accepts(&sender, local(&receiver), false, "same_generation", Compare::Changed);
    }

    #[test]
    fn a_disk_put_back_in_time_is_compared_in_full() {
        let (mut sender, receiver) = pair();
        sender.checkpoint = receiver.checkpoint + 2;
        accepts(&sender, local(&receiver), false, "same_generation", Compare::Content);
        accepts(&receiver, local(&sender), false, "same_generation", Compare::Content);
        sender.checkpoint = receiver.checkpoint + 1;
        accepts(&sender, local(&receiver), false, "same_generation", Compare::Changed);
        alone(&mut sender);
        sender.checkpoint = receiver.checkpoint + 7;
        accepts(&sender, local(&receiver), false, "local_outdated", Compare::Content);
    }

    #[test]
    fn older_gets_what_changed_as_long_as_both_count_since_the_same_point() {
        let (mut sender, mut receiver) = pair();
        alone(&mut sender);
        alone(&mut sender);
        accepts(&sender, local(&receiver), false, "local_outdated", Compare::Changed);
        // A resync that was not finished leaves the point where it was.
        receiver.data = Data::Inconsistent;
        accepts(&sender, local(&receiver), false, "local_outdated", Compare::Changed);
        // In sync with another replica meanwhile.
        sender.now_in_sync(BOOT.into());
        alone(&mut sender);
        accepts(&sender, local(&receiver), false, "local_outdated", Compare::Content);
    }

    #[test]
    fn a_primary_that_died_before_it_noted_the_sync_counts_since_the_one_before() {
        let (mut sender, mut receiver) = pair();
        alone(&mut sender);
        receiver.adopt(&sender);
        receiver.now_in_sync(BOOT.into());
        accepts(&sender, local(&receiver), false, "same_generation", Compare::Changed);
        // Promoted, and the former primary returns.
        alone(&mut receiver);
        accepts(&receiver, local(&sender), false, "local_outdated", Compare::Changed);
    }

    #[test]
    fn what_was_put_back_is_outdated_and_compared_in_full() {
        let (mut sender, mut receiver) = pair();
        alone(&mut sender);
        let before = receiver.current;
        receiver.follow(BOOT.into());
        receiver.put_back(sender.current);
        assert_eq!((receiver.data, receiver.current, receiver.yielded_to), (Data::Outdated, before, Some(sender.current)));
        accepts(&sender, local(&receiver), false, "local_outdated", Compare::Content);
        // It is promoted, and the former primary returns: that one has what the other lacks.
        alone(&mut receiver);
        refuses(&receiver, local(&sender), false, "diverged");
        assert!(accepts(&receiver, local(&sender), true, "local_discarded", Compare::Content));
    }

    #[test]
    fn what_never_was_in_sync_is_compared_in_full() {
        let (mut sender, receiver) = pair();
        sender.base = Uuid::nil();
        accepts(&sender, local(&receiver), false, "same_generation", Compare::Content);
    }

    #[test]
    fn newer_refuses_also_when_told_to_discard() {
        let (sender, mut receiver) = pair();
        alone(&mut receiver);
        refuses(&sender, local(&receiver), false, "local_newer");
        refuses(&sender, local(&receiver), true, "local_newer");
        refuses(&sender, Local { has_data: false, ..local(&receiver) }, false, "local_newer");
    }

    #[test]
    fn diverged_needs_the_word_and_keeps_what_is_lost() {
        let (mut sender, mut receiver) = pair();
        alone(&mut sender);
        alone(&mut receiver);
        refuses(&sender, local(&receiver), false, "diverged");
        assert!(accepts(&sender, local(&receiver), true, "local_discarded", Compare::Changed));
    }

    #[test]
    fn contradicting_histories_count_as_diverged() {
        let (mut sender, mut receiver) = pair();
        alone(&mut sender);
        alone(&mut receiver);
        sender.history.push(receiver.current);
        receiver.history.push(sender.current);
        refuses(&sender, local(&receiver), false, "diverged");
    }

    #[test]
    fn an_unfinished_first_copy_goes_on() {
        let (mut sender, _) = pair();
        let mut joined = Identity::join(&sender, "r");
        joined.boot_id = BOOT.into();
        alone(&mut sender);
        accepts(&sender, local(&joined), false, "copy_unfinished", Compare::Attributes);
        joined.boot_id = "an earlier boot".into();
        accepts(&sender, local(&joined), false, "copy_unfinished", Compare::Content);
    }

    #[test]
    fn other_sets_and_unmarked_data_need_the_word() {
        let (sender, _) = pair();
        let foreign = local(&Identity::create("x"));
        refuses(&sender, foreign.clone(), false, "other_set");
        accepts(&sender, foreign, true, "local_discarded", Compare::Attributes);
        let unmarked = Local { has_data: true, ..Local::default() };
        refuses(&sender, unmarked.clone(), false, "unrelated_data");
        accepts(&sender, unmarked, true, "local_discarded", Compare::Attributes);
    }

    #[test]
    fn a_half_copied_sender_is_refused_by_everybody() {
        let (mut sender, receiver) = pair();
        sender.current = Uuid::nil();
        refuses(&sender, local(&receiver), true, "sender_incomplete");
        refuses(&sender, Local::default(), true, "sender_incomplete");
    }

    /// Two disks and every short history of what can happen to them: "what changed" is answered only where both
    /// sides' marks surely reach back to a point at which they were equal.
    #[test]
    fn never_trusts_marks_that_do_not_reach_back() {
        /// A disk and, beside it, the truth: at which moment its marks begin, and when both were equal last.
        #[derive(Clone)]
        struct Disk {
            identity: Identity,
            counts_since: u64,
        }
        for seed in 0..20_000u64 {
            let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
            let mut below = |limit: u64| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                (state >> 11) % limit
            };
            let (sender, receiver) = pair();
            let mut disks = [Disk { identity: sender, counts_since: 0 }, Disk { identity: receiver, counts_since: 0 }];
            let mut equal_at = 0;
            let mut snapshot = disks.clone();
            let (mut taken_at, mut rolled_back) = (0, false);
            for now in 1..2 + below(12) {
                let one = below(2) as usize;
                match below(6) {
                    0 | 1 => alone(&mut disks[one].identity),
                    // Back in sync: the secondary notes it first, and the primary may die before it does.
                    2 | 3 if !rolled_back => {
                        let session = disks[0].identity.session.max(disks[1].identity.session) + 1;
                        disks[1 - one].identity.session = session;
                        if below(10) == 0 {
                            continue;
                        }
                        disks[one].identity.session = session;
                        let sender = disks[one].identity.clone();
                        let other = &mut disks[1 - one];
                        other.identity.adopt(&sender);
                        other.identity.checkpoint = sender.checkpoint + 1;
                        other.identity.now_in_sync(BOOT.into());
                        other.counts_since = now;
                        equal_at = now;
                        if below(5) > 0 {
                            disks[one].identity.checkpoint += 1;
                            disks[one].identity.now_in_sync(BOOT.into());
                            disks[one].counts_since = now;
                        }
                    }
                    4 => (snapshot, taken_at) = (disks.clone(), now),
                    // A snapshot since which nothing was replicated is as good as the disk.
                    5 if !rolled_back && equal_at > taken_at => {
                        disks[one] = snapshot[one].clone();
                        rolled_back = true;
                    }
                    _ => {}
                }
            }
            let verdict = ask(&disks[0].identity, &local(&disks[1].identity), true);
            if let Verdict::Accept { compare: Compare::Changed, .. } = verdict {
                let reach = disks.iter().all(|disk| disk.counts_since <= equal_at);
                assert!(reach && !rolled_back, "seed {seed}: {verdict:?}");
            }
        }
    }

    #[test]
    fn what_counts_as_data() {
        assert!(!has_data([b".".as_slice(), b"..", b"lost+found", b".understudy"]));
        assert!(has_data([b"lost+found".as_slice(), b"file"]));
        assert!(!has_data([]));
    }
}
