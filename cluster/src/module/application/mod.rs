//! One module's application on this node: started, watched, stopped, killed, as the failover machine says. It has no clock
//! for what takes too long: the machine has one, and calls `stop`, then `force_stop` or `kill`.
//!
//! What must hold:
//! - `Stopped` is said only when nothing of what was started here runs any more;
//! - the application never depends on this process: no pipe of ours, no process group of ours, and a record by which
//!   another daemon finds it ([`Application::adopt`]);
//! - a call never waits for a process.

mod actor;
mod record;
mod sweep;
#[cfg(test)]
mod tests;

pub use record::Record;
pub use sweep::sweep;

use super::environment::{Context, Environment};
use super::output::Log;
use super::systemd::Systemd;
use crate::config;
use crossbeam::channel::{Sender, bounded, unbounded};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

/// What an application is, on this node.
#[derive(Clone)]
pub struct Spec {
    /// What its scripts are told.
    pub environment: Environment,
    /// The module's folder: where its scripts are, and where everything works.
    pub folder: PathBuf,
    /// What runs; none: only data and addresses, which start and stop at once.
    pub application: Option<config::Application>,
    /// Where the run record and the output are (`MODULE.app.json`, `MODULE.out`); must be there, and must not outlive a
    /// boot.
    pub run: PathBuf,
    /// systemd, where it runs.
    pub systemd: Option<Systemd>,
    /// Processes that hold the directories by right, above all the module's engine. Asked before each round of killing.
    pub spared: Arc<dyn Fn() -> Vec<u32> + Send + Sync>,
    /// The module's log.
    pub log: Log,
}

impl Spec {
    /// Its name, for sentences.
    pub fn module(&self) -> &str {
        &self.environment.module
    }

    fn file(&self, suffix: &str) -> PathBuf {
        self.run.join(format!("{}.{suffix}", self.module()))
    }
}

/// What happened to an application.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AppEvent {
    /// It runs.
    Started,
    /// It did not start, or ended by itself.
    Failed(String),
    /// Nothing of it runs any more.
    Stopped,
    /// It was killed, and this is still there. [`Application::kill`] may be called again.
    StillHeld(String),
}

/// Where events go. Called from the application's own thread; must not block for long.
pub type Report = Arc<dyn Fn(AppEvent) + Send + Sync>;

enum Order {
    Start(Context),
    Stop(Context),
    Force(Context),
    Kill(Context),
    Adopt(Sender<bool>),
    Ended(u64, super::process::Ended),
    Unit(Result<super::systemd::UnitState, String>),
    Swept(Option<String>),
    End,
}

/// The application of one module. Dropping it leaves what runs as it is.
pub struct Application {
    orders: Sender<Order>,
    running: Arc<AtomicBool>,
}

impl Application {
    /// Nothing runs yet; see [`Application::adopt`].
    ///
    /// # Errors
    /// The output file cannot be made, or a thread cannot be started.
    pub fn new(spec: Spec, report: Report) -> io::Result<Application> {
        let (orders, taken) = unbounded();
        let running = Arc::new(AtomicBool::new(false));
        let name = format!("app-{}", spec.module());
        let actor = actor::Actor::new(spec, report, orders.clone(), taken, running.clone())?;
        thread::Builder::new().name(name).spawn(move || actor.run())?;
        Ok(Application { orders, running })
    }

    /// Starts it (→ [`AppEvent::Started`], [`AppEvent::Failed`]).
    pub fn start(&self, context: Context) {
        self.order(Order::Start(context));
    }

    /// Stops it gently (→ [`AppEvent::Stopped`], sooner or later or never).
    pub fn stop(&self, context: Context) {
        self.order(Order::Stop(context));
    }

    /// Stops it without grace: the stop script with `UNDERSTUDY_FORCE=1`, or SIGKILL (→ [`AppEvent::Stopped`], or never).
    pub fn force_stop(&self, context: Context) {
        self.order(Order::Force(context));
    }

    /// Kills it and everything that holds the module's directories (→ [`AppEvent::Stopped`], [`AppEvent::StillHeld`]).
    /// Scripts that have not been called with force get [`super::limits::FORCE`] for that first: what they started may not
    /// be a process of this machine at all.
    pub fn kill(&self, context: Context) {
        self.order(Order::Kill(context));
    }

    /// Finds the application that another daemon of this node started, and goes on watching it. Whether it is there;
    /// one that ended meanwhile is reported as failed ([`AppEvent::Failed`]). To be called before anything else.
    pub fn adopt(&self) -> bool {
        let (answer, answered) = bounded(1);
        self.order(Order::Adopt(answer));
        answered.recv().unwrap_or(false)
    }

    /// Something of it may run: it was started, and has not been reported as stopped.
    pub fn is_running(&self) -> bool {
        self.running.load(Ordering::Acquire)
    }

    fn order(&self, order: Order) {
        // The thread ends only with this.
        let _ = self.orders.send(order);
    }
}

impl Drop for Application {
    fn drop(&mut self) {
        self.order(Order::End);
    }
}
