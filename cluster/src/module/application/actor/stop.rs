//! From the gentle word to the end of what does not listen.

use super::{Actor, Purpose, Stage};
use crate::config::Launch;
use crate::module::application::{AppEvent, Order, Record, Spec, sweep};
use crate::module::environment::Context;
use crate::module::limits;
use crate::module::output::say;
use crate::module::process::{Ended, Identity, signal_one, signal_session};
use fsrepl::node::holders::describe;
use rustix::process::Signal;
use std::ffi::OsString;
use std::thread;
use std::time::Instant;

impl Actor {
    pub(super) fn stop_ended(&mut self, purpose: Purpose, end: Ended, told: &str) {
        if purpose == Purpose::Force && self.is_unit() {
            return self.after_force();
        }
        if end.well() {
            self.told = true;
            return self.look();
        }
        if self.forced {
            self.say(format!("{told}: what runs is killed"));
            return self.begin_sweep(true);
        }
        self.say(format!("{told}: it is called again with force"));
        self.force(&Context::new("", "", "stop"));
    }

    /// A unit that was killed may be started again by systemd, unless it is stopped as well.
    pub(super) fn after_force(&mut self) {
        let Some(Launch::Unit(unit)) = self.launch() else { return };
        let Some(systemd) = &self.spec.systemd else { return };
        if let Err(why) = self.begin(Purpose::Stop, systemd.control(&["stop"], &unit), &Context::default()) {
            self.say(why);
            self.begin_sweep(true);
        }
    }

    pub(super) fn stop(&mut self, context: &Context) {
        match self.stage {
            Stage::Down => return (self.report)(AppEvent::Stopped),
            Stage::Stopping | Stage::Killing => return,
            Stage::Starting | Stage::Up | Stage::Broken => {}
        }
        self.enter(Stage::Stopping);
        (self.forced, self.told, self.wake, self.nap) = (false, false, None, limits::LOOK);
        match self.launch() {
            None => self.stopped(),
            Some(Launch::Run(_)) => self.terminate(),
            Some(Launch::Scripts { stop, .. }) => {
                if let Some(start) = self.of(Purpose::Start) {
                    self.say("the start script still runs: it is asked to end");
                    signal_session(start, Signal::TERM);
                }
                self.call(Purpose::Stop, vec![self.spec.folder.join(stop).into_os_string()], context);
            }
            Some(Launch::Unit(unit)) => match &self.spec.systemd {
                Some(systemd) => self.call(Purpose::Stop, systemd.control(&["stop"], &unit), context),
                None => self.stopped(),
            },
        }
    }

    fn terminate(&mut self) {
        match (self.of(Purpose::Main), self.leader) {
            (Some(main), _) => signal_one(main, Signal::TERM),
            (None, Some(leader)) => signal_session(leader, Signal::TERM),
            (None, None) => {}
        }
        self.told = true;
        self.look();
    }

    pub(super) fn of(&self, purpose: Purpose) -> Option<Identity> {
        self.watched.iter().find(|watched| watched.purpose == purpose).map(|watched| watched.identity)
    }

    /// Calls a stop script; what cannot even be called leads to killing.
    fn call(&mut self, purpose: Purpose, command: Vec<OsString>, context: &Context) {
        let command = if self.is_unit() { command } else { self.scoped(purpose, command) };
        if let Err(why) = self.begin(purpose, command, context) {
            self.say(format!("{why}: what runs is killed"));
            self.begin_sweep(true);
        }
    }

    pub(super) fn force(&mut self, context: &Context) {
        match self.stage {
            Stage::Down => return (self.report)(AppEvent::Stopped),
            Stage::Killing => return,
            _ => {}
        }
        self.enter(Stage::Stopping);
        self.kill_scripts();
        (self.forced, self.told, self.wake, self.nap) = (true, false, None, limits::LOOK);
        match self.launch() {
            None => self.stopped(),
            Some(Launch::Run(_)) => {
                if let Some(leader) = self.leader {
                    signal_session(leader, Signal::KILL);
                }
                self.told = true;
                self.look();
            }
            Some(_) => self.call_with_force(context),
        }
    }

    /// Scripts that hang, with all that they started. A start script that has ended leaves the application, which is not one.
    pub(super) fn kill_scripts(&mut self) {
        let log = &self.spec.log;
        for script in self.watched.iter_mut().filter(|watched| watched.purpose != Purpose::Main && !watched.killed) {
            say(log, format!("{} does not end: it is killed", script.name));
            signal_session(script.identity, Signal::KILL);
            script.killed = true;
        }
    }

    fn call_with_force(&mut self, context: &Context) {
        match self.launch() {
            Some(Launch::Scripts { stop, .. }) => {
                self.call(Purpose::Force, vec![self.spec.folder.join(stop).into_os_string()], context);
            }
            Some(Launch::Unit(unit)) => match &self.spec.systemd {
                Some(systemd) => self.call(Purpose::Force, systemd.control(&["kill", "--signal=SIGKILL"], &unit), context),
                None => self.stopped(),
            },
            Some(Launch::Run(_)) | None => {}
        }
    }

    pub(super) fn kill(&mut self, context: &Context) {
        if self.sweeping || (self.stage == Stage::Killing && self.wake.is_some()) {
            return;
        }
        let (was_down, was_forced) = (self.stage == Stage::Down, self.forced);
        self.enter(Stage::Killing);
        self.kill_scripts();
        self.forced = true;
        if was_down {
            // What was not started here is asked for by nobody: only the directories count.
            return self.begin_sweep(true);
        }
        self.ask_at_the_end = self.is_unit();
        if was_forced || matches!(self.launch(), Some(Launch::Run(_)) | None) {
            return self.begin_sweep(true);
        }
        self.wake = Some(Instant::now() + limits::FORCE);
        self.call_with_force(context);
    }

    /// Ends what is left of the sessions and the scope, and who holds the directories if it is to be `thorough`.
    pub(super) fn begin_sweep(&mut self, thorough: bool) {
        self.enter(Stage::Killing);
        (self.sweeping, self.wake) = (true, None);
        let mut leaders: Vec<Identity> = self.watched.iter().map(|watched| watched.identity).collect();
        leaders.extend(self.leader.filter(|leader| !leaders.contains(leader)));
        let unit = match self.launch() {
            Some(Launch::Unit(unit)) if std::mem::take(&mut self.ask_at_the_end) => Some(unit),
            _ => None,
        };
        let (spec, orders) = (self.spec.clone(), self.orders.clone());
        let work = move || {
            // The application's thread may be over.
            let _ = orders.send(Order::Swept(end(&spec, &leaders, unit.as_deref(), thorough)));
        };
        if let Err(error) = thread::Builder::new().name("app-kill".to_owned()).spawn(work) {
            self.swept(Some(format!("no thread to kill it: {error}")));
        }
    }

    pub(super) fn swept(&mut self, left: Option<String>) {
        self.sweeping = false;
        self.output.drain();
        let Some(left) = left else { return self.stopped() };
        self.enter(Stage::Broken);
        // The next attempt is a whole one.
        self.forced = false;
        (self.report)(AppEvent::StillHeld(left));
    }

    pub(super) fn stopped(&mut self) {
        self.output.drain();
        self.enter(Stage::Down);
        // All of them have ended; what is still to be heard of that means nothing.
        self.watched.clear();
        (self.leader, self.wake, self.forced, self.told) = (None, None, false, false);
        Record::remove(&self.spec.file("app.json"));
        (self.report)(AppEvent::Stopped);
    }
}

/// Kills; who or what is still there.
fn end(spec: &Spec, leaders: &[Identity], unit: Option<&str>, thorough: bool) -> Option<String> {
    if let (Some(systemd), None) = (&spec.systemd, unit) {
        systemd.kill_scope(spec.module());
    }
    let directories = if thorough { &spec.environment.directories[..] } else { &[] };
    let left = sweep(leaders, directories, &*spec.spared, &spec.log);
    if !left.is_empty() {
        return Some(describe(&left));
    }
    match (unit, &spec.systemd) {
        (Some(unit), Some(systemd)) => match systemd.ask(unit, limits::UNIT_ANSWER) {
            Ok(state) if state.over() => None,
            Ok(state) => Some(format!("unit {unit} {}", state.words())),
            Err(why) => Some(why),
        },
        _ => None,
    }
}
