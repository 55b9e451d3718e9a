use super::*;
use crate::NodeId;

use uuid::Uuid;

fn generation(number: u128) -> Generation {
    Uuid::from_u128(number)
}

/// A pair in sync in generation 1: `(primary, secondary)`.
fn pair() -> (Replica, Replica) {
    let mut primary = Replica::first(generation(1));
    primary.close_in();
    let mut secondary = Replica::default();
    secondary.follow();
    secondary.adopt(&primary);
    (primary, secondary)
}

fn party(node: u16, replica: &Replica) -> Party {
    Party { node: NodeId(node), replica: replica.clone(), willing: true, serving: false }
}

#[track_caller]
fn leads(first: &Replica, second: &Replica, resolves: bool, expected: Leader) {
    let (one, two) = (party(1, first), party(2, second));
    assert_eq!(elect(&one, &two, resolves), expected);
    let mirrored = match expected {
        Leader::Me => Leader::Peer,
        Leader::Peer => Leader::Me,
        nobody => nobody,
    };
    assert_eq!(elect(&two, &one, resolves), mirrored, "the other node comes to another answer");
}

#[test]
fn the_last_primary_leads_a_pair_in_sync() {
    let (primary, secondary) = pair();
    leads(&primary, &secondary, false, Leader::Me);
    leads(&secondary, &primary, false, Leader::Peer);
}

#[test]
fn who_lost_its_memory_leaves_the_lead_to_who_did_not() {
    let (mut primary, mut secondary) = pair();
    primary.reboot(false);
    leads(&primary, &secondary, false, Leader::Peer);
    secondary.reboot(false);
    leads(&primary, &secondary, false, Leader::Me);
}

#[test]
fn with_everything_on_disk_a_power_cut_loses_nothing() {
    let (mut primary, mut secondary) = pair();
    primary.reboot(true);
    secondary.reboot(true);
    leads(&primary, &secondary, false, Leader::Me);
}

/// Found by the simulator: with `ack = "disk"`, a primary whose disk was put back to a snapshot led from it, over a secondary
/// that had everything.
#[test]
fn whose_disk_may_be_old_leaves_the_lead_to_whose_is_not() {
    let (mut primary, secondary) = pair();
    primary.reboot(true);
    leads(&primary, &secondary, false, Leader::Peer);
    let (primary, mut secondary) = pair();
    secondary.reboot(true);
    leads(&primary, &secondary, false, Leader::Me);
}

/// Found by the simulator: the witness had granted, the primary lost its power before it heard of it, and led without what it
/// had acknowledged from memory, because the secondary had been refused.
#[test]
fn a_refusal_for_what_never_began_is_void_when_both_meet() {
    let (mut primary, mut secondary) = pair();
    let next = primary.intend(generation(2));
    secondary.superseded();
    primary.reboot(false);
    leads(&primary, &secondary, false, Leader::Peer);
    primary.commit(next, &[]);
    leads(&primary, &secondary, false, Leader::Me);
}

#[test]
fn who_went_on_leads_and_who_consented_does_not() {
    let (mut primary, mut secondary) = pair();
    let next = primary.intend(generation(2));
    secondary.yield_to(next);
    primary.commit(next, &secondary.tried);
    assert_eq!(relation(&primary, &secondary), Relation::Ahead);
    leads(&primary, &secondary, false, Leader::Me);
}

#[test]
fn a_consent_to_what_never_began_is_void_when_both_meet() {
    let (mut primary, mut secondary) = pair();
    let next = primary.intend(generation(2));
    secondary.yield_to(next);
    primary.reboot(false);
    // The primary lost its memory before it learned of the consent: the secondary has everything.
    leads(&primary, &secondary, false, Leader::Peer);
    primary.commit(next, &[]);
    leads(&primary, &secondary, false, Leader::Me);
}

#[test]
fn two_who_gave_way_to_each_other_do_not_wait_for_ever() {
    let (mut primary, mut secondary) = pair();
    let (one, two) = (primary.intend(generation(2)), secondary.intend(generation(3)));
    primary.yield_to(two);
    secondary.yield_to(one);
    leads(&primary, &secondary, false, Leader::Me);
}

#[test]
fn parted_histories_are_for_the_operator_or_for_the_rule() {
    let (mut primary, mut secondary) = pair();
    primary.commit(generation(2), &[]);
    secondary.commit(generation(3), &[]);
    leads(&primary, &secondary, false, Leader::Nobody(Nobody::Split));
    leads(&primary, &secondary, true, Leader::Me);
}

#[test]
fn half_a_copy_never_leads() {
    let (primary, mut secondary) = pair();
    secondary.follow();
    leads(&primary, &secondary, false, Leader::Me);
    let mut stopped = party(1, &primary);
    stopped.willing = false;
    assert_eq!(elect(&party(2, &secondary), &stopped, false), Leader::Nobody(Nobody::Unwilling));
}

#[test]
fn nothing_anywhere_waits_for_the_operator() {
    leads(&Replica::default(), &Replica::default(), true, Leader::Nobody(Nobody::First));
    let (primary, _) = pair();
    leads(&primary, &Replica::default(), true, Leader::Me);
    leads(&primary, &Replica::first(generation(9)), true, Leader::Nobody(Nobody::Unrelated));
}

#[test]
fn an_abandoned_claim_is_no_rival() {
    let (mut primary, mut secondary) = pair();
    let theirs = secondary.intend(generation(3));
    let next = primary.intend(generation(2));
    secondary.yield_to(next);
    primary.commit(next, &secondary.tried);
    assert!(primary.knows(theirs));
    assert_eq!(relation(&secondary, &primary), Relation::Behind);
}

#[test]
fn an_intent_survives_until_it_is_answered() {
    let (mut primary, _) = pair();
    let first = primary.intend(generation(2));
    assert_eq!(primary.intend(generation(3)), first);
}

/// A primary that had handed over took the lead back before the other one, which it had given way to, had begun.
#[test]
fn who_was_given_way_to_goes_first() {
    let mut primary = Replica::first(Uuid::from_u128(1));
    let mut secondary = Replica::default();
    secondary.follow();
    primary.close_in();
    secondary.adopt(&primary);
    let next = secondary.intend(Uuid::from_u128(2));
    primary.yield_to(next);
    let party = |node, replica: &Replica| Party { node: NodeId(node), replica: replica.clone(), willing: true, serving: false };
    let (one, two) = (party(0, &primary), party(1, &secondary));
    assert_eq!(elect(&one, &two, true), Leader::Peer);
    assert_eq!(elect(&two, &one, true), Leader::Me);
    // What it gave way to never began: it leads as before.
    secondary.give_up();
    let two = party(1, &secondary);
    assert_eq!(elect(&one, &two, true), Leader::Me);
}
