use super::*;
use crate::heartbeat::{Presence, Profile};
use crate::quorum::Kind;
use crate::replica::{Data, Party, Replica, Right};
use crate::{Moment, NodeId};
use std::collections::BTreeSet;
use std::time::Duration;
use uuid::Uuid;

fn at(ms: u64) -> Moment {
    Duration::from_millis(ms)
}

fn pair() -> (Replica, Replica) {
    let mut primary = Replica::first(Uuid::from_u128(1));
    primary.close_in();
    let mut secondary = Replica::default();
    secondary.adopt(&primary);
    primary.right = Right::Quorum;
    secondary.right = Right::Quorum;
    (primary, secondary)
}

fn facts(node: u16, replica: &Replica, state: State) -> Facts {
    let serving = matches!(state, State::Alone | State::Prim);
    let party = Party { node: NodeId(node), replica: replica.clone(), willing: state != State::Stop, serving };
    Facts { party, state, offers: false, stops_all: false }
}

/// Node 2 as secondary in sync with node 1.
fn secondary(kind: Kind) -> Machine {
    let (primary, own) = pair();
    let mut machine = Machine::new(NodeId(2), "node1", Policy::new(kind, Profile::LAN), at(0));
    machine.on(at(0), Event::Replica(own));
    machine.on(at(0), Event::Presence(Presence::Heard));
    machine.on(at(0), Event::Peer(facts(1, &primary, State::Prim)));
    machine.on(at(0), Event::Command(Command::Start));
    assert_eq!(machine.phase(), Phase::Joining);
    machine.on(at(10), Event::InSync);
    assert_eq!(machine.phase(), Phase::Second);
    machine
}

/// Node 1 as primary in sync with node 2.
fn primary(kind: Kind) -> Machine {
    let (own, second) = pair();
    let mut machine = Machine::new(NodeId(1), "node2", Policy::new(kind, Profile::LAN), at(0));
    machine.on(at(0), Event::Replica(own));
    machine.on(at(0), Event::Presence(Presence::Heard));
    machine.on(at(0), Event::Peer(facts(2, &second, State::Wait)));
    machine.on(at(0), Event::Command(Command::Start));
    assert_eq!(machine.phase(), Phase::Asking);
    machine.on(at(10), Event::Granted);
    machine.on(at(20), Event::EngineUp);
    machine.on(at(30), Event::AppStarted);
    assert_eq!(machine.phase(), Phase::Alone);
    machine.on(at(40), Event::InSync);
    machine.on(at(50), Event::Peer(facts(2, &second, State::Second)));
    assert_eq!(machine.phase(), Phase::Prim);
    machine
}

fn actions(steps: &[Step]) -> Vec<Action> {
    steps.iter().flat_map(|step| step.actions.clone()).collect()
}

#[test]
fn document_is_current() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/failover.md");
    let current = document(&table::rows());
    if std::env::var_os("UNDERSTUDY_BLESS").is_some() {
        std::fs::write(path, &current).unwrap();
    }
    let written = std::fs::read_to_string(path).unwrap_or_default();
    assert!(written == current, "docs/failover.md is not what the table says: UNDERSTUDY_BLESS=1 writes it");
}

#[test]
fn every_row_can_be_told_apart_and_every_phase_left() {
    let rows = table::rows();
    let mut seen = BTreeSet::new();
    for row in &rows {
        assert!(!row.because.is_empty() && !row.code.is_empty());
        for from in row.from {
            assert!(seen.insert((*from, row.on.words(), row.when.words)), "{from:?} {:?} {:?} twice", row.on, row.when.words);
        }
    }
    for phase in Phase::ALL {
        assert!(rows.iter().any(|row| row.from.contains(&phase) && row.to.is_some_and(|to| to != phase)), "{phase:?} is never left");
        assert!(phase == Phase::Stopped || rows.iter().any(|row| row.to == Some(phase)), "{phase:?} is never entered");
    }
}

#[test]
fn nothing_follows_a_row_that_always_fits() {
    let rows = table::rows();
    for (at, row) in rows.iter().enumerate().filter(|(_, row)| row.when.words.is_empty()) {
        for later in &rows[at + 1..] {
            let hidden: Vec<_> = row.from.iter().filter(|phase| later.on == row.on && later.from.contains(phase)).collect();
            assert!(hidden.is_empty(), "{} hides {} in {hidden:?}", row.code, later.code);
        }
    }
}

#[test]
fn only_a_grant_or_an_operator_promotes() {
    for row in table::rows().iter().filter(|row| row.to == Some(Phase::Promoting)) {
        let word = row.actions.contains(&Action::Overrule) || row.actions.contains(&Action::CreateSet);
        assert!(row.on == Trigger::Granted || row.on == Trigger::Promote && word, "{}", row.code);
    }
    for row in table::rows().iter().filter(|row| row.actions.contains(&Action::Ask)) {
        assert_eq!(row.actions.first(), Some(&Action::Seal), "{}: the old session is over before anybody is asked", row.code);
    }
}

#[test]
fn fencing_keeps_its_order() {
    let order = |action: &Action| match action {
        Action::StopAcknowledging => 1,
        Action::RemoveAddresses => 2,
        Action::AnswerErrors => 3,
        Action::RecordOutdated => 4,
        Action::StopApplication | Action::KillApplication => 5,
        Action::StopEngine => 6,
        _ => 0,
    };
    for row in table::rows().iter().filter(|row| row.to == Some(Phase::Fencing)) {
        let places: Vec<_> = row.actions.iter().map(order).filter(|&place| place > 0).collect();
        assert!(places.is_sorted(), "{}: {:?}", row.code, row.actions);
        assert!(places.contains(&5), "{}", row.code);
    }
}

/// Found by the simulator: a node that had given way to a primary whose disk was put back followed nobody for ever, and no
/// operator's word was taken.
#[test]
fn who_follows_a_node_that_does_not_serve_waits_and_can_be_promoted() {
    let mut machine = secondary(Kind::None);
    let (mut stale, _) = pair();
    stale.current = Some(Uuid::from_u128(0));
    let mut own = machine.view().replica.clone();
    own.history = vec![crate::replica::Past { generation: Uuid::from_u128(0), led: false }];
    own.yield_to(Uuid::from_u128(2));
    machine.on(at(100), Event::Replica(own));
    machine.on(at(110), Event::Replication(false));
    machine.on(at(120), Event::Peer(facts(1, &stale, State::Wait)));
    assert_eq!((machine.phase(), machine.reason().1), (Phase::Waiting, "unusable"));
    machine.on(at(200), Event::Command(Command::Promote(Some(Accept::Outdated))));
    assert_eq!(machine.phase(), Phase::Promoting);
}

/// Found by the simulator: after a wrong word of an operator both served on without a word to anybody.
#[test]
fn two_that_serve_different_histories_say_so() {
    let mut machine = primary(Kind::Witness);
    let (mut own, mut other) = pair();
    own.commit(Uuid::from_u128(2), &[]);
    other.commit(Uuid::from_u128(3), &[]);
    machine.on(at(100), Event::Holding("silent".into()));
    machine.on(at(110), Event::Replica(own));
    machine.on(at(110), Event::Degraded);
    machine.on(at(120), Event::Peer(facts(2, &other, State::Alone)));
    assert_eq!((machine.phase(), machine.reason().1), (Phase::Alone, "split_serving"));
    let steps = machine.on(at(200), Event::Command(Command::Promote(Some(Accept::Split))));
    assert_eq!(actions(&steps), [Action::Overrule]);
}

/// Found by the simulator: a primary that lost its secondary while it stopped, and was refused, waited for nothing.
#[test]
fn who_is_refused_while_it_stops_is_stopped() {
    let mut machine = primary(Kind::Witness);
    machine.on(at(100), Event::Command(Command::StopAll));
    machine.on(at(110), Event::AppStopped);
    assert_eq!(machine.phase(), Phase::StopSeal);
    let steps = machine.on(at(200), Event::Refused("newer data".into()));
    assert_eq!((machine.phase(), actions(&steps)), (Phase::Stopped, vec![Action::RecordOutdated, Action::StopEngine]));
}

/// Found by the simulator: the one that had handed over asked to lead again before the other began, and the swap was undone.
#[test]
fn who_handed_over_does_not_ask_for_the_lead_again() {
    let next = Uuid::from_u128(2);
    let mut machine = primary(Kind::Witness);
    let (_, mut other) = pair();
    other.intend(next);
    machine.on(at(100), Event::Command(Command::Swap));
    machine.on(at(110), Event::AppStopped);
    machine.on(at(120), Event::Sealed);
    let mut own = machine.view().replica.clone();
    own.yield_to(next);
    machine.on(at(130), Event::Replica(own.clone()));
    machine.on(at(130), Event::Consented);
    machine.on(at(140), Event::Peer(facts(2, &other, State::Wait)));
    assert_eq!(machine.phase(), Phase::Waiting);

    let mut heir = secondary(Kind::Witness);
    heir.on(at(120), Event::Replication(false));
    let (mut gives, _) = pair();
    heir.on(at(120), Event::Peer(Facts { offers: true, ..facts(1, &gives, State::Wait) }));
    heir.on(at(121), Event::Presence(Presence::Lost));
    heir.on(at(121), Event::Replica(other));
    assert_eq!(heir.phase(), Phase::Asking);
    gives.yield_to(next);
    heir.on(at(130), Event::Peer(facts(1, &gives, State::Wait)));
    heir.on(at(131), Event::Presence(Presence::Heard));
    assert_eq!(heir.phase(), Phase::Asking, "the answer is on its way");
}

/// Found by the simulator: fenced by a check while replies were held, the application could never be killed.
#[test]
fn what_does_not_stop_while_fenced_is_answered_before_it_is_killed() {
    let mut machine = primary(Kind::Witness);
    machine.on(at(100), Event::Holding("silent".into()));
    machine.on(at(110), Event::CheckFailed("sql".into(), OnFailure::Wait));
    assert_eq!(machine.phase(), Phase::Fencing);
    let steps = machine.on(at(61_000), Event::Tick);
    assert_eq!(actions(&steps), [Action::AnswerErrors, Action::KillApplication]);
}

#[test]
fn promotion_needs_the_loss_of_replication_and_of_all_heartbeats() {
    let mut machine = secondary(Kind::Witness);
    machine.on(at(1000), Event::Replication(false));
    assert_eq!(machine.phase(), Phase::Joining, "heard: stays");
    machine.on(at(1500), Event::Presence(Presence::Lost));
    assert_eq!(machine.phase(), Phase::Asking);

    let mut machine = secondary(Kind::Witness);
    machine.on(at(1500), Event::Presence(Presence::Lost));
    assert_eq!(machine.phase(), Phase::Second, "replication carries: stays");
}

#[test]
fn a_secondary_that_consented_never_asks() {
    let mut machine = secondary(Kind::None);
    let mut own = machine.view().replica.clone();
    own.yield_to(Uuid::from_u128(2));
    assert_eq!(own.data, Data::Outdated);
    machine.on(at(900), Event::Replica(own));
    machine.on(at(1000), Event::Replication(false));
    machine.on(at(1500), Event::Presence(Presence::Lost));
    assert_eq!(machine.phase(), Phase::Waiting);
    assert_eq!(machine.reason().1, "outdated");
}

#[test]
fn a_swap_goes_step_by_step_and_can_be_given_up() {
    let mut machine = primary(Kind::Witness);
    let steps = machine.on(at(100), Event::Command(Command::Swap));
    assert_eq!(actions(&steps), [Action::StopApplication]);
    let steps = machine.on(at(200), Event::AppStopped);
    assert_eq!(actions(&steps), [Action::RemoveAddresses, Action::Seal]);
    machine.on(at(300), Event::Sealed);
    assert!(machine.facts().offers && !machine.facts().party.willing);
    let mut given_up = machine.clone();
    let mut own = machine.view().replica.clone();
    own.yield_to(Uuid::from_u128(2));
    machine.on(at(310), Event::Replica(own));
    machine.on(at(310), Event::Consented);
    assert_eq!(machine.phase(), Phase::Waiting);
    given_up.on(at(10_000), Event::Tick);
    assert_eq!(given_up.phase(), Phase::Asking, "nobody took it: leads again");
    let refused = given_up.on(at(10_010), Event::Command(Command::Swap));
    assert!(refused[0].refused() && refused[0].reason_code == "swap_not_ready");
}

#[test]
fn the_ladder_restarts_then_fails_over_then_stops() {
    let mut machine = primary(Kind::Witness);
    for _ in 0..3 {
        machine.on(at(100), Event::AppFailed("exit 1".into()));
        assert_eq!(machine.phase(), Phase::Restarting);
        machine.on(at(110), Event::AppStopped);
        machine.on(at(120), Event::AppStarted);
        assert_eq!(machine.phase(), Phase::Prim);
    }
    let mut alone = machine.clone();
    machine.on(at(200), Event::AppFailed("exit 1".into()));
    assert_eq!((machine.phase(), machine.reason().1), (Phase::HandStop, "application_failed"));
    alone.on(at(200), Event::Holding("silent".into()));
    alone.on(at(210), Event::Degraded);
    alone.on(at(220), Event::AppFailed("exit 1".into()));
    assert_eq!((alone.phase(), alone.reason().1), (Phase::StopApp, "exhausted"));
    let mut later = primary(Kind::Witness);
    for day in 0..10 {
        later.on(at(day * 86_400_000 + 100), Event::AppFailed("exit 1".into()));
        assert_eq!(later.phase(), Phase::Restarting, "counts leave the window");
        later.on(at(day * 86_400_000 + 110), Event::AppStopped);
        later.on(at(day * 86_400_000 + 120), Event::AppStarted);
    }
}

#[test]
fn a_promotion_wants_the_word_for_what_is_lost() {
    let mut machine = Machine::new(NodeId(2), "node1", Policy::new(Kind::None, Profile::LAN), at(0));
    let (_, mut own) = pair();
    own.reboot(false);
    machine.on(at(0), Event::Replica(own));
    machine.on(at(0), Event::Command(Command::Start));
    machine.on(at(5000), Event::Presence(Presence::Lost));
    assert_eq!(machine.reason().1, "power_cut");
    for wrong in [None, Some(Accept::First), Some(Accept::Split)] {
        let steps = machine.on(at(6000), Event::Command(Command::Promote(wrong)));
        assert!(steps[0].refused(), "{wrong:?}");
    }
    let steps = machine.on(at(6000), Event::Command(Command::Promote(Some(Accept::Outdated))));
    assert_eq!((machine.phase(), steps[0].reason.as_str()), (Phase::Promoting, "the operator accepts: outdated"));
}

#[test]
fn the_first_start_waits_for_the_operator_on_both_sides() {
    let mut machine = Machine::new(NodeId(1), "node2", Policy::new(Kind::Witness, Profile::LAN), at(0));
    machine.on(at(0), Event::Command(Command::Start));
    machine.on(at(10), Event::Presence(Presence::Heard));
    machine.on(at(10), Event::Peer(facts(2, &Replica::default(), State::Wait)));
    assert_eq!(machine.reason().1, "first_start");
    let steps = machine.on(at(20), Event::Command(Command::Promote(Some(Accept::First))));
    assert_eq!(actions(&steps), [Action::CreateSet, Action::FencePeer, Action::PromoteEngine]);
}
