//! What happens in a history.

use super::Faults;
use super::app::App;
use super::node::{Held, Node, Started};
use crate::disk::Disk;
use crate::engine::{PATIENCE, Said, Start, wait_for};
use crate::hosts::Link;
use crate::lab::Lab;
use crate::pair::{PORT, make_key};
use crate::rng::Rng;
use crate::tree::{Ignore, differences};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Megabytes of each node's disk.
const DISK: u64 = 384;
/// How long a pair may take until it is in sync.
const IN_SYNC: Duration = Duration::from_secs(60);

/// A primary that lost its power while in sync may have lost what was acknowledged from memory, and the secondary has
/// it. As long as it is let in as sender all the same, what is lost then is not counted.
const FORMER_PRIMARY_MAY_LEAD: bool = true;

/// Points at which a primary may die, and the most often that each is passed before.
const AT_PRIMARY: &[(&str, u64)] = &[
    ("resync-sent", 120),
    ("purge-before-sending", 1),
    ("purge-sent", 1),
    ("identity", 3),
    ("in-sync-before-identity", 1),
    ("in-sync-before-journal", 1),
    ("alone-before-identity", 1),
    ("alone-after-identity", 1),
    ("checkpoint", 3),
    ("checkpoint-committed", 3),
];
/// The same for a secondary.
const AT_SECONDARY: &[(&str, u64)] = &[
    ("resync-applied", 120),
    ("purge-before", 1),
    ("purge-after", 1),
    ("identity", 3),
    ("flushed-all", 3),
    ("committed", 3),
    ("done-before-record", 1),
    ("done-recorded", 1),
];

/// A pair and its application.
pub struct History {
    pub nodes: [Node; 2],
    link: Link,
    linked: bool,
    rng: Rng,
    app: App,
    faults: Faults,
    /// Which node is the primary, or was last.
    lead: usize,
    /// The primary serves.
    mounted: bool,
    /// The pair was seen in sync, and nothing has happened since that could end it.
    synced: bool,
    /// The engine of a node was asked to die.
    doomed: [bool; 2],
    /// A secondary that was stopped when its primary had just died cannot know whether that one went on without it,
    /// and counts itself as outdated.
    resigned: [bool; 2],
    ignore: Ignore,
    began: Instant,
}

impl History {
    /// Two machines in sync.
    pub fn begin(lab: &Arc<Lab>, seed: u64, kind: &str, faults: Faults) -> History {
        eprintln!("history: seed {seed} on {kind}, {faults:?}");
        let mut rng = Rng::new(seed);
        let hosts = ["a", "b"].map(|name| lab.host(name));
        let link = lab.link(&hosts[0], &hosts[1]);
        let addresses = [link.first_socket(PORT), link.second_socket(PORT)];
        let key = make_key(&lab.dir.join("pair.key"), 1);
        let mut nodes = Vec::new();
        for (host, address) in hosts.into_iter().zip(addresses) {
            let disk = Disk::new(&host, kind, DISK);
            nodes.push(Node::new(host, disk, address, &key));
        }
        let nodes: [Node; 2] = nodes.try_into().unwrap_or_else(|_| unreachable!("two were made"));
        // Of the same kind, so that it answers with the same errors.
        let host = &nodes[0].host;
        let plain = host.view(&host.small_disk("plain", kind, DISK));
        let app = App::new(plain, Rng::new(rng.number()));
        // A resync compares bytes: where zeros that are data become a hole it leaves them. `resync_holes` has the case.
        let ignore = Ignore { mtime: false, holes: true };
        let mut history = History {
            nodes,
            link,
            linked: true,
            rng,
            app,
            faults,
            lead: 0,
            mounted: false,
            synced: false,
            doomed: [false; 2],
            resigned: [false; 2],
            ignore,
            began: Instant::now(),
        };
        history.nodes[0].held = Held::All;
        history.heal();
        history.work();
        history.heal();
        history.check();
        history
    }

    fn other(&self) -> usize {
        1 - self.lead
    }

    fn tell(&self, what: &str) {
        let [a, b] = [0, 1].map(|n| format!("{:?}{}", self.nodes[n].held, if self.nodes[n].engine.is_some() { "+" } else { "-" }));
        eprintln!("  {:6.1} {what} [lead {}, a {a}, b {b}]", self.began.elapsed().as_secs_f32(), ["a", "b"][self.lead]);
    }

    /// One chapter: some work, some faults, and in the end a pair in sync whose trees are equal.
    pub fn chapter(&mut self) {
        if self.rng.one_in(3) {
            let _ = self.app.start_storm(2);
        }
        self.work();
        for _ in 0..1 + self.rng.below(5) {
            self.event();
        }
        self.heal();
        self.check();
    }

    /// The application does something, if it can.
    fn work(&mut self) {
        if !self.mounted {
            return;
        }
        let count = 3 + self.rng.below(40);
        self.tell(&format!("{count} changes"));
        let done = self.app.work(count);
        self.nodes.iter_mut().for_each(|node| node.flushed = false);
        if let Err(why) = done {
            self.tell(&format!("the mount is gone: {why}"));
            let lead = self.lead;
            let ended = wait_for(PATIENCE, || (!self.nodes[lead].is_up()).then_some(()));
            assert!(ended.is_some() && self.doomed[lead], "the mount failed: {why}; {}", self.nodes[lead].engine().stderr());
            self.primary_is_gone();
        }
    }

    /// The engine of the primary has ended without a word.
    fn primary_is_gone(&mut self) {
        let lead = self.lead;
        self.nodes[lead].kill();
        self.app.stop_storm();
        self.doomed[lead] = false;
        (self.mounted, self.synced) = (false, false);
    }

    /// Notices engines that died at their points.
    fn notice_the_dead(&mut self) {
        for n in 0..2 {
            if self.nodes[n].engine.is_some() && !self.nodes[n].is_up() {
                assert!(self.doomed[n], "node {n} died: {}", self.nodes[n].engine().stderr());
                self.tell(&format!("{} died at its point", ["a", "b"][n]));
                if n == self.lead {
                    self.primary_is_gone();
                } else {
                    self.secondary_is_gone();
                }
            }
        }
    }

    fn secondary_is_gone(&mut self) {
        let other = self.other();
        self.nodes[other].kill();
        self.doomed[other] = false;
        self.after_loss();
    }

    /// The secondary is not there any more: a primary goes on without it, before anything is acknowledged.
    fn after_loss(&mut self) {
        let (lead, other) = (self.lead, self.other());
        if self.mounted {
            self.nodes[other].held = Held::Unknown;
            if self.synced {
                let alone = wait_for(PATIENCE, || {
                    (last_state(&self.nodes[lead]).is_none_or(|(state, _)| state != "PRIM") || !self.nodes[lead].is_up()).then_some(())
                });
                assert!(alone.is_some(), "the primary does not notice: {}", self.nodes[lead].engine().stderr());
            }
        }
        self.synced = false;
    }

    fn event(&mut self) {
        self.notice_the_dead();
        // Not everything is possible at any time.
        for _ in 0..6 {
            if self.try_event() {
                return;
            }
        }
    }

    fn try_event(&mut self) -> bool {
        let (lead, other) = (self.lead, self.other());
        let there = self.nodes[other].engine.is_some();
        match self.rng.below(16) {
            0..=1 if self.mounted => self.work(),
            3 if self.mounted => {
                self.tell("kill the primary");
                self.primary_is_gone();
            }
            4 if self.mounted && !self.doomed[lead] => self.stop_primary(),
            5 if there => {
                self.tell("kill the secondary");
                self.secondary_is_gone();
            }
            6 if there && !self.doomed[other] => {
                self.tell("stop the secondary");
                self.nodes[other].engine.as_mut().expect("it runs").stop();
                self.resigned[other] = true;
                self.secondary_is_gone();
            }
            7 if self.linked => {
                self.tell("cut the link");
                self.set_link(false);
                self.after_loss();
            }
            8 if !self.linked => self.set_link(true),
            9 | 10 if self.faults.power => self.power_cut(),
            11 if self.mounted && !self.doomed[lead] => {
                let both = self.nodes[lead].sync() == 2 && self.synced;
                self.tell("sync");
                self.nodes[lead].flushed = true;
                self.nodes[other].flushed = both;
            }
            12 if !self.mounted => return self.start_alone(),
            2 | 13 if !there => {
                self.tell("start the secondary");
                self.start_secondary(None);
            }
            14 if self.faults.split && self.synced && self.linked && self.mounted => self.split(),
            // Not on an event: whatever is under way is to be met in any moment.
            15 => std::thread::sleep(Duration::from_millis(self.rng.below(300))),
            _ => return false,
        }
        true
    }

    fn set_link(&mut self, up: bool) {
        self.linked = up;
        self.nodes[0].host.set_link(self.link.first.0, up);
    }

    fn stop_primary(&mut self) {
        self.tell("stop the primary");
        self.app.close();
        let (lead, other) = (self.lead, self.other());
        self.nodes[lead].engine.as_mut().expect("it runs").stop();
        self.nodes[lead].flushed = true;
        self.nodes[other].flushed |= self.synced;
        self.primary_is_gone();
    }

    /// One or both lose their power in the same moment.
    fn power_cut(&mut self) {
        let who: &[usize] = self.rng.pick(&[&[0][..], &[1], &[0, 1]]);
        self.tell(&format!("power cut of {who:?}"));
        let mounted = self.mounted;
        let images: Vec<_> = who.iter().map(|n| self.nodes[*n].lose_power()).collect();
        for n in who {
            self.nodes[*n].kill();
            self.doomed[*n] = false;
        }
        if who.contains(&self.lead) {
            self.app.stop_storm();
            (self.mounted, self.synced) = (false, false);
        }
        for (n, image) in who.iter().zip(images) {
            self.nodes[*n].boot(image);
        }
        if who.contains(&self.other()) && mounted {
            self.after_loss();
        }
    }

    /// The engine of node `n` dies at a point, sometimes, and makes checkpoints now and then.
    fn with_faults(&mut self, n: usize, start: Start, points: Option<&[(&str, u64)]>) -> Start {
        let start = match self.rng.below(3) {
            0 => start.env("UNDERSTUDY_TEST_CHECKPOINT", "300ms"),
            1 => start.env("UNDERSTUDY_TEST_CHECKPOINT", "2s"),
            _ => start,
        };
        self.doomed[n] = false;
        match points {
            Some(points) => {
                let (name, most) = self.rng.pick(points);
                let fail = format!("{name}:{}", 1 + self.rng.below(most));
                eprintln!("  {} is to die at {fail}", ["a", "b"][n]);
                self.doomed[n] = true;
                start.env("UNDERSTUDY_TEST_FAIL", &fail)
            }
            None => start,
        }
    }

    fn start_secondary(&mut self, points: Option<&[(&str, u64)]>) {
        let other = self.other();
        let start = self.nodes[other].receive();
        let start = self.with_faults(other, start, points);
        self.nodes[other].engine = Some(start.spawn());
        // A resync may begin at once.
        if self.mounted {
            self.nodes[other].held = Held::Unknown;
        }
        self.nodes[other].flushed = false;
        if self.nodes[other].wait_started() == Started::Died {
            assert!(self.doomed[other], "the secondary died at its start");
            self.doomed[other] = false;
        }
    }

    /// The former primary serves again although nobody else is there.
    fn start_alone(&mut self) -> bool {
        let (lead, other) = (self.lead, self.other());
        if self.nodes[lead].held == Held::Unknown || (self.nodes[lead].held, self.nodes[other].held) == (Held::Flushed, Held::All) {
            return false;
        }
        self.tell("start the primary alone");
        let start = self.nodes[lead].mount(self.nodes[other].address).args(["--alone"]);
        let start = self.with_faults(lead, start, None);
        self.nodes[lead].engine = Some(start.spawn());
        let started = self.nodes[lead].wait_started();
        assert_eq!(started, Started::Ready, "the primary does not start alone");
        self.serves();
        true
    }

    /// The primary is ready: what it has is what there is.
    fn serves(&mut self) {
        let (lead, other) = (self.lead, self.other());
        self.mounted = true;
        let root = self.nodes[lead].view();
        self.app.open(root.clone());
        if self.nodes[lead].held == Held::Flushed {
            let excused = FORMER_PRIMARY_MAY_LEAD && self.nodes[other].held == Held::All;
            let looked = self.app.missing_flushed(&root).and_then(|missing| {
                assert!(missing.is_empty() || excused, "flushed and lost: {missing:#?}");
                self.app.accept(&root)
            });
            if let Err(why) = looked {
                assert!(self.doomed[lead], "the mount cannot be read: {why}");
                self.nodes[other].held = Held::Unknown;
                return self.primary_is_gone();
            }
        }
        self.nodes[lead].held = Held::All;
        self.nodes[other].held = Held::Unknown;
    }

    /// Who may lead now, whoever that is.
    fn choose(&mut self) -> usize {
        let (lead, other) = (self.lead, self.other());
        match (self.nodes[lead].held, self.nodes[other].held) {
            (Held::All, Held::All) => self.rng.pick(&[lead, other]),
            (Held::Flushed, Held::All) => self.rng.pick(&[lead, other, other]),
            (Held::Unknown, Held::All | Held::Flushed) => other,
            (Held::Unknown, Held::Unknown) => unreachable!("somebody has the data"),
            _ => lead,
        }
    }

    /// Everything that is down comes back, in any order, until the pair is in sync.
    fn heal(&mut self) {
        if !self.linked {
            self.set_link(true);
        }
        for attempt in 0.. {
            self.notice_the_dead();
            let points = self.faults.points && attempt < 3 && self.rng.one_in(2);
            let [at_primary, at_secondary] = match self.rng.below(3) {
                _ if !points => [None, None],
                0 => [Some(AT_PRIMARY), None],
                1 => [None, Some(AT_SECONDARY)],
                _ => [Some(AT_PRIMARY), Some(AT_SECONDARY)],
            };
            if !self.mounted && !self.start_both(at_primary, at_secondary) {
                continue;
            }
            if self.nodes[self.other()].engine.is_none() {
                self.start_secondary(at_secondary);
            }
            if self.mounted && self.rng.one_in(3) {
                self.work();
            }
            if self.wait_in_sync() {
                return;
            }
        }
    }

    /// Starts a primary and a secondary; whether the primary serves then.
    fn start_both(&mut self, at_primary: Option<&[(&str, u64)]>, at_secondary: Option<&[(&str, u64)]>) -> bool {
        let chosen = self.choose();
        if chosen != self.lead {
            self.tell("the other node leads");
            self.nodes.iter_mut().for_each(Node::kill);
            self.lead = chosen;
        }
        let (lead, other) = (self.lead, self.other());
        let before = self.nodes[other].held;
        let first = self.rng.one_in(2) && self.nodes[other].engine.is_none();
        if first {
            self.start_secondary(at_secondary);
        }
        let start = self.nodes[lead].mount(self.nodes[other].address);
        let start = self.with_faults(lead, start, at_primary);
        self.nodes[lead].engine = Some(start.spawn());
        self.tell("start the primary");
        if self.nodes[other].engine.is_none() {
            self.start_secondary(if first { None } else { at_secondary });
        }
        // From here on the secondary may be in a resync; when it was refused it is as it was.
        loop {
            let started = wait_started_beside(&mut self.nodes, lead);
            match started {
                Some(Started::Ready) => {
                    self.serves();
                    return self.mounted;
                }
                Some(Started::Refused(words)) => {
                    self.tell(&format!("the primary is refused: {words}"));
                    if std::mem::take(&mut self.resigned[lead]) && words.contains("outdated") {
                        self.nodes[other].held = before;
                        self.nodes[lead].held = Held::Unknown;
                        self.nodes.iter_mut().for_each(Node::kill);
                        return false;
                    }
                    let lost = self.nodes[lead].held == Held::Flushed && before == Held::All;
                    assert!(lost, "the primary is refused: {words}");
                    // Its power was cut and the other one has everything: that one leads.
                    self.nodes[other].held = Held::All;
                    self.nodes[lead].held = Held::Unknown;
                    self.nodes.iter_mut().for_each(Node::kill);
                    return false;
                }
                Some(Started::Died) => {
                    assert!(self.doomed[lead], "the primary died at its start");
                    self.tell("the primary died at its start");
                    self.doomed[lead] = false;
                    self.nodes[other].held = Held::Unknown;
                    return false;
                }
                None => {
                    assert!(self.doomed[other], "the secondary died: {}", self.nodes[other].engine().stderr());
                    self.tell("the secondary died before the primary was ready");
                    self.nodes[other].kill();
                    self.nodes[other].held = Held::Unknown;
                    self.start_secondary(None);
                }
            }
        }
    }

    /// Waits until the pair is in sync; false when an engine died at its point.
    fn wait_in_sync(&mut self) -> bool {
        let (lead, other) = (self.lead, self.other());
        let outcome = wait_for(IN_SYNC, || {
            if !self.nodes[lead].is_up() || !self.nodes[other].is_up() {
                return Some(false);
            }
            let is = |n: usize, wanted: &str| last_state(&self.nodes[n]).is_some_and(|(state, data)| state == wanted && data == "uptodate");
            // In this order: what the primary said may be older than the secondary's start, not the other way round.
            (is(other, "SECOND") && is(lead, "PRIM")).then_some(true)
        });
        let outcome = outcome.unwrap_or_else(|| {
            let said = [lead, other].map(|n| self.nodes[n].engine().said_since(0));
            panic!("not in sync within {IN_SYNC:?}: {said:?}");
        });
        if outcome {
            self.nodes.iter_mut().for_each(|node| node.held = Held::All);
            self.resigned = [false; 2];
            self.synced = true;
        }
        outcome
    }

    /// Both sides are cut off and go on; one is told to give its changes up.
    fn split(&mut self) {
        self.tell("split");
        let registers = self.app.registers();
        let certain = self.app.is_certain();
        self.set_link(false);
        self.after_loss();
        self.work();
        self.notice_the_dead();
        if self.mounted {
            self.primary_is_gone();
        }
        let (loser, winner) = (self.lead, self.other());
        self.nodes.iter_mut().for_each(Node::kill);
        self.doomed = [false; 2];
        self.lead = winner;
        let start = self.nodes[winner].mount(self.nodes[loser].address).args(["--alone"]);
        self.nodes[winner].engine = Some(start.spawn());
        let started = self.nodes[winner].wait_started();
        assert_eq!(started, Started::Ready, "the cut off secondary does not start alone");
        let root = self.nodes[winner].view();
        let missing = App::missing_registers(&registers, &root);
        assert!(missing.is_empty() || !certain, "acknowledged before the split and lost: {missing:#?}");
        self.nodes[winner].held = Held::All;
        self.nodes[loser].held = Held::Unknown;
        self.mounted = true;
        self.app.open(root.clone());
        self.app.accept(&root).expect("look at the registers");
        self.work();

        // Without the word it is refused, with it the loser's changes are given up.
        self.nodes[loser].engine = Some(self.nodes[loser].receive().spawn());
        assert_eq!(self.nodes[loser].wait_started(), Started::Ready);
        self.set_link(true);
        self.nodes[winner].engine().wait_since(
            0,
            "a refusal",
            PATIENCE,
            |said| matches!(said, Said::State { reason_code, .. } if reason_code == "diverged"),
        );
        self.nodes[loser].kill();
        self.nodes[loser].engine = Some(self.nodes[loser].receive().args(["--discard-local"]).spawn());
        assert_eq!(self.nodes[loser].wait_started(), Started::Ready);
        assert!(self.wait_in_sync());
    }

    /// The pair is in sync: everything is there, twice.
    fn check(&mut self) {
        self.app.close();
        if !self.app.is_certain() {
            self.notice_the_dead();
        }
        let (lead, other) = (self.lead, self.other());
        if self.doomed[lead] || self.doomed[other] {
            // One that is still to die would do it while it is looked at.
            self.tell("without points");
            self.nodes.iter_mut().for_each(Node::kill);
            self.doomed = [false; 2];
            (self.mounted, self.synced) = (false, false);
            let points = std::mem::take(&mut self.faults.points);
            self.heal();
            self.faults.points = points;
            return self.check();
        }
        self.nodes[lead].sync();
        let (mount, replica) = (self.nodes[lead].view(), self.nodes[other].view());
        let found = differences(&mount, &replica, &self.ignore);
        assert!(found.is_empty(), "mount and replica differ:\n{}", found.join("\n"));
        let missing = self.app.missing_acknowledged(&mount);
        assert!(missing.is_empty(), "acknowledged and lost: {missing:#?}");
        self.tell("equal");
    }

    /// The end: both stop cleanly, in any order, and the bare directories are compared. `meddle` may do something to
    /// the secondary's before.
    pub fn end(mut self, meddle: impl FnOnce(&std::path::Path)) {
        let mut order = [self.lead, self.other()];
        if self.rng.one_in(2) {
            order.reverse();
        }
        for n in order {
            self.nodes[n].engine.as_mut().expect("it runs").stop();
        }
        let [a, b] = [self.lead, self.other()].map(|n| self.nodes[n].view());
        meddle(&b);
        let found = differences(&a, &b, &self.ignore);
        assert!(found.is_empty(), "the bare directories differ:\n{}", found.join("\n"));
        for root in [a, b] {
            let missing = self.app.missing_acknowledged(&root);
            assert!(missing.is_empty(), "acknowledged and lost: {missing:#?}");
        }
    }
}

/// What the engine of `node` said last of its state, since it was ready.
fn last_state(node: &Node) -> Option<(String, String)> {
    let said = node.engine.as_ref()?.said_since(0);
    let since = said.iter().position(|said| *said == Said::Ready)?;
    said[since..].iter().rev().find_map(|said| match said {
        Said::State { state, data, .. } => Some((state.clone(), data.clone())),
        _ => None,
    })
}

/// Waits for the start of one node while the other may die: none then.
fn wait_started_beside(nodes: &mut [Node; 2], lead: usize) -> Option<Started> {
    let other = 1 - lead;
    let settled = wait_for(PATIENCE, || {
        let ready = nodes[lead].engine().said_since(0).contains(&Said::Ready);
        (ready || !nodes[lead].is_up() || !nodes[other].is_up()).then_some(ready || !nodes[lead].is_up())
    });
    match settled {
        Some(true) => Some(nodes[lead].wait_started()),
        Some(false) => None,
        None => panic!("the primary is not ready: {}", nodes[lead].engine().stderr()),
    }
}
