//! When the faults are over: repairs, starts, and the question whether the cluster gets ready by itself.

use super::host::AppState;
use super::ledger::Rule;
use super::log::name;
use super::queue::{Happening, Ms};
use super::world::World;
use cluster::failover::{Command, Event, Phase};

/// Ready by itself, at the latest so long after the last repair.
pub(super) const BOUND: Ms = 12_000;
/// Between looks.
const LOOK: Ms = 100;
/// Codes that ask for an operator.
const OPERATOR: [&str; 5] = ["split", "unusable", "unrelated", "first_start", "split_serving"];

impl World {
    /// Everything works again.
    pub(super) fn repair(&mut self) {
        self.log.story(self.now, "repair", || "all links, machines and processes work again".into());
        self.net.heal();
        self.third.up = true;
        self.trouble = self.now;
        for node in 0..2 {
            let now = self.now;
            let host = &mut self.hosts[node];
            host.die = None;
            host.app.hangs = false;
            host.clock.change(now, 1000, 0);
            host.disk.wanted = true;
            let (up, boot) = (host.up, host.boot);
            if !up {
                self.queue.push(self.now + 1 + self.rng.below(300), Happening::Boot { node });
            } else if self.hosts[node].daemon.is_none() {
                self.queue.push(self.now + 1, Happening::DaemonStart { node, boot });
            }
        }
    }

    /// What stands still goes on when its time has come.
    pub(super) fn wait_for_pauses(&mut self) {
        let paused = self.hosts.iter().flat_map(|host| host.paused).chain([self.third.paused]).max().unwrap_or(0);
        self.run(self.now.max(paused));
        self.trouble = self.now;
    }

    fn phase(&self, node: usize) -> Option<Phase> {
        self.hosts[node].daemon.as_ref().map(|daemon| daemon.machine.phase())
    }

    /// What any operator would do without thinking.
    fn nudge(&mut self) {
        for node in 0..2 {
            if self.hosts[node].daemon.is_none() {
                continue;
            }
            self.feed(node, Event::ChecksWell);
            if !self.hosts[node].disk.failover {
                self.order(node, Command::Failover(true));
            }
            let exhausted = self.hosts[node].daemon.as_ref().is_some_and(|daemon| daemon.machine.view().exhausted());
            if exhausted {
                self.order(node, Command::Reset);
            }
            if self.phase(node) == Some(Phase::Stopped) {
                self.order(node, Command::Start);
            }
        }
    }

    /// One serves in sync, the other has everything, and either may fail.
    pub(super) fn ready(&mut self) -> bool {
        (0..2).any(|node| {
            let leads = self.phase(node) == Some(Phase::Prim) && self.hosts[node].app.state == AppState::Running;
            let follows = self.phase(1 - node) == Some(Phase::Second);
            let synced = self.hosts[1 - node].engine.as_ref().is_some_and(|engine| engine.follows() && engine.in_sync());
            let accepts = self.hosts[node].engine.as_ref().is_some_and(|engine| engine.accepts && !engine.errors);
            leads && follows && synced && accepts && self.primary(node).is_some_and(|primary| primary.in_sync() && primary.armed())
        })
    }

    /// Until it is ready; false: not within the bound, or broken. `operator`: ask for words only if something explains it.
    pub(super) fn recover(&mut self, operator: bool) -> Option<Ms> {
        let begun = self.now;
        let mut asked = 0;
        while self.failure.is_none() && self.now < begun + BOUND {
            if (self.now - begun).is_multiple_of(5 * LOOK) {
                self.nudge();
            }
            self.run(self.now + LOOK);
            if self.ready() {
                self.final_judgement();
                return Some(self.now - begun);
            }
            if let Some(node) = self.wants_operator() {
                asked += 1;
                if asked > 20 {
                    if !operator {
                        let why = self.state_words();
                        self.fail(Rule::NeedlessOperator, format!("an operator is asked for without need: {why}"));
                        return None;
                    }
                    self.give_word(node);
                    asked = 0;
                }
            } else {
                asked = 0;
            }
        }
        if self.failure.is_none() {
            let why = self.state_words();
            self.fail(Rule::NotReady, format!("not ready {BOUND} ms after the last repair: {why}"));
        }
        None
    }

    fn wants_operator(&self) -> Option<usize> {
        let stuck = |node: usize| {
            let machine = self.hosts[node].daemon.as_ref().map(|daemon| &daemon.machine);
            machine
                .is_some_and(|machine| matches!(machine.phase(), Phase::Waiting | Phase::Alone) && OPERATOR.contains(&machine.reason().1))
        };
        (0..2).find(|&node| stuck(node))
    }

    /// The operator reads the reasons and says the word that fits, where the data is best.
    fn give_word(&mut self, stuck: usize) {
        let better = |node: usize| (self.hosts[node].disk.data.has & self.ledger.required()).count_ones();
        let serving = (0..2).find(|&node| self.phase(node).is_some_and(|phase| phase.leads()));
        let torn = |node: usize| self.ledger.torn[node];
        let node = match serving {
            Some(node) => node,
            None if torn(stuck) != torn(1 - stuck) => {
                if torn(stuck) {
                    1 - stuck
                } else {
                    stuck
                }
            }
            None if better(1 - stuck) > better(stuck) => 1 - stuck,
            None => stuck,
        };
        let Some(daemon) = &self.hosts[node].daemon else { return };
        let word = daemon.machine.view().needed();
        self.order(node, Command::Promote(word));
    }

    fn final_judgement(&mut self) {
        let data = self.data();
        for (node, data) in data.iter().enumerate() {
            let missing = self.ledger.required() & !data.has;
            if missing != 0 {
                self.broken(node, Some((Rule::Lost, missing)));
            }
        }
        let [first, second] = [&self.hosts[0].disk.replica, &self.hosts[1].disk.replica];
        if first.current != second.current {
            self.fail(Rule::NotEqual, "in sync in different generations".into());
        }
    }

    pub(super) fn state_words(&self) -> String {
        let words = |node: usize| match &self.hosts[node].daemon {
            None => format!("{}: no daemon", name(node)),
            Some(daemon) => {
                let (reason, code) = daemon.machine.reason();
                let (relation, data) = self.stands(node);
                format!("{}: {:?}, {reason} ({code}), {relation:?}, {data:?}", name(node), daemon.machine.phase())
            }
        };
        format!("{}; {}", words(0), words(1))
    }
}
