//! Decides when to look, and counts.

use super::probe::{Outcome, probe};
use super::verdict::{Change, Verdict};
use super::{CheckEvent, Order, Report, Setup, Status};
use crate::Moment;
use crate::config::{Check, OnFailure};
use crate::module::limits;
use crate::module::process::shortened;
use crossbeam::channel::{Receiver, RecvTimeoutError, Sender};
use parking_lot::Mutex;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

struct Entry {
    check: Check,
    verdict: Verdict,
    /// When it is looked at next; none: not now.
    due: Option<Moment>,
    /// The look that is awaited.
    probe: Option<u64>,
    /// When that one counts as hung.
    hung: Moment,
}

pub(super) struct Scheduler {
    entries: Vec<Entry>,
    setup: Arc<Setup>,
    report: Report,
    orders: Sender<Order>,
    taken: Receiver<Order>,
    status: Arc<Mutex<Vec<Status>>>,
    began: Instant,
    enabled: bool,
    up: bool,
    /// Looks that have not come back, awaited or not.
    out: usize,
    next: u64,
    /// A check that waits has failed and was told.
    waits: bool,
}

impl Scheduler {
    pub(super) fn new(
        checks: Vec<Check>,
        setup: Setup,
        report: Report,
        orders: Sender<Order>,
        taken: Receiver<Order>,
        status: Arc<Mutex<Vec<Status>>>,
    ) -> Scheduler {
        let entry = |check| Entry { check, verdict: Verdict::default(), due: None, probe: None, hung: Moment::ZERO };
        let entries = checks.into_iter().map(entry).collect();
        let (setup, began) = (Arc::new(setup), Instant::now());
        let mut scheduler =
            Scheduler { entries, setup, report, orders, taken, status, began, enabled: true, up: false, out: 0, next: 0, waits: false };
        scheduler.anew(|_| true);
        scheduler
    }

    pub(super) fn run(mut self) {
        loop {
            let order = match self.wake() {
                Some(wait) => self.taken.recv_timeout(wait),
                None => self.taken.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
            match order {
                Ok(Order::End) | Err(RecvTimeoutError::Disconnected) => return,
                Ok(Order::Application(up)) => {
                    self.up = up;
                    self.anew(|check| check.on_failure != OnFailure::Wait);
                }
                Ok(Order::Enabled(on)) => self.enable(on),
                Ok(Order::Done(number, outcome)) => self.done(number, outcome),
                Err(RecvTimeoutError::Timeout) => {}
            }
            self.give_up();
            self.look();
        }
    }

    fn now(&self) -> Moment {
        self.began.elapsed()
    }

    /// How long nothing is to be done; none: until somebody says something.
    fn wake(&self) -> Option<Duration> {
        let full = self.out >= limits::PROBES;
        let next = self.entries.iter().filter_map(|entry| match entry.probe {
            Some(_) => Some(entry.hung),
            None if full => None,
            None => entry.due,
        });
        next.min().map(|at| at.saturating_sub(self.now()))
    }

    fn wanted(&self, check: &Check) -> bool {
        self.enabled && (self.up || check.on_failure == OnFailure::Wait)
    }

    /// Forgets what was counted of `which`, and looks at what is wanted, the first time at once.
    fn anew(&mut self, which: impl Fn(&Check) -> bool) {
        let now = self.now();
        for index in 0..self.entries.len() {
            if !which(&self.entries[index].check) {
                continue;
            }
            let wanted = self.wanted(&self.entries[index].check);
            let entry = &mut self.entries[index];
            entry.verdict = Verdict::begin(now + entry.check.timing.grace);
            entry.due = wanted.then_some(now);
            // A look that is on its way belongs to the past.
            entry.probe = None;
            self.show(index, None);
        }
    }

    fn enable(&mut self, on: bool) {
        if on == self.enabled {
            return;
        }
        self.enabled = on;
        self.anew(|_| true);
        self.well_again();
    }

    /// Begins what is due, as far as there is room.
    fn look(&mut self) {
        let now = self.now();
        for index in 0..self.entries.len() {
            let entry = &self.entries[index];
            if entry.probe.is_none() && entry.due.is_some_and(|due| due <= now) && self.out < limits::PROBES {
                self.begin(index, now);
            }
        }
    }

    fn begin(&mut self, index: usize, now: Moment) {
        let (number, orders, setup) = (self.next, self.orders.clone(), self.setup.clone());
        self.next += 1;
        let entry = &mut self.entries[index];
        let (kind, timing) = (entry.check.kind.clone(), entry.check.timing);
        entry.due = Some(now + timing.interval);
        let work = move || {
            let outcome = probe(&kind, timing.timeout, &setup);
            // The checks may be over.
            let _ = orders.send(Order::Done(number, outcome));
        };
        // Without a thread it is looked at with the next interval: that is no word about the application.
        if thread::Builder::new().name("check".to_owned()).spawn(work).is_ok() {
            entry.probe = Some(number);
            entry.hung = now + timing.timeout + limits::PROBE_MARGIN;
            self.out += 1;
        }
    }

    fn done(&mut self, number: u64, outcome: Outcome) {
        self.out = self.out.saturating_sub(1);
        if let Some(index) = self.entries.iter().position(|entry| entry.probe == Some(number)) {
            self.count(index, outcome);
        }
    }

    /// Looks that did not come back by themselves.
    fn give_up(&mut self) {
        let now = self.now();
        for index in 0..self.entries.len() {
            let entry = &self.entries[index];
            if entry.probe.is_some() && entry.hung <= now {
                let limit = humantime::format_duration(entry.check.timing.timeout);
                self.count(index, Err(format!("the check itself hangs, for longer than {limit}")));
            }
        }
    }

    fn count(&mut self, index: usize, outcome: Outcome) {
        let now = self.now();
        let entry = &mut self.entries[index];
        entry.probe = None;
        let change = entry.verdict.note(&entry.check.timing, now, outcome.is_ok());
        let (name, on_failure) = (entry.check.name.clone(), entry.check.on_failure);
        let (Ok(words) | Err(words)) = outcome;
        let why = shortened(&words, limits::SHOWN);
        self.show(index, Some(&why));
        match change {
            Some(Change::Passed) => {
                (self.report)(CheckEvent::Passed { name });
                self.well_again();
            }
            Some(Change::Failed) => {
                self.waits |= on_failure == OnFailure::Wait;
                (self.report)(CheckEvent::Failed { name, on_failure, why });
            }
            None => {}
        }
    }

    fn well_again(&mut self) {
        let fails = |entry: &Entry| entry.check.on_failure == OnFailure::Wait && entry.verdict.passes() == Some(false);
        if self.waits && !self.entries.iter().any(fails) {
            self.waits = false;
            (self.report)(CheckEvent::Well);
        }
    }

    /// Lets others see how it stands.
    fn show(&self, index: usize, output: Option<&str>) {
        let ok = self.entries[index].verdict.passes();
        let mut status = self.status.lock();
        let shown = &mut status[index];
        if shown.ok != ok {
            (shown.ok, shown.since) = (ok, SystemTime::now());
        }
        output.unwrap_or_default().clone_into(&mut shown.output);
    }
}
