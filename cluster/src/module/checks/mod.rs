//! What is looked at while a module runs.
//!
//! One thread decides when to look and counts ([`verdict`]); each look has a short-lived thread of its own, at most
//! [`limits::PROBES`] at once, so that one that hangs delays no other. A check that hangs is a failed check, whether its
//! own timeout ends it or not.
//!
//! Checks look while the application runs. Those with `on_failure = "wait"` look always: they say when the module may
//! serve.

pub mod ping;
pub mod probe;
mod scheduler;
#[cfg(test)]
mod tests;
pub mod verdict;

use super::environment::{Context, Environment};
use super::systemd::Systemd;
use crate::config::{Check, OnFailure};
use crossbeam::channel::{Sender, unbounded};
use parking_lot::Mutex;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::SystemTime;

#[cfg(doc)]
use super::limits;

/// Tells whether a module serves on this node, or why it does not.
pub type Serves = Arc<dyn Fn(&str) -> Result<(), String> + Send + Sync>;

/// What checks need to know.
#[derive(Clone)]
pub struct Setup {
    /// For scripts.
    pub environment: Environment,
    /// The module's folder.
    pub folder: PathBuf,
    /// State and action as scripts are told, at this moment.
    pub context: Arc<dyn Fn() -> Context + Send + Sync>,
    /// systemd, where it runs.
    pub systemd: Option<Systemd>,
    /// Asked about other modules. Must not block for long.
    pub module: Serves,
}

/// What came of checks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CheckEvent {
    /// A check fails now, which passed before or of which nothing was known.
    Failed {
        /// Which.
        name: String,
        /// What it asks for.
        on_failure: OnFailure,
        /// What was found.
        why: String,
    },
    /// A check passes now.
    Passed {
        /// Which.
        name: String,
    },
    /// No check with `on_failure = "wait"` fails any more.
    Well,
}

/// Where events go. Called from the checks' own thread; must not block for long.
pub type Report = Arc<dyn Fn(CheckEvent) + Send + Sync>;

/// How a check stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// Which.
    pub name: String,
    /// Whether it passes; none: not known, or not looked at.
    pub ok: Option<bool>,
    /// Since when that is so.
    pub since: SystemTime,
    /// What the last look found, in one line.
    pub output: String,
}

enum Order {
    Application(bool),
    Enabled(bool),
    Done(u64, probe::Outcome),
    End,
}

/// The checks of one module. Dropping them ends them.
pub struct Checks {
    orders: Sender<Order>,
    status: Arc<Mutex<Vec<Status>>>,
}

impl Checks {
    /// Begins. The application does not run yet ([`Checks::application`]).
    ///
    /// # Errors
    /// A thread cannot be started.
    pub fn start(checks: Vec<Check>, setup: Setup, report: Report) -> io::Result<Checks> {
        let (orders, taken) = unbounded();
        let since = SystemTime::now();
        let none = |check: &Check| Status { name: check.name.clone(), ok: None, since, output: String::new() };
        let status = Arc::new(Mutex::new(checks.iter().map(none).collect::<Vec<_>>()));
        if !checks.is_empty() {
            let scheduler = scheduler::Scheduler::new(checks, setup, report, orders.clone(), taken, status.clone());
            thread::Builder::new().name("checks".to_owned()).spawn(move || scheduler.run())?;
        }
        Ok(Checks { orders, status })
    }

    /// The application has started, or is no longer up: what was counted is forgotten, and the grace begins.
    pub fn application(&self, up: bool) {
        self.order(Order::Application(up));
    }

    /// `understudy checks on|off`. What fails when they are switched off fails no more.
    pub fn set_enabled(&self, on: bool) {
        self.order(Order::Enabled(on));
    }

    /// How they stand, in the order of the configuration.
    pub fn status(&self) -> Vec<Status> {
        self.status.lock().clone()
    }

    fn order(&self, order: Order) {
        // Without checks nobody listens.
        let _ = self.orders.send(order);
    }
}

impl Drop for Checks {
    fn drop(&mut self) {
        self.order(Order::End);
    }
}
