//! Faults as they strike.

use super::host::DieAt;
use super::log::name;
use super::net::BOTH;
use super::plan::Fault;
use super::queue::{Happening, Ms, Proc};
use super::world::World;
use cluster::failover::Command;

impl World {
    /// A plan's faults, from now on.
    pub(super) fn expect(&mut self, faults: &[(Ms, Fault)]) {
        self.faults = faults.to_vec();
        for (at, (when, _)) in faults.iter().enumerate() {
            self.queue.push(self.now + when, Happening::Fault { at });
        }
    }

    pub(super) fn strike(&mut self, at: usize) {
        let fault = self.faults[at].1;
        if !matches!(fault, Fault::Order { .. } | Fault::StopAll) {
            self.log.story(self.now, "fault", || describe(fault));
        }
        self.trouble = self.trouble.max(self.now);
        match fault {
            Fault::Cut { networks, directions, length } => self.cut(networks, directions, Some(length)),
            Fault::CutThird { nodes, directions, length } => {
                for node in (0..2).filter(|node| nodes >> node & 1 == 1) {
                    self.net.third_cut[node] |= directions;
                }
                self.back_after(length);
            }
            Fault::Flap { period, times, directions } => {
                self.net.change += 1;
                let change = self.net.change;
                self.flap(change, times * 2, directions, period);
            }
            Fault::Storm { loss, double, slow, length } => {
                (self.net.loss, self.net.double, self.net.slow) = (loss, double, slow);
                self.net.calm_change += 1;
                self.queue.push(self.now + length, Happening::CalmDown { change: self.net.calm_change });
            }
            Fault::Pause { node, process, length } => {
                let until = self.now + length;
                self.trouble = self.trouble.max(until);
                for (at, paused) in self.hosts[node].paused.iter_mut().enumerate() {
                    if process.is_none_or(|process| process as usize == at) {
                        *paused = until.max(*paused);
                    }
                }
            }
            Fault::PauseThird { length } => self.third.paused = self.third.paused.max(self.now + length),
            Fault::Kill { node, process: Proc::Daemon } => self.kill_daemon(node, true),
            Fault::Kill { node, process: Proc::Engine } => self.engine_dies(node),
            Fault::Kill { node, process: Proc::App } | Fault::AppFails { node } => self.app_fails(node),
            Fault::KillBoth { node } => {
                self.engine_dies(node);
                self.kill_daemon(node, true);
            }
            Fault::Off { node, loses, put_back, back } => {
                self.power_off(node, loses, put_back);
                self.queue.push(self.now + back, Happening::Boot { node });
            }
            Fault::BothOff { first, second } => {
                for (node, back) in [(0, first), (1, second)] {
                    self.power_off(node, true, false);
                    self.queue.push(self.now + back, Happening::Boot { node });
                }
            }
            Fault::Snapshot { node } => {
                let disk = &mut self.hosts[node].disk;
                disk.data.flush();
                self.hosts[node].snapshot = Some((self.hosts[node].disk.replica.clone(), self.hosts[node].disk.data));
            }
            Fault::DieAtRecord { node, after, back } => {
                self.hosts[node].die = Some(if after { DieAt::After } else { DieAt::Before });
                self.queue.push(self.now + back + 1000, Happening::Boot { node });
            }
            Fault::ThirdOff { blank, length } => {
                self.third.up = false;
                if blank {
                    self.blank_witness();
                }
                self.queue.push(self.now + length, Happening::ThirdUp);
            }
            Fault::Clock { node, rate, jump } => {
                let now = self.now;
                self.hosts[node].clock.change(now, rate, jump);
            }
            Fault::AppHangs { node } => self.hosts[node].app.hangs = true,
            Fault::Check { node, wants, length } => {
                self.queue.push(self.now, Happening::Check { node, wants: Some(wants) });
                self.queue.push(self.now + length, Happening::Check { node, wants: None });
            }
            Fault::Order { node, command } => self.queue.push(self.now, Happening::Order { node, command }),
            Fault::StopAll => {
                for node in 0..2 {
                    self.queue.push(self.now, Happening::Order { node, command: Command::StopAll });
                }
            }
        }
    }

    fn cut(&mut self, networks: u8, directions: u8, length: Option<Ms>) {
        for network in (0..self.net.networks).filter(|network| networks >> network & 1 == 1 || self.net.networks == 1) {
            self.net.cut[network] |= directions;
        }
        if let Some(length) = length {
            self.back_after(length);
        }
    }

    fn back_after(&mut self, length: Ms) {
        self.net.change += 1;
        self.queue.push(self.now + length, Happening::LinkBack { change: self.net.change });
    }

    /// The latest cut is over, and with it all earlier ones.
    pub(super) fn links_back(&mut self, change: u32) {
        if change == self.net.change {
            self.log.story(self.now, "network", || "all links carry again".into());
            (self.net.cut, self.net.third_cut) = Default::default();
            self.trouble = self.trouble.max(self.now);
        }
    }

    pub(super) fn flap(&mut self, change: u32, left: u32, mask: u8, period: Ms) {
        if change != self.net.change || left == 0 {
            return self.links_back(change);
        }
        self.trouble = self.trouble.max(self.now);
        let down = left.is_multiple_of(2);
        self.net.cut = [if down { mask & BOTH } else { 0 }; super::net::NETWORKS];
        self.log.story(self.now, "network", || format!("flaps: {}", if down { "cut" } else { "carries" }));
        self.queue.push(self.now + period, Happening::Flap { change, left: left - 1, mask, period });
    }

    pub(super) fn calm_down(&mut self, change: u32) {
        if change == self.net.calm_change {
            (self.net.loss, self.net.double, self.net.slow) = (0, 0, 0);
            self.trouble = self.trouble.max(self.now);
        }
    }
}

fn arrow(directions: u8, there: &str, back: &str, both: &str) -> String {
    match directions {
        1 => there.into(),
        2 => back.into(),
        _ => both.into(),
    }
}

fn describe(fault: Fault) -> String {
    match fault {
        Fault::Cut { networks, directions, .. } => {
            let which = if networks == 3 { "all networks".into() } else { format!("network {}", networks >> 1) };
            format!("{which} cut, {}", arrow(directions, "node1 → node2", "node2 → node1", "both directions"))
        }
        Fault::CutThird { nodes, directions, .. } => {
            let who = ["node1", "node2", "both nodes"][usize::from(nodes.clamp(1, 3)) - 1];
            format!("{who} cut off from the third machine, {}", arrow(directions, "to it", "from it", "both directions"))
        }
        Fault::Flap { .. } => "the networks begin to flap".into(),
        Fault::Storm { loss, double, slow, .. } => format!("packets lost {loss} ‰, doubled {double} ‰, late by up to {slow} ms"),
        Fault::Pause { node, process: Some(process), length } => {
            format!("{} of {} stands still for {length} ms", word(process), name(node))
        }
        Fault::Pause { node, process: None, length } => format!("{} stands still for {length} ms", name(node)),
        Fault::PauseThird { length } => format!("the third machine stands still for {length} ms"),
        Fault::Kill { node, process } => format!("{} of {} is killed", word(process), name(node)),
        Fault::KillBoth { node } => format!("daemon and engine of {} are killed", name(node)),
        Fault::Off { node, put_back: true, .. } => format!("{} loses its power, and its disk is put back in time", name(node)),
        Fault::Off { node, loses: true, .. } => format!("{} loses its power and what was not flushed", name(node)),
        Fault::Off { node, .. } => format!("{} goes down, everything flushed", name(node)),
        Fault::BothOff { .. } => "both nodes lose their power and what was not flushed".into(),
        Fault::Snapshot { node } => format!("a snapshot of {}'s disk is taken", name(node)),
        Fault::DieAtRecord { node, .. } => format!("{} will lose its power when it records next", name(node)),
        Fault::ThirdOff { blank: true, .. } => "the third machine is down, and its disk is lost".into(),
        Fault::ThirdOff { .. } => "the third machine is down".into(),
        Fault::Clock { node, rate, jump } => format!("the clock of {} runs at {rate} ‰ and jumps {jump} ms ahead", name(node)),
        Fault::AppFails { node } => format!("the application of {} ends", name(node)),
        Fault::AppHangs { node } => format!("the application of {} will not stop when asked", name(node)),
        Fault::Check { node, wants, .. } => format!("a check on {} fails and wants {wants:?}", name(node)),
        Fault::Order { .. } | Fault::StopAll => "an operator's order".into(),
    }
}

fn word(process: Proc) -> &'static str {
    match process {
        Proc::Daemon => "the daemon",
        Proc::Engine => "the engine",
        Proc::App => "the application",
    }
}
