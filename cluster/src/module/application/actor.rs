//! The thread behind an application: takes orders and ends of processes, one after the other, and waits for nothing else.

use super::sweep::sweep;
use super::{AppEvent, Order, Record, Report, Spec};
use crate::config::Launch;
use crate::module::environment::Context;
use crate::module::limits;
use crate::module::output::{Output, say};
use crate::module::process::{Ended, Identity, Plan, Process, session, signal_one, signal_session, words};
use crate::module::systemd::UnitState;
use crossbeam::channel::{Receiver, RecvTimeoutError, Sender};
use fsrepl::node::holders::{Holder, describe};
use rustix::process::Signal;
use std::ffi::OsString;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Nothing runs.
    Down,
    /// The start has not come to its end.
    Starting,
    /// It runs.
    Up,
    /// It did not start, or ended by itself: parts of it may run.
    Broken,
    /// Asked to stop.
    Stopping,
    /// Being killed.
    Killing,
}

/// What a process is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    /// The program in the foreground.
    Main,
    Start,
    Stop,
    Force,
}

impl Purpose {
    fn action(self) -> &'static str {
        match self {
            Purpose::Main | Purpose::Start => "start",
            Purpose::Stop => "stop",
            Purpose::Force => "force",
        }
    }
}

struct Watched {
    token: u64,
    identity: Identity,
    purpose: Purpose,
    name: String,
}

pub(super) struct Actor {
    spec: Spec,
    report: Report,
    orders: Sender<Order>,
    taken: Receiver<Order>,
    running: Arc<AtomicBool>,
    output: Output,
    stage: Stage,
    /// The session of what was started.
    leader: Option<Identity>,
    watched: Vec<Watched>,
    next_token: u64,
    /// The gentle way is over.
    forced: bool,
    /// All was done that makes it stop; it only has to.
    told: bool,
    sweeping: bool,
    asking: bool,
    wake: Option<Instant>,
    nap: Duration,
}

impl Actor {
    pub(super) fn new(
        spec: Spec,
        report: Report,
        orders: Sender<Order>,
        taken: Receiver<Order>,
        running: Arc<AtomicBool>,
    ) -> io::Result<Actor> {
        let output = Output::open(&spec.file("out"), spec.log.clone())?;
        Ok(Actor {
            spec,
            report,
            orders,
            taken,
            running,
            output,
            stage: Stage::Down,
            leader: None,
            watched: Vec::new(),
            next_token: 0,
            forced: false,
            told: false,
            sweeping: false,
            asking: false,
            wake: None,
            nap: limits::LOOK,
        })
    }

    pub(super) fn run(mut self) {
        loop {
            let order = match self.wake {
                Some(at) => self.taken.recv_deadline(at),
                None => self.taken.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
            match order {
                Ok(Order::End) | Err(RecvTimeoutError::Disconnected) => return,
                Ok(order) => self.on(order),
                Err(RecvTimeoutError::Timeout) => {
                    self.wake = None;
                    self.tick();
                }
            }
        }
    }

    fn on(&mut self, order: Order) {
        match order {
            Order::Start(context) => self.start(&context),
            Order::Stop(context) => self.stop(&context),
            Order::Force(context) => self.force(&context),
            Order::Kill(context) => self.kill(&context),
            Order::Adopt(answer) => {
                let found = self.adopt();
                // Who asked may have gone.
                let _ = answer.send(!matches!(found, Found::Nothing));
                self.go_on(found);
            }
            Order::Ended(token, end) => self.ended(token, end),
            Order::Unit(state) => self.unit(state),
            Order::Swept(left) => self.swept(&left),
            Order::End => {}
        }
    }

    fn launch(&self) -> Option<Launch> {
        self.spec.application.as_ref().map(|application| application.launch.clone())
    }

    fn say(&self, text: impl Into<String>) {
        say(&self.spec.log, text);
    }

    // --- Starting -----------------------------------------------------------------------------------------------------

    fn start(&mut self, context: &Context) {
        match self.stage {
            Stage::Up => return (self.report)(AppEvent::Started),
            Stage::Starting => return,
            Stage::Stopping | Stage::Killing => return (self.report)(AppEvent::Failed("it is still being stopped".to_owned())),
            Stage::Broken if self.alive() => {
                return (self.report)(AppEvent::Failed("parts of what was started before still run".to_owned()));
            }
            Stage::Broken | Stage::Down => {}
        }
        if self.watched.is_empty() {
            self.output.reset();
        }
        (self.forced, self.told, self.leader) = (false, false, None);
        self.enter(Stage::Starting);
        let begun = match self.launch() {
            None => return self.started(),
            Some(Launch::Run(command)) => {
                let command = command.into_iter().map(OsString::from).collect();
                self.wake = Some(Instant::now() + limits::SETTLE);
                self.begin(Purpose::Main, self.scoped(Purpose::Main, command), context)
            }
            Some(Launch::Scripts { start, .. }) => {
                let command = vec![self.spec.folder.join(start).into_os_string()];
                self.begin(Purpose::Start, self.scoped(Purpose::Start, command), context)
            }
            Some(Launch::Unit(unit)) => match &self.spec.systemd {
                Some(systemd) => self.begin(Purpose::Start, systemd.control(&["start"], &unit), context),
                None => Err(format!("unit {unit} needs systemd, which does not run here: use `run`, or start and stop scripts")),
            },
        };
        match begun {
            Ok(identity) => {
                self.leader = (!self.is_unit()).then_some(identity);
                self.record(false);
            }
            Err(why) => self.failed(why),
        }
    }

    fn is_unit(&self) -> bool {
        matches!(self.launch(), Some(Launch::Unit(_)))
    }

    fn scoped(&self, purpose: Purpose, command: Vec<OsString>) -> Vec<OsString> {
        match &self.spec.systemd {
            Some(systemd) => systemd.scoped(self.spec.module(), purpose.action(), command),
            None => command,
        }
    }

    fn begin(&mut self, purpose: Purpose, command: Vec<OsString>, context: &Context) -> Result<Identity, String> {
        let name = match (purpose, self.launch()) {
            (Purpose::Main, _) => "the application".to_owned(),
            (_, Some(Launch::Unit(unit))) => format!("systemctl {} {unit}", purpose.action()),
            (_, _) => format!("the {} script", if purpose == Purpose::Start { "start" } else { "stop" }),
        };
        let environment = self.spec.environment.values(context, purpose == Purpose::Force);
        let plan = Plan { command, environment, folder: self.spec.folder.clone() };
        let started = plan.spawn(self.output.file());
        let process = started.map_err(|error| format!("{name} ({}) cannot be started: {}", plan.name(), words(&error)))?;
        self.watch(process, purpose, name)
    }

    fn watch(&mut self, mut process: Process, purpose: Purpose, name: String) -> Result<Identity, String> {
        let (token, identity, orders) = (self.next_token, process.identity, self.orders.clone());
        self.next_token += 1;
        let wait = move || {
            if let Some(end) = process.wait(None) {
                // The application's thread may be over.
                let _ = orders.send(Order::Ended(token, end));
            }
        };
        if let Err(error) = thread::Builder::new().name("app-wait".to_owned()).spawn(wait) {
            signal_session(identity, Signal::KILL);
            return Err(format!("{name} cannot be watched: {error}"));
        }
        self.watched.push(Watched { token, identity, purpose, name });
        Ok(identity)
    }

    fn started(&mut self) {
        self.enter(Stage::Up);
        self.record(true);
        self.wake = self.is_unit().then(|| Instant::now() + limits::UNIT_LOOK);
        (self.report)(AppEvent::Started);
    }

    fn failed(&mut self, why: String) {
        self.enter(Stage::Broken);
        self.wake = None;
        (self.report)(AppEvent::Failed(why));
    }

    fn enter(&mut self, stage: Stage) {
        self.stage = stage;
        self.running.store(stage != Stage::Down, Ordering::Release);
    }

    fn record(&self, started: bool) {
        let launch = match self.launch() {
            None => return,
            Some(Launch::Scripts { .. }) => "scripts",
            Some(Launch::Run(_)) => "run",
            Some(Launch::Unit(_)) => "unit",
        };
        let path = self.spec.file("app.json");
        if let Err(error) = Record::new(launch, self.leader, started).write(&path) {
            self.say(format!("cannot record in {} what runs ({error}): a daemon that starts anew will not find it", path.display()));
        }
    }

    // --- Ends of processes --------------------------------------------------------------------------------------------

    fn ended(&mut self, token: u64, end: Ended) {
        let Some(at) = self.watched.iter().position(|watched| watched.token == token) else { return };
        let watched = self.watched.remove(at);
        self.output.drain();
        let told = format!("{} {end}", watched.name);
        match (watched.purpose, self.stage) {
            (Purpose::Main, Stage::Starting | Stage::Up) => self.failed(told),
            (Purpose::Start, Stage::Starting) if end.well() => self.started(),
            (Purpose::Start, Stage::Starting) => self.failed(told),
            (Purpose::Main, Stage::Stopping) => {
                // It was asked first, so that it could stop its own; what is left is asked now.
                if let Some(leader) = self.leader {
                    signal_session(leader, Signal::TERM);
                }
                self.look();
            }
            (Purpose::Stop | Purpose::Force, Stage::Stopping) => self.stop_ended(watched.purpose, end, &told),
            (Purpose::Force, Stage::Killing) if self.is_unit() && !self.sweeping => self.after_force(),
            (Purpose::Stop | Purpose::Force, Stage::Killing) if !self.sweeping && self.no_stopping() => self.begin_sweep(),
            _ => {}
        }
    }

    /// No stop script runs.
    fn no_stopping(&self) -> bool {
        !self.watched.iter().any(|watched| matches!(watched.purpose, Purpose::Stop | Purpose::Force))
    }

    fn stop_ended(&mut self, purpose: Purpose, end: Ended, told: &str) {
        if purpose == Purpose::Force && self.is_unit() {
            return self.after_force();
        }
        if end.well() {
            self.told = true;
            return self.look();
        }
        if self.forced && purpose == Purpose::Stop && !self.is_unit() {
            // The script that was killed to be called again.
            return;
        }
        if self.forced {
            self.say(format!("{told}: what runs is killed"));
            return self.begin_sweep();
        }
        self.say(format!("{told}: it is called again with force"));
        self.force(&Context::new("", "", "stop"));
    }

    /// A unit that was killed may be started again by systemd, unless it is stopped as well.
    fn after_force(&mut self) {
        let Some(Launch::Unit(unit)) = self.launch() else { return };
        let Some(systemd) = &self.spec.systemd else { return };
        if let Err(why) = self.begin(Purpose::Stop, systemd.control(&["stop"], &unit), &Context::default()) {
            self.say(why);
            self.begin_sweep();
        }
    }

    // --- Stopping -----------------------------------------------------------------------------------------------------

    fn stop(&mut self, context: &Context) {
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

    fn of(&self, purpose: Purpose) -> Option<Identity> {
        self.watched.iter().find(|watched| watched.purpose == purpose).map(|watched| watched.identity)
    }

    /// Calls a stop script; what cannot even be called leads to killing.
    fn call(&mut self, purpose: Purpose, command: Vec<OsString>, context: &Context) {
        let command = if self.is_unit() { command } else { self.scoped(purpose, command) };
        if let Err(why) = self.begin(purpose, command, context) {
            self.say(format!("{why}: what runs is killed"));
            self.begin_sweep();
        }
    }

    fn force(&mut self, context: &Context) {
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
    fn kill_scripts(&self) {
        for script in self.watched.iter().filter(|watched| watched.purpose != Purpose::Main) {
            self.say(format!("{} does not end: it is killed", script.name));
            signal_session(script.identity, Signal::KILL);
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

    fn kill(&mut self, context: &Context) {
        if self.sweeping || (self.stage == Stage::Killing && self.wake.is_some()) {
            return;
        }
        let (was_down, was_forced) = (self.stage == Stage::Down, self.forced);
        self.enter(Stage::Killing);
        self.kill_scripts();
        self.forced = true;
        if was_down || was_forced || matches!(self.launch(), Some(Launch::Run(_)) | None) {
            return self.begin_sweep();
        }
        self.wake = Some(Instant::now() + limits::FORCE);
        self.call_with_force(context);
    }

    fn begin_sweep(&mut self) {
        self.enter(Stage::Killing);
        (self.sweeping, self.wake) = (true, None);
        let mut leaders: Vec<Identity> = self.watched.iter().map(|watched| watched.identity).collect();
        leaders.extend(self.leader.filter(|leader| !leaders.contains(leader)));
        let (directories, spared) = (self.spec.environment.directories.clone(), self.spec.spared.clone());
        let (log, orders) = (self.spec.log.clone(), self.orders.clone());
        let work = move || {
            let left = sweep(&leaders, &directories, &*spared, &log);
            // The application's thread may be over.
            let _ = orders.send(Order::Swept(left));
        };
        if let Err(error) = thread::Builder::new().name("app-kill".to_owned()).spawn(work) {
            self.sweeping = false;
            self.enter(Stage::Broken);
            (self.report)(AppEvent::StillHeld(format!("no thread to kill it: {error}")));
        }
    }

    fn swept(&mut self, left: &[Holder]) {
        self.sweeping = false;
        self.output.drain();
        if left.is_empty() {
            return self.stopped();
        }
        self.enter(Stage::Broken);
        (self.report)(AppEvent::StillHeld(describe(left)));
    }

    fn stopped(&mut self) {
        self.output.drain();
        self.enter(Stage::Down);
        // All of them have ended; what is still to be heard of that means nothing.
        self.watched.clear();
        (self.leader, self.wake, self.forced, self.told) = (None, None, false, false);
        Record::remove(&self.spec.file("app.json"));
        (self.report)(AppEvent::Stopped);
    }

    // --- Looking ------------------------------------------------------------------------------------------------------

    fn tick(&mut self) {
        match self.stage {
            Stage::Starting if self.of(Purpose::Main).is_some() => self.started(),
            Stage::Up if self.is_unit() => self.ask_unit(),
            Stage::Stopping => self.look(),
            Stage::Killing if !self.sweeping => {
                self.kill_scripts();
                self.begin_sweep();
            }
            _ => {}
        }
    }

    fn alive(&self) -> bool {
        !self.watched.is_empty() || self.leader.is_some_and(|leader| !session(leader).is_empty())
    }

    /// Whether it is over, once all was done for it.
    fn look(&mut self) {
        if !self.told {
            return;
        }
        if !self.alive() {
            return self.stopped();
        }
        self.wake = Some(Instant::now() + self.nap);
        let nap = (self.nap * 2).min(limits::LOOK_MAX);
        if nap == limits::LOOK_MAX && self.nap != nap {
            let left: Vec<String> =
                self.leader.map(session).unwrap_or_default().iter().map(|s| format!("{} (pid {})", s.name, s.pid)).collect();
            self.say(format!("waits for the end of {}", if left.is_empty() { "its scripts".to_owned() } else { left.join(", ") }));
        }
        self.nap = nap;
    }

    fn ask_unit(&mut self) {
        let (Some(Launch::Unit(unit)), Some(systemd), false) = (self.launch(), self.spec.systemd.clone(), self.asking) else { return };
        let orders = self.orders.clone();
        let ask = move || {
            // The application's thread may be over.
            let _ = orders.send(Order::Unit(systemd.ask(&unit, limits::UNIT_ANSWER)));
        };
        match thread::Builder::new().name("app-unit".to_owned()).spawn(ask) {
            Ok(_) => self.asking = true,
            Err(_) => self.wake = Some(Instant::now() + limits::UNIT_LOOK),
        }
    }

    fn unit(&mut self, state: Result<UnitState, String>) {
        self.asking = false;
        if self.stage != Stage::Up {
            return;
        }
        match state {
            Ok(state) if state.over() => {
                let Some(Launch::Unit(unit)) = self.launch() else { return };
                return self.failed(format!("unit {unit} {}", state.words()));
            }
            Ok(_) => {}
            // systemd that does not answer is not the application's failure.
            Err(why) => self.say(why),
        }
        self.wake = Some(Instant::now() + limits::UNIT_LOOK);
    }

    // --- After a restart of the daemon --------------------------------------------------------------------------------

    fn adopt(&mut self) -> Found {
        let path = self.spec.file("app.json");
        let record = match Record::read(&path) {
            Ok(Some(record)) if self.stage == Stage::Down => record,
            Ok(_) => return Found::Nothing,
            Err(error) => return Found::Broken(format!("the record of what runs ({}) cannot be read: {error}", path.display())),
        };
        self.leader = record.leader;
        let process = record.leader.and_then(Process::adopt);
        match (self.launch(), process) {
            (Some(Launch::Run(_)), Some(process)) => Found::Process(process, Purpose::Main, "the application"),
            (Some(Launch::Run(_)), None) => Found::Broken("the application ended while no daemon watched it".to_owned()),
            (Some(Launch::Scripts { .. }), Some(process)) if !record.started => Found::Process(process, Purpose::Start, "the start script"),
            (Some(Launch::Scripts { .. }), _) if !record.started => {
                Found::Broken("the start script ended while no daemon watched it".to_owned())
            }
            (Some(Launch::Scripts { .. } | Launch::Unit(_)), _) => Found::Up,
            (None, _) => Found::Nothing,
        }
    }

    fn go_on(&mut self, found: Found) {
        match found {
            Found::Nothing => {}
            Found::Broken(why) => self.failed(why),
            Found::Up => {
                self.enter(Stage::Up);
                self.wake = self.is_unit().then(Instant::now);
            }
            Found::Process(process, purpose, name) => {
                self.enter(if purpose == Purpose::Main { Stage::Up } else { Stage::Starting });
                if let Err(why) = self.watch(process, purpose, name.to_owned()) {
                    self.failed(why);
                }
            }
        }
    }
}

enum Found {
    Nothing,
    Up,
    Broken(String),
    Process(Process, Purpose, &'static str),
}
