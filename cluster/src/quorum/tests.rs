use super::agreement::{Agreement, Do, Event, Follower, Word};
use super::witness::{Reply, Request, Witness};
use super::*;
use crate::heartbeat::Profile;
use crate::replica::{Data, Generation, Party, Replica, Right};
use crate::{Moment, NodeId};
use std::time::Duration;
use uuid::Uuid;

const MODULE: Uuid = Uuid::from_u128(77);
const LAN: Profile = Profile::LAN;

fn generation(number: u128) -> Generation {
    Uuid::from_u128(number)
}

fn ms(ms: u64) -> Moment {
    Duration::from_millis(ms)
}

/// In sync in generation 1 with the right at the quorum.
fn pair() -> (Party, Party) {
    let mut primary = Replica::first(generation(1));
    primary.close_in();
    let mut secondary = Replica::default();
    secondary.adopt(&primary);
    primary.right = Right::Quorum;
    secondary.right = Right::Quorum;
    let party = |node, replica, serving| Party { node: NodeId(node), replica, willing: true, serving };
    (party(1, primary, true), party(2, secondary, false))
}

fn registered() -> Witness {
    let mut witness = Witness::blank(Uuid::from_u128(1));
    let (reply, changed) = witness.handle(MODULE, &register(1, 0, 1));
    assert_eq!((reply, changed), (Reply::Granted { generation: generation(1) }, true));
    witness
}

fn register(incarnation: u128, version: u64, number: u128) -> Request {
    let (incarnation, generation, primary) = (Uuid::from_u128(incarnation), generation(number), NodeId(1));
    Request::Register { incarnation, version, generation, primary, in_sync: vec![NodeId(1), NodeId(2)] }
}

fn claim(by: u16, lineage: &[u128], next: u128) -> Request {
    let lineage = lineage.iter().map(|&number| generation(number)).collect();
    Request::Claim { by: NodeId(by), lineage, next: generation(next) }
}

#[test]
fn one_claim_wins_and_may_be_repeated() {
    let mut witness = registered();
    for changed in [true, false] {
        assert_eq!(witness.handle(MODULE, &claim(2, &[1], 2)), (Reply::Granted { generation: generation(2) }, changed));
    }
    let (reply, _) = witness.handle(MODULE, &claim(1, &[1], 3));
    assert!(matches!(reply, Reply::Refused { record } if record.primary == NodeId(2)));
    // Old requests, late and twice, change nothing.
    let (_, changed) = witness.handle(MODULE, &register(1, 0, 1));
    assert!(!changed);
}

#[test]
fn who_went_on_since_may_claim_and_who_was_left_may_not() {
    let mut witness = registered();
    witness.handle(MODULE, &claim(1, &[1], 2));
    assert!(matches!(witness.handle(MODULE, &claim(2, &[2, 1], 3)).0, Reply::Refused { .. }), "not in sync there");
    assert!(matches!(witness.handle(MODULE, &claim(1, &[4, 2], 5)).0, Reply::Granted { .. }));
}

#[test]
fn a_blank_witness_refuses_until_a_pair_in_sync_registers_with_it() {
    let mut witness = Witness::blank(Uuid::from_u128(2));
    assert_eq!(witness.handle(MODULE, &claim(1, &[1], 2)).0, Reply::Blank);
    assert_eq!(witness.handle(MODULE, &register(1, 0, 1)).0, Reply::Blank, "meant for the memory that was lost");
    assert_eq!(witness.handle(MODULE, &register(1, 3, 1)).0, Reply::Blank);
    assert!(matches!(witness.handle(MODULE, &register(2, 0, 1)).0, Reply::Granted { .. }));
    assert!(matches!(witness.handle(MODULE, &claim(2, &[1], 2)).0, Reply::Granted { .. }));
}

#[test]
fn a_pair_in_sync_stands_against_any_record_but_not_against_a_newer_one() {
    let mut witness = registered();
    witness.handle(MODULE, &claim(2, &[1], 9));
    assert!(matches!(witness.handle(MODULE, &register(1, 1, 4)).0, Reply::Refused { .. }));
    assert!(matches!(witness.handle(MODULE, &register(1, 2, 4)).0, Reply::Granted { .. }));
}

#[test]
fn requests_without_bounds_are_malformed() {
    let mut witness = registered();
    let lineage = vec![generation(1); witness::LINEAGE + 1];
    assert_eq!(witness.handle(MODULE, &Request::Claim { by: NodeId(1), lineage, next: generation(2) }).0, Reply::Malformed);
    assert_eq!(witness.handle(MODULE, &claim(1, &[], 2)).0, Reply::Malformed);
}

fn ask(kind: Kind, from: &mut Party, next: u128) -> Ask {
    let next = from.replica.intend(generation(next));
    Ask::new(kind, LAN, PeerQuestion { from: from.clone(), next }, ms(0))
}

#[test]
fn the_secondary_gives_way_to_a_primary_that_holds_its_replies() {
    let (mut primary, mut secondary) = pair();
    secondary.replica.intend(generation(3));
    let mut asked = ask(Kind::Witness, &mut primary, 2);
    let (send, verdict) = asked.step(ms(0), AskEvent::Tick);
    assert!(verdict.is_none());
    let AskSend::Peer(question) = &send[0] else { panic!("{send:?}") };
    assert!(matches!(send[1], AskSend::Witness(_)), "both at once: replies are held");
    let answer = consent(&secondary, question, false);
    assert_eq!(answer, Answer::Yes { abandoned: vec![generation(3)] });
    secondary.replica.yield_to(question.next);
    assert_eq!(secondary.replica.data, Data::Outdated);
    assert!(matches!(consent(&secondary, question, false), Answer::Yes { .. }), "and says so again");
    let (_, verdict) = asked.step(ms(10), AskEvent::Peer(question.next, answer));
    assert_eq!(verdict, Some(Verdict::Granted { by: Granter::Peer, superseded: vec![generation(3)] }));
}

/// Found by the simulator: a primary that had gone on, and knew the other's claim as given up, consented to that claim.
#[test]
fn nobody_consents_to_a_claim_that_was_given_up() {
    let (mut primary, mut secondary) = pair();
    let mut late = ask(Kind::Witness, &mut secondary, 3);
    let (send, _) = late.step(ms(0), AskEvent::Tick);
    let AskSend::Peer(question) = &send[0] else { panic!("{send:?}") };
    primary.replica.commit(generation(2), &[generation(3)]);
    primary.serving = false;
    assert_eq!(consent(&primary, question, false), Answer::No(Refusal::Newer));
}

#[test]
fn who_wants_to_be_promoted_asks_the_peer_first_and_waits_for_one_that_lives() {
    let (primary, mut secondary) = pair();
    let mut asked = ask(Kind::Witness, &mut secondary, 3);
    let (send, _) = asked.step(ms(0), AskEvent::Tick);
    assert_eq!(send.len(), 1);
    let AskSend::Peer(question) = &send[0] else { panic!("{send:?}") };
    let answer = consent(&primary, question, false);
    assert_eq!(answer, Answer::No(Refusal::Serving));
    asked.step(ms(10), AskEvent::Peer(question.next, answer));
    let (send, _) = asked.step(ms(500), AskEvent::Tick);
    assert!(matches!(send[..], [AskSend::Peer(_)]), "no claim against a primary that answers: {send:?}");
    let (send, _) = asked.step(ms(1600), AskEvent::Tick);
    assert!(matches!(send[..], [AskSend::Peer(_), AskSend::Witness(_)]), "{send:?}");
}

#[test]
fn a_refused_claim_waits_for_the_peer_that_may_give_it_up() {
    let (mut primary, secondary) = pair();
    let mut witness = registered();
    witness.handle(MODULE, &claim(2, &[1], 3));
    let mut asked = ask(Kind::Witness, &mut primary, 2);
    let (reply, _) = witness.handle(MODULE, &claim(1, &[1], 2));
    assert_eq!(asked.step(ms(5), AskEvent::Witness(reply.clone())).1, None);
    let mut later = asked.clone();
    let yes = Answer::Yes { abandoned: vec![generation(3)] };
    assert!(matches!(asked.step(ms(20), AskEvent::Peer(generation(2), yes)).1, Some(Verdict::Granted { .. })));
    assert!(matches!(later.step(ms(300), AskEvent::Tick).1, Some(Verdict::Refused { .. })));
    drop(secondary);
}

#[test]
fn the_right_at_hand_needs_nobody_unless_the_disk_may_be_old() {
    let (mut primary, _) = pair();
    primary.replica.right = Right::Here;
    let granted = |by| Some(Verdict::Granted { by, superseded: Vec::new() });
    assert_eq!(ask(Kind::Witness, &mut primary, 2).step(ms(0), AskEvent::Tick).1, granted(Granter::Own));
    primary.replica.rebooted = true;
    assert_eq!(ask(Kind::Witness, &mut primary, 2).step(ms(0), AskEvent::Tick).1, None);
    assert_eq!(ask(Kind::None, &mut primary, 2).step(ms(0), AskEvent::Tick).1, granted(Granter::Own));
}

#[test]
fn who_gave_the_right_away_gets_it_from_the_peer_only() {
    let (_, mut secondary) = pair();
    secondary.replica.right = Right::Peer;
    for kind in [Kind::None, Kind::Tiebreaker, Kind::Witness] {
        let mut asked = ask(kind, &mut secondary, 3);
        for now in (0..20_000).step_by(100) {
            let (send, verdict) = asked.step(ms(now), AskEvent::Pong);
            assert_eq!(verdict, None, "{kind:?}");
            assert!(send.iter().all(|send| matches!(send, AskSend::Peer(_))), "{send:?}");
        }
    }
}

#[test]
fn without_a_quorum_the_peers_silence_is_enough() {
    let (mut primary, _) = pair();
    let mut asked = ask(Kind::None, &mut primary, 2);
    assert_eq!(asked.step(ms(100), AskEvent::Tick).1, None);
    assert!(matches!(asked.step(ms(150), AskEvent::Tick).1, Some(Verdict::Granted { by: Granter::Nobody, .. })));
}

/// Plays both halves and the witness until nothing more is said; gives the rights in the order of their records.
fn agree(agreement: &mut Agreement, follower: &mut Follower, witness: &mut Witness, now: Moment) -> Vec<(u16, Right)> {
    let mut rights = Vec::new();
    let mut events = vec![Event::Tick];
    while let Some(event) = events.pop() {
        for todo in agreement.step(now, &event) {
            match todo {
                Do::Witness(request) => events.push(Event::Witness(witness.handle(MODULE, &request).0)),
                Do::Ping => events.push(Event::Pong),
                Do::Record(right) => rights.push((1, right)),
                Do::Say(word) => {
                    if let Some((right, answer)) = follower.hear(word) {
                        rights.push((2, right));
                        events.push(Event::Word(answer));
                    }
                }
            }
        }
    }
    rights
}

#[test]
fn the_right_moves_by_giving_up_before_taking() {
    let mut witness = Witness::blank(Uuid::from_u128(5));
    let mut agreement = Agreement::new(Kind::Witness, LAN, NodeId(1), NodeId(2), generation(1), ms(0));
    let mut follower = Follower::default();
    let there = [(2, Right::Peer), (1, Right::Quorum), (2, Right::Quorum)];
    assert_eq!(agree(&mut agreement, &mut follower, &mut witness, ms(0)), there);
    assert!(agreement.armed());
    // Away for longer than a restart.
    let mut said = Vec::new();
    for now in (500..=4000).step_by(500) {
        said.extend(agreement.step(ms(now), &Event::Tick).into_iter().filter(|todo| !matches!(todo, Do::Witness(_))));
    }
    assert!(said.iter().all(|todo| *todo == Do::Say(Word::Give(2))) && !said.is_empty(), "{said:?}");
    let (right, given) = follower.hear(Word::Give(2)).unwrap();
    assert_eq!(right, Right::Peer);
    assert_eq!(follower.hear(Word::Take(1)), None, "one that comes late");
    assert_eq!(agreement.step(ms(4100), &Event::Word(given))[0], Do::Record(Right::Here));
    // Back, blank.
    let mut witness = Witness::blank(Uuid::from_u128(6));
    assert_eq!(agree(&mut agreement, &mut follower, &mut witness, ms(6000)), there);
    assert_eq!(witness.record(MODULE).unwrap().in_sync.len(), 2);
}

#[test]
fn a_witness_that_forgot_is_registered_with_again() {
    let mut witness = Witness::blank(Uuid::from_u128(5));
    let mut agreement = Agreement::new(Kind::Witness, LAN, NodeId(1), NodeId(2), generation(1), ms(0));
    let mut follower = Follower::default();
    agree(&mut agreement, &mut follower, &mut witness, ms(0));
    let mut witness = Witness::blank(Uuid::from_u128(6));
    for now in [1000, 2000, 3000] {
        agree(&mut agreement, &mut follower, &mut witness, ms(now));
    }
    assert!(agreement.armed());
    assert!(witness.record(MODULE).is_some());
}

#[test]
fn without_a_witness_both_may_go_on_at_once() {
    for kind in [Kind::None, Kind::Tiebreaker] {
        let mut agreement = Agreement::new(kind, LAN, NodeId(1), NodeId(2), generation(1), ms(0));
        let rights = agree(&mut agreement, &mut Follower::default(), &mut Witness::blank(Uuid::nil()), ms(0));
        assert_eq!(rights.last(), Some(&(2, Right::Quorum)), "{kind:?}");
    }
}
