//! A whole farm in one thread: beats that travel, links that break, servers that die, rules that take a while to
//! load. The judge looks at what the filters accept, not at what the state machines believe.

use super::super::limits::BUCKETS;
use super::super::settings::{Affinity, Protocol, Rule, VirtualAddress};
use super::*;
use proptest::prelude::*;
use std::collections::BTreeSet;

const STEP: Duration = Duration::from_millis(10);
const LOSS: Duration = limits::LOST_AFTER;

fn settings(servers: usize) -> Settings {
    let names: Vec<String> = (0..servers).map(|n| format!("n{n:02}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut farm = Settings::new("web", &names);
    farm.addresses.push(VirtualAddress { ip: "10.0.0.100".parse().unwrap(), prefix: 24, interface: None });
    farm.rules.push(Rule { name: "http".into(), protocol: Protocol::Tcp, port: 80, affinity: Affinity::ClientIp });
    farm.checked().unwrap()
}

struct Farm {
    settings: Settings,
    now: Duration,
    nodes: Vec<Option<Membership>>,
    /// Plans on their way into the kernel, and when they are there.
    loading: Vec<Option<(Plan, Duration)>>,
    beats: Vec<(Duration, Member, Member, Vec<u8>)>,
    cut: BTreeSet<(Member, Member)>,
    runs: u64,
    chance: u64,
    /// Are two servers that accept the same bucket a fault?
    judging: bool,
}

impl Farm {
    fn new(servers: usize) -> Farm {
        let mut farm = Farm {
            settings: settings(servers),
            now: Duration::from_secs(1_000),
            nodes: Vec::new(),
            loading: vec![None; servers],
            beats: Vec::new(),
            cut: BTreeSet::new(),
            runs: 0,
            chance: 1,
            judging: true,
        };
        for member in 0..servers {
            farm.nodes.push(None);
            farm.start(member as Member);
        }
        farm
    }

    fn start(&mut self, member: Member) {
        self.runs += 1;
        let macs = vec![[2, 0, 0, 0, 0, member]];
        let mut node = Membership::new(self.settings.clone(), member, self.runs, macs, self.now);
        node.set_up(true, self.now);
        self.nodes[usize::from(member)] = Some(node);
    }

    fn kill(&mut self, member: Member) {
        self.nodes[usize::from(member)] = None;
        self.loading[usize::from(member)] = None;
    }

    fn cut(&mut self, from: Member, to: Member) {
        self.cut.insert((from, to));
    }

    fn split(&mut self, half: &[Member]) {
        let everybody = self.settings.everybody();
        for a in everybody.iter() {
            for b in everybody.iter().filter(|b| half.contains(&a) != half.contains(b)) {
                self.cut(a, b);
            }
        }
    }

    fn random(&mut self, below: u64) -> u64 {
        self.chance = super::super::share::scramble(self.chance);
        self.chance % below
    }

    fn step(&mut self) {
        self.now += STEP;
        let (due, later) = std::mem::take(&mut self.beats).into_iter().partition(|(at, ..)| *at <= self.now);
        self.beats = later;
        for (_, from, to, bytes) in due {
            if let Some(node) = self.nodes[usize::from(to)].as_mut().filter(|_| !self.cut.contains(&(from, to))) {
                node.hear(Beat::decode(&bytes).unwrap(), self.now).unwrap();
            }
        }
        for at in 0..self.nodes.len() {
            self.turn(at);
        }
        if self.judging {
            self.judge();
        }
    }

    fn turn(&mut self, at: usize) {
        let (delay, lag) = (self.random(4), self.random(9));
        let (now, everybody) = (self.now, self.settings.everybody());
        let Some(node) = self.nodes[at].as_mut() else { return };
        if let Some((plan, _)) = self.loading[at].take_if(|(_, ready)| *ready <= now) {
            node.loaded(plan, now);
        }
        for action in node.tick(now) {
            match action {
                // nft is blocking: what comes meanwhile waits.
                Action::Load(plan) if self.loading[at].is_none() => self.loading[at] = Some((plan, now + STEP * lag as u32)),
                Action::Load(_) => {}
                Action::Send(beat) => {
                    let bytes = beat.encode();
                    let to = everybody.without(at as Member).iter();
                    self.beats.extend(to.map(|to| (now + STEP * delay as u32, at as Member, to, bytes.clone())));
                }
            }
        }
    }

    fn run(&mut self, time: Duration) {
        for _ in 0..time.as_millis() / STEP.as_millis() {
            self.step();
        }
    }

    fn live(&self) -> impl Iterator<Item = &Membership> {
        self.nodes.iter().flatten()
    }

    /// How many accept each bucket, and whether anybody does so twice.
    fn accepted(&self, nodes: &[&Membership]) -> (u32, bool) {
        let mut ranges: Vec<(u32, u32)> = nodes.iter().filter_map(|node| node.in_force()).flat_map(|plan| plan.accepting.clone()).collect();
        ranges.sort_unstable();
        let twice = ranges.windows(2).any(|pair| pair[0].1 >= pair[1].0);
        (ranges.iter().map(|(from, to)| to - from + 1).sum(), twice)
    }

    fn judge(&self) {
        let (_, twice) = self.accepted(&self.live().collect::<Vec<_>>());
        let maps: Vec<_> = self
            .live()
            .map(|node| {
                (
                    node.me,
                    node.map.as_ref().map(|map| (map.stamp, map.serving)),
                    node.in_force().map(|plan| (plan.stamp, plan.accepting.len())),
                )
            })
            .collect();
        assert!(!twice, "two servers accept the same bucket: {maps:?}");
    }

    /// These are one farm: one map, one that answers ARP, every bucket accepted once.
    fn one_farm(&self, members: &[Member]) {
        let nodes: Vec<&Membership> = members.iter().map(|member| self.nodes[usize::from(*member)].as_ref().unwrap()).collect();
        let first = nodes[0].map().expect("there is a map");
        assert_eq!(first.live(), members.iter().copied().collect());
        for node in &nodes {
            assert_eq!(node.map(), Some(first), "server {}", node.me);
            assert_eq!(node.in_force().unwrap().stamp, first.stamp);
        }
        assert_eq!(nodes.iter().filter(|node| node.in_force().unwrap().arp).count(), 1);
        assert_eq!(self.accepted(&nodes), (BUCKETS, false));
    }

    fn arp(&self) -> Vec<Member> {
        self.live().filter(|node| node.in_force().is_some_and(|plan| plan.arp)).map(|node| node.me).collect()
    }
}

/// Long enough for anything to be noticed and agreed on.
const QUIET: Duration = Duration::from_secs(3);

#[test]
fn a_farm_starts_and_takes_everything() {
    for servers in [2, 3, 5, 32] {
        let mut farm = Farm::new(servers);
        farm.run(QUIET);
        farm.one_farm(&(0..servers as Member).collect::<Vec<_>>());
        assert_eq!(farm.arp(), [0]);
    }
}

#[test]
fn one_server_alone_takes_everything_and_the_others_join() {
    let mut farm = Farm::new(3);
    farm.kill(0);
    farm.kill(1);
    farm.run(QUIET);
    farm.one_farm(&[2]);
    farm.start(0);
    farm.run(QUIET);
    farm.one_farm(&[0, 2]);
    assert_eq!(farm.arp(), [2], "who answers ARP stays");
    farm.start(1);
    farm.run(QUIET);
    farm.one_farm(&[0, 1, 2]);
}

#[test]
fn a_death_is_made_good_within_the_time() {
    let mut farm = Farm::new(4);
    farm.run(QUIET);
    let before: Vec<_> = farm.live().map(|node| node.in_force().unwrap().accepting.clone()).collect();
    for dead in [2, 0] {
        farm.kill(dead);
        let died = farm.now;
        let count = farm.live().count();
        while farm.accepted(&farm.live().collect::<Vec<_>>()) != (BUCKETS, false) || farm.arp().len() != 1 {
            farm.step();
            assert!(farm.now - died < Duration::from_millis(1_100), "{count} servers");
        }
    }
    farm.run(QUIET);
    farm.one_farm(&[1, 3]);
    let kept = |member: usize, bucket: u32| before[member].iter().any(|(from, to)| (*from..=*to).contains(&bucket));
    for bucket in 0..BUCKETS {
        for member in [1, 3] {
            let owner = farm.nodes[1].as_ref().unwrap().in_force().unwrap().owner(bucket);
            assert!(!kept(member, bucket) || owner == Some(member as Member), "a survivor's share has moved");
        }
    }
}

#[test]
fn a_stopping_server_is_replaced_at_once() {
    let mut farm = Farm::new(3);
    farm.run(QUIET);
    let bytes = farm.nodes[0].as_mut().unwrap().leave(farm.now).encode();
    for to in [1, 2] {
        farm.beats.push((farm.now, 0, to, bytes.clone()));
    }
    farm.run(STEP * 2);
    farm.kill(0);
    farm.run(LOSS / 2);
    farm.one_farm(&[1, 2]);
}

#[test]
fn a_drained_server_gets_nothing_new_and_stays_in_doubt() {
    let mut farm = Farm::new(3);
    farm.run(QUIET);
    let now = farm.now;
    farm.nodes[2].as_mut().unwrap().drain(1, true, now);
    farm.run(QUIET);
    farm.one_farm(&[0, 1, 2]);
    let plan = farm.nodes[1].as_ref().unwrap().in_force().unwrap().clone();
    assert!(plan.accepting.is_empty());
    assert!(plan.runs.iter().any(|run| run.former.has(1)), "its connections are still sent to it");
    // The word outlives the one who gave it, and the one it is about.
    farm.kill(2);
    farm.kill(1);
    farm.run(QUIET);
    farm.start(1);
    farm.run(QUIET);
    assert!(farm.nodes[1].as_ref().unwrap().in_force().unwrap().accepting.is_empty());
    let now = farm.now;
    farm.nodes[0].as_mut().unwrap().drain(1, false, now);
    farm.run(QUIET);
    assert!(!farm.nodes[1].as_ref().unwrap().in_force().unwrap().accepting.is_empty());
    farm.one_farm(&[0, 1]);
}

#[test]
fn a_split_farm_serves_on_both_sides_and_heals() {
    let mut farm = Farm::new(5);
    farm.run(QUIET);
    farm.judging = false;
    farm.split(&[0, 1]);
    farm.run(QUIET);
    farm.one_farm(&[0, 1]);
    farm.one_farm(&[2, 3, 4]);
    assert_eq!(farm.arp(), [0, 2]);
    farm.cut.clear();
    farm.run(QUIET);
    farm.one_farm(&[0, 1, 2, 3, 4]);
    assert_eq!(farm.arp().len(), 1);
    // What either half gave to a server is looked for there.
    let plan = farm.nodes[0].as_ref().unwrap().in_force().unwrap();
    let all: Members = plan.runs.iter().flat_map(|run| run.former.iter()).collect();
    assert_eq!(all.count(), 5);
}

/// Two servers that hear a third one and not each other: nothing flaps.
#[test]
fn a_hole_in_the_middle_comes_to_rest() {
    let mut farm = Farm::new(3);
    farm.run(QUIET);
    farm.judging = false;
    farm.cut(0, 1);
    farm.run(QUIET);
    let epoch = farm.nodes[2].as_ref().unwrap().map().unwrap().stamp;
    farm.run(QUIET);
    assert_eq!(farm.nodes[2].as_ref().unwrap().map().unwrap().stamp, epoch, "the map keeps changing");
    assert_eq!(farm.arp().len(), 1);
    assert!(farm.nodes[1].as_ref().unwrap().in_force().unwrap().accepting.is_empty());
    assert_eq!(farm.nodes[0].as_ref().unwrap().view(1, farm.now).0, View::OneWay);
    farm.cut.clear();
    farm.run(QUIET);
    farm.one_farm(&[0, 1, 2]);
}

#[test]
fn a_servers_own_pause_is_not_the_others_silence() {
    let mut farm = Farm::new(3);
    farm.run(QUIET);
    let mut sleeper = farm.nodes[0].take().unwrap();
    farm.judging = false;
    farm.run(QUIET);
    farm.one_farm(&[1, 2]);
    sleeper.tick(farm.now);
    assert_eq!(sleeper.map().unwrap().live().count(), 3, "it does not think that it is alone");
    farm.nodes[0] = Some(sleeper);
    farm.run(QUIET);
    farm.one_farm(&[0, 1, 2]);
}

#[test]
fn another_configuration_is_refused_and_said() {
    let mut farm = Farm::new(2);
    let mut other = settings(2);
    other.rules[0].port = 81;
    farm.nodes[1] = None;
    farm.run(QUIET);
    let mut stranger = Membership::new(other, 1, 77, vec![[2, 0, 0, 0, 0, 1]], farm.now);
    let Some(Action::Send(beat)) = stranger.tick(farm.now).into_iter().find(|action| matches!(action, Action::Send(_))) else {
        panic!("it sends a beat")
    };
    let now = farm.now;
    let node = farm.nodes[0].as_mut().unwrap();
    assert!(node.hear(beat, now).unwrap_err().to_string().contains("configuration"));
    assert_eq!(node.view(1, now).0, View::Refused);
    farm.one_farm(&[0]);
}

#[test]
fn late_beats_of_an_earlier_run_change_nothing() {
    let mut farm = Farm::new(2);
    farm.run(QUIET);
    let now = farm.now;
    let late = farm.nodes[1].as_mut().unwrap().beat(now);
    farm.kill(1);
    farm.start(1);
    farm.run(QUIET);
    let node = farm.nodes[0].as_mut().unwrap();
    let map = node.map().cloned();
    node.hear(Beat { leaving: true, ..late }, now + QUIET).unwrap();
    assert!(node.connected(1, now + QUIET));
    assert_eq!(node.map().cloned(), map);
}

#[derive(Clone, Debug)]
enum Fault {
    Kill(Member),
    Start(Member),
    Down(Member),
    Up(Member),
    Drain(Member, bool),
    Wait(u64),
}

fn fault(servers: Member) -> impl Strategy<Value = Fault> {
    prop_oneof![
        (0..servers).prop_map(Fault::Kill),
        (0..servers).prop_map(Fault::Start),
        (0..servers).prop_map(Fault::Down),
        (0..servers).prop_map(Fault::Up),
        (0..servers, any::<bool>()).prop_map(|(member, drained)| Fault::Drain(member, drained)),
        (1_u64..3_000).prop_map(Fault::Wait),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(30))]

    /// Whatever dies, returns, drains: no bucket is ever accepted by two, and it all comes to rest.
    #[test]
    fn never_two_for_one_bucket(faults in prop::collection::vec(fault(4), 1..12), chance in any::<u64>()) {
        let mut farm = Farm::new(4);
        farm.chance = chance;
        farm.run(QUIET);
        for fault in faults {
            let now = farm.now;
            let node = |farm: &mut Farm, member: Member, act: &dyn Fn(&mut Membership)| {
                if let Some(node) = farm.nodes[usize::from(member)].as_mut() { act(node) }
            };
            match fault {
                Fault::Kill(member) => farm.kill(member),
                Fault::Start(member) if farm.nodes[usize::from(member)].is_none() => farm.start(member),
                Fault::Start(_) => {}
                Fault::Down(member) => node(&mut farm, member, &|node| node.set_up(false, now)),
                Fault::Up(member) => node(&mut farm, member, &|node| node.set_up(true, now)),
                Fault::Drain(member, drained) => node(&mut farm, 0, &|node| node.drain(member, drained, now)),
                Fault::Wait(time) => farm.run(Duration::from_millis(time)),
            }
        }
        let now = farm.now;
        for member in 0..4 {
            if farm.nodes[member].is_none() { farm.start(member as Member) }
            farm.nodes[member].as_mut().unwrap().set_up(true, now);
        }
        farm.run(QUIET);
        let now = farm.now;
        for member in 0..4 { farm.nodes[0].as_mut().unwrap().drain(member, false, now) }
        farm.run(QUIET);
        farm.one_farm(&[0, 1, 2, 3]);
    }
}
