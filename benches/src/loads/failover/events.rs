//! The events. Each begins with a pair in sync and ends with one; what it gives is what the clients saw.

use super::stage::Stage;
use rustix::process::Signal;
use serde_json::json;
use std::time::{Duration, Instant};
use tests::cluster::Clients;
use tests::hosts::kill;

/// For whatever has to come about: far beyond all aims.
pub const LIMIT: Duration = Duration::from_secs(60);
/// Acknowledgements after which a stall is over.
const OVER: u64 = 20;

/// What happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    ApplicationRestarts,
    ApplicationMoves,
    EngineKilled,
    Swap,
    SecondaryGone,
    SecondaryStopped,
    LinkCut,
    WitnessAway,
    HostGone,
}

impl Stage {
    /// Lets it happen at a random moment.
    pub fn event(&mut self, event: Event, clients: &Clients) -> Duration {
        eprintln!("  {event:?}");
        let took = match event {
            Event::ApplicationRestarts => self.application_restarts(clients),
            Event::ApplicationMoves => self.moves(clients, |stage| stage.kill("application")),
            Event::EngineKilled => self.moves(clients, |stage| stage.kill("engine")),
            Event::Swap => self.swap(clients),
            Event::SecondaryGone => self.secondary_gone(clients),
            Event::SecondaryStopped => self.secondary_stopped(clients),
            Event::LinkCut => self.link_cut(clients),
            Event::WitnessAway => self.witness_away(clients),
            Event::HostGone => self.host_gone(clients),
        };
        // In place once more, whatever failed before; after the first of two failures it counts.
        if event != Event::ApplicationRestarts {
            self.site.nodes.iter().for_each(|node| drop(node.order_here("reset")));
        }
        self.site.wait_roles(self.leader);
        eprintln!("  {event:?}: {:.3} s", took.as_secs_f64());
        took
    }

    fn name(&self, which: usize) -> &'static str {
        self.site.nodes[which].name
    }

    /// A random moment; from here on gaps count.
    fn begin(&mut self, clients: &Clients) {
        self.chance();
        clients.mark();
        clients.wait_more(3, LIMIT);
    }

    /// The moment when a process of the leader's was killed.
    fn kill(&self, what: &str) -> Instant {
        let node = &self.site.nodes[self.leader];
        let pid = if what == "engine" { node.engine() } else { node.application() };
        let pid = pid.unwrap_or_else(|| panic!("no {what} on {}", node.name));
        let now = Instant::now();
        kill(pid, Signal::KILL);
        now
    }

    /// From an event at the leader until the other node acknowledges.
    fn moves(&mut self, clients: &Clients, happens: impl FnOnce(&mut Stage) -> Instant) -> Duration {
        self.begin(clients);
        let next = 1 - self.leader;
        let began = happens(self);
        clients.wait_by(self.name(next), 1, LIMIT);
        let first = clients.tally().first[self.name(next)];
        self.leader = next;
        first - began
    }

    /// The longest gap since `begin`, when the leader acknowledges again; nobody else did.
    fn stall(&self, clients: &Clients) -> Duration {
        clients.wait_by(self.name(self.leader), OVER, LIMIT);
        let tally = clients.tally();
        assert!(!tally.first.contains_key(self.name(1 - self.leader)), "the secondary acknowledged");
        tally.gap
    }

    fn application_restarts(&mut self, clients: &Clients) -> Duration {
        self.begin(clients);
        self.kill("application");
        self.stall(clients)
    }

    fn swap(&mut self, clients: &Clients) -> Duration {
        self.begin(clients);
        let (next, began) = (1 - self.leader, Instant::now());
        self.site.nodes[self.leader].order("swap", json!({}));
        clients.wait_by(self.name(next), OVER, LIMIT);
        let gap = clients.tally().gap;
        self.leader = next;
        self.site.wait_roles(next);
        self.again = began.elapsed();
        gap
    }

    fn secondary_gone(&mut self, clients: &Clients) -> Duration {
        let second = 1 - self.leader;
        self.begin(clients);
        self.site.power_off(second);
        self.site.nodes[self.leader].wait_phase("Alone", LIMIT);
        let gap = self.stall(clients);
        self.site.power_on(second);
        gap
    }

    fn secondary_stopped(&mut self, clients: &Clients) -> Duration {
        let second = 1 - self.leader;
        self.begin(clients);
        self.site.nodes[second].order_here("stop");
        self.site.nodes[second].wait_state("STOP", LIMIT);
        self.site.nodes[self.leader].wait_phase("Alone", LIMIT);
        let gap = self.stall(clients);
        self.site.nodes[second].order_here("start");
        gap
    }

    fn link_cut(&mut self, clients: &Clients) -> Duration {
        self.begin(clients);
        self.site.cut_between(0, true);
        self.site.nodes[self.leader].wait_phase("Alone", LIMIT);
        let gap = self.stall(clients);
        self.site.cut_between(0, false);
        gap
    }

    fn witness_away(&mut self, clients: &Clients) -> Duration {
        let second = 1 - self.leader;
        self.site.kill_witness();
        let away = |shown: &serde_json::Value| shown["can_fail_over"]["reason_code"] == "quorum_away";
        self.site.nodes[self.leader].wait("knowing that the witness is away", LIMIT, away);
        self.begin(clients);
        self.site.power_off(second);
        self.site.nodes[self.leader].wait_phase("Alone", LIMIT);
        let gap = self.stall(clients);
        self.site.start_witness();
        self.site.power_on(second);
        gap
    }

    fn host_gone(&mut self, clients: &Clients) -> Duration {
        let gone = self.leader;
        let took = self.moves(clients, |stage| {
            let now = Instant::now();
            stage.site.power_off(gone);
            now
        });
        self.site.power_on(gone);
        took
    }
}
