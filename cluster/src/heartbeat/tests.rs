use super::*;
use crate::{Moment, NodeId};
use std::time::Duration;
use uuid::Uuid;

const LAN: Profile = Profile::LAN;

fn ms(ms: u64) -> Moment {
    Duration::from_millis(ms)
}

fn peer(node: u16, epoch: u64) -> Peer {
    Peer::new(NodeId(node), 2, LAN, epoch, Uuid::from_u128(u128::from(node) << 64 | u128::from(epoch)), ms(0))
}

/// Two nodes and the time; `one` looks at node 2.
struct Pair {
    one: Peer,
    two: Peer,
    now: u64,
    changes: Vec<Change>,
}

impl Pair {
    fn new() -> Pair {
        Pair { one: peer(2, 1), two: peer(1, 1), now: 0, changes: Vec::new() }
    }

    /// `beats` pulses; `carries(network, to_one)` says which links carry.
    fn run(&mut self, beats: u64, carries: impl Fn(u8, bool) -> bool) {
        for _ in 0..beats {
            self.now += 100;
            for network in 0..2 {
                let theirs = self.two.beat(NodeId(2), network, 0).unwrap();
                let ours = self.one.beat(NodeId(1), network, 0).unwrap();
                if carries(network, true) {
                    self.changes.extend(self.one.receive(&theirs, ms(self.now)));
                }
                if carries(network, false) {
                    self.two.receive(&ours, ms(self.now));
                }
            }
            self.changes.extend(self.one.tick(ms(self.now)).0);
            self.two.tick(ms(self.now));
        }
    }

    fn take(&mut self) -> Vec<Change> {
        std::mem::take(&mut self.changes)
    }
}

#[test]
fn profiles_are_sound_and_the_promised_times_hold() {
    for profile in [Profile::FAST, Profile::LAN, Profile::VIRTUAL, Profile::WAN] {
        assert_eq!(profile.fault(), None, "{profile:?}");
    }
    assert_eq!((LAN.degrade, LAN.promote), (ms(1000), ms(1500)));
    assert!(Profile::FAST.promote < ms(500));
    assert!(Profile::VIRTUAL.degrade > ms(10_000), "a pause of 10 s is health");
    assert!(Profile { promote: LAN.degrade, ..LAN }.fault().is_some());
    assert_eq!(Profile::named("lan"), Some(LAN));
    assert_eq!(Profile::named("slow"), None);
}

#[test]
fn one_network_is_enough_and_its_loss_is_told() {
    let mut pair = Pair::new();
    pair.run(20, |_, _| true);
    assert_eq!(pair.one.presence(), Presence::Heard);
    pair.take();
    pair.run(50, |network, _| network == 1);
    assert_eq!(pair.one.presence(), Presence::Heard);
    assert_eq!(pair.take(), [Change::Link(0, LinkState::Down)]);
    pair.run(14, |_, _| false);
    assert_eq!(pair.one.presence(), Presence::Heard, "not before the time to promote");
    pair.run(1, |_, _| false);
    assert_eq!(pair.one.presence(), Presence::Lost);
}

#[test]
fn a_one_way_link_is_seen_by_the_side_that_hears() {
    let mut pair = Pair::new();
    pair.run(20, |_, _| true);
    pair.take();
    pair.run(30, |_, to_one| to_one);
    assert_eq!(pair.one.presence(), Presence::Heard, "who speaks is alive");
    assert_eq!(pair.take(), [Change::Link(0, LinkState::Deaf), Change::Link(1, LinkState::Deaf)]);
    assert_eq!(pair.two.presence(), Presence::Lost);
}

#[test]
fn our_own_pause_neither_promotes_nor_forgives() {
    let mut pair = Pair::new();
    pair.run(20, |_, _| true);
    pair.run(10, |_, _| false);
    pair.now += 60_000;
    let (changes, stall) = pair.one.tick(ms(pair.now));
    assert_eq!(pair.one.presence(), Presence::Heard, "a late tick does not promote: {changes:?}");
    assert_eq!(stall, Some(Stall { late: ms(59_900), suspect: true }));
    pair.run(14, |_, _| false);
    assert_eq!(pair.one.presence(), Presence::Heard, "we have to listen anew");
    pair.run(1, |_, _| false);
    assert_eq!(pair.one.presence(), Presence::Lost);
    pair.now += 60_000;
    pair.one.tick(ms(pair.now));
    assert_eq!(pair.one.presence(), Presence::Lost, "nor does it forgive");
}

#[test]
fn many_short_pauses_do_not_hide_a_loss() {
    let mut pair = Pair::new();
    pair.run(20, |_, _| true);
    for _ in 0..8 {
        pair.now += 250;
        pair.one.tick(ms(pair.now));
    }
    assert_eq!(pair.one.presence(), Presence::Lost);
}

#[test]
fn a_beat_is_worth_nothing_the_second_time_nor_after_a_newer_start() {
    let (mut one, mut two) = (peer(2, 1), peer(1, 7));
    let first = two.beat(NodeId(2), 0, 0).unwrap();
    let second = two.beat(NodeId(2), 0, 0).unwrap();
    assert!(!one.receive(&first, ms(0)).is_empty());
    one.receive(&second, ms(0));
    for now in (100..=1500).step_by(100) {
        one.receive(&first, ms(now));
        one.receive(&second, ms(now));
        one.tick(ms(now));
    }
    assert_eq!(one.presence(), Presence::Lost, "replays are silence");
    let mut again = Peer::new(NodeId(1), 2, LAN, 8, Uuid::from_u128(9), ms(0));
    let fresh = again.beat(NodeId(2), 1, 0).unwrap();
    let changes = one.receive(&fresh, ms(1600));
    assert!(changes.contains(&Change::Restarted) && changes.contains(&Change::Rebooted), "{changes:?}");
    let old = two.beat(NodeId(2), 0, 0).unwrap();
    assert_eq!(one.receive(&old, ms(1700)), [], "also on another network");
}

#[test]
fn nobody_is_lost_before_it_was_looked_for() {
    let mut one = peer(2, 1);
    for now in (100..5000).step_by(100) {
        one.tick(ms(now));
        assert_eq!(one.presence(), Presence::Unknown);
    }
    one.tick(ms(5000));
    assert_eq!(one.presence(), Presence::Lost);
}

#[test]
fn flapping_is_believed_later_each_time() {
    let mut damper = Damper::new(ms(1000));
    let mut now = 0;
    let mut holds = Vec::new();
    for _ in 0..8 {
        damper.lost(ms(now));
        damper.back(ms(now + 10));
        holds.push(damper.hold().as_millis());
        now += 20;
    }
    assert_eq!(holds, [1000, 2000, 4000, 8000, 16_000, 32_000, 32_000, 32_000]);
    assert!(!damper.steady(ms(now + 31_000)));
    assert!(damper.steady(ms(now + 33_000)));
    assert!(damper.steady(ms(now + 70_000)));
    assert_eq!(damper.hold(), ms(1000), "quiet times are forgiven");
}

#[test]
fn beats_survive_the_wire_and_rubbish_does_not_get_in() {
    let mut two = peer(1, 7);
    let beat = two.beat(NodeId(2), 1, 5).unwrap();
    assert_eq!(Beat::decode(&beat.encode()), Ok(beat.clone()));
    assert!(beat.encode().len() < 200);
    assert_eq!(Beat::decode(b"\xdf\xff\xff\xff\xff"), Err(Malformed));
    let wide = Beat { network: 8, ..beat };
    assert_eq!(Beat::decode(&wide.encode()), Err(Malformed));
}
