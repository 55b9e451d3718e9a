//! A site with many modules.

use super::client::Clients;
use super::setup::{address, directories, name, port};
use super::site::{SOON, Site};
use super::till::read_all;
use crate::ledger::{Notes, check_final};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

impl Site {
    /// The very first start of all modules, with `a` as the leader.
    pub fn many_first_start(&mut self, limit: Duration) {
        self.nodes.iter_mut().for_each(super::Node::start_daemon);
        for module in (0..self.setup.modules).map(name) {
            for which in 0..2 {
                self.of(which, "start", &json!({ "module": module, "node": self.nodes[which].name }));
            }
            self.of(0, "promote", &json!({ "module": module, "node": "a", "accept": "first" }));
        }
        self.wait_all("able to fail over", limit, |shown| shown["can_fail_over"]["now"] == true);
    }

    /// Both daemons, at once.
    pub fn start_daemons(&mut self) {
        let [a, b] = &mut self.nodes;
        std::thread::scope(|scope| {
            scope.spawn(|| a.start_daemon());
            scope.spawn(|| b.start_daemon());
        });
    }

    fn of(&self, which: usize, verb: &str, args: &Value) {
        self.nodes[which].ask(verb, args).unwrap_or_else(|why| panic!("{}: {verb}: {why}", self.nodes[which].name));
    }

    /// Waits until each module leads on one of the nodes, where `fits` says so of what is shown. Gives the time.
    pub fn wait_all(&self, what: &str, limit: Duration, fits: impl Fn(&Value) -> bool) -> Duration {
        let began = Instant::now();
        let led = |status: &Value| {
            let modules = status["modules"].as_array().cloned().unwrap_or_default();
            modules.iter().filter(|&shown| matches!(shown["state"].as_str(), Some("PRIM" | "ALONE")) && fits(shown)).count()
        };
        loop {
            let done: usize = self.nodes.iter().map(|node| node.ask("status", &json!({})).map_or(0, |status| led(&status))).sum();
            if done == self.setup.modules {
                return began.elapsed();
            }
            assert!(began.elapsed() < limit, "{done} of {} modules are {what} within {limit:?}", self.setup.modules);
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Clients of module `number`, one thread, on the hub, through its virtual address.
    pub fn clients_of(&self, number: usize, patience: Duration) -> Clients {
        let to = SocketAddr::from((address(self.virtual_address(), number), port(number)));
        Clients::patient(self.hub.first_process(), to, patience, 0, 1, crate::rng::seed(&name(number)))
    }

    /// Everything acknowledged by module `number` is in its tree on node `which`, which serves.
    pub fn must_hold_of(&self, which: usize, number: usize, notes: &Notes) {
        let roots = directories(&self.setup, &self.nodes[which].all_seen(), number);
        let verdict = check_final(notes, &read_all(&roots, 1));
        assert!(verdict.acknowledged > 0, "{}: nothing was acknowledged", name(number));
        verdict.must_be_clean();
    }

    /// All modules lead on node `which` and can fail over.
    pub fn wait_all_on(&self, which: usize) {
        self.wait_all("back in sync", SOON * 3, |shown| shown["can_fail_over"]["now"] == true && shown["node"] == self.nodes[which].name);
    }
}
