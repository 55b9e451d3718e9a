//! A cluster under load, kept from round to round.

use anyhow::{Result, anyhow};
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;
use tests::cluster::{Clients, PORT, Setup, Site};
use tests::lab::Lab;
use tests::ledger::{Register, check_final, read_all};
use tests::rng::Rng;

/// Threads of clients.
const THREADS: usize = 3;
/// For a connection, and for an answer: then a client tries again. What is measured is no finer than this.
const PATIENCE: Duration = Duration::from_millis(50);
/// Of the load, before anything happens.
const PHASE: Duration = Duration::from_millis(1000);

/// Two nodes, a witness, and who leads.
pub struct Stage {
    pub site: Site,
    pub leader: usize,
    /// The latest swap: until the pair could fail over again.
    pub again: Duration,
    lab: Arc<Lab>,
    rng: Rng,
    /// Of all rounds so far: each has registers of its own.
    threads: usize,
}

impl Stage {
    /// In sync.
    pub fn new(profile: &'static str) -> Result<Stage> {
        let lab = Lab::new(profile);
        // One restart in place, then the other node: both are measured.
        let setup = Setup { profile, witness: true, max_restarts: 1, ..Setup::default() };
        let site = said(&lab, || Site::in_sync(&lab, setup))?;
        let rng = Rng::new(tests::rng::seed(profile));
        Ok(Stage { site, leader: 0, again: Duration::ZERO, lab, rng, threads: 0 })
    }

    /// One round under load, and the judgement of the ledger.
    pub fn round(&mut self, work: impl FnOnce(&mut Stage, &Clients)) -> Result<()> {
        let lab = self.lab.clone();
        said(&lab, || {
            let address = SocketAddr::from((self.site.virtual_address(), PORT));
            let seed = self.rng.number();
            let clients = Clients::patient(self.site.hub.first_process(), address, PATIENCE, self.threads, THREADS, seed);
            clients.wait_more(50, super::events::LIMIT);
            work(self, &clients);
            let before = std::mem::replace(&mut self.threads, clients.threads);
            let notes = clients.stop();
            let mut seen = read_all(&self.site.nodes[self.leader].seen(), self.threads);
            // What earlier rounds wrote was judged then.
            seen.retain(|(register, _)| thread(*register) >= before);
            let verdict = check_final(&notes, &seen);
            assert!(verdict.acknowledged > 0, "nothing was acknowledged");
            verdict.must_be_clean();
        })
    }

    /// Some moment of the load.
    pub fn chance(&mut self) {
        std::thread::sleep(Duration::from_micros(self.rng.below(PHASE.as_micros() as u64)));
    }
}

fn thread(register: Register) -> usize {
    match register {
        Register::Slot(thread, _) | Register::Log(thread) | Register::Name(thread, _) => thread,
    }
}

/// As many modules, alike, that serve in sync on the first of two nodes.
pub fn many(name: &str, modules: usize, limit: Duration) -> Result<(Arc<Lab>, Site)> {
    let lab = Lab::new(name);
    let site = said(&lab, || {
        let mut site = Site::prepare(&lab, Setup { modules, witness: true, ..Setup::default() });
        site.many_first_start(limit);
        site
    })?;
    Ok((lab, site))
}

/// What the hosts cannot do is said by a panic; here it ends the bench only.
pub fn said<T>(lab: &Lab, work: impl FnOnce() -> T) -> Result<T> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|panic| {
        lab.print_logs();
        let text = panic.downcast_ref::<String>().cloned().or_else(|| panic.downcast_ref::<&str>().map(|&text| text.to_owned()));
        anyhow!("{}", text.unwrap_or_else(|| "it failed".into()))
    })
}
