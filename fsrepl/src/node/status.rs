//! What a replica is doing and why: kept in one place, printed at every change, answered to `status`.

use crate::report::{Data, Event, Reporter, State, StateLine};
use parking_lot::{Condvar, Mutex};
use std::time::{Duration, Instant, SystemTime};

/// State of one replica on this node.
pub struct Status {
    line: Mutex<(StateLine, SystemTime)>,
    report: Reporter,
    /// Counts what a cluster wants to know of, and wakes who waits for the next.
    news: (Mutex<u64>, Condvar),
}

impl Status {
    /// Starts in `state`, and reports it.
    pub fn new(report: Reporter, line: StateLine) -> Status {
        report(Event::State(line.clone()));
        Status { line: Mutex::new((line, SystemTime::now())), report, news: (Mutex::new(1), Condvar::new()) }
    }

    /// Changes the state; reported if anything about it is new.
    pub fn set(&self, state: State, data: Data, reason: impl Into<String>, code: &str) {
        let line = StateLine { state, data, reason: reason.into(), reason_code: code.to_owned() };
        let mut current = self.line.lock();
        if current.0 == line {
            return;
        }
        *current = (line.clone(), SystemTime::now());
        // Under the lock, so that lines come out in the order of the changes.
        (self.report)(Event::State(line));
        drop(current);
        self.changed();
    }

    /// Something that is no change of state: the identity, a session.
    pub fn changed(&self) {
        *self.news.0.lock() += 1;
        self.news.1.notify_all();
    }

    /// Waits until there is news after number `seen`, at most `patience`; the number of the latest.
    pub fn wait(&self, seen: u64, patience: Duration) -> u64 {
        let until = Instant::now() + patience;
        let mut news = self.news.0.lock();
        while *news == seen && !self.news.1.wait_until(&mut news, until).timed_out() {}
        *news
    }

    /// Says the state again: who waits for it after `ready` must not miss what came before.
    pub fn repeat(&self) {
        let current = self.line.lock();
        (self.report)(Event::State(current.0.clone()));
    }

    /// The state and since when.
    pub fn get(&self) -> (StateLine, SystemTime) {
        self.line.lock().clone()
    }
}
