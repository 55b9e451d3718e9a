//! The thread behind an application: takes orders and ends of processes, one after the other, and waits for nothing else.

mod adopt;
mod stop;

use super::{AppEvent, Order, Record, Report, Spec};
use crate::config::Launch;
use crate::module::environment::Context;
use crate::module::limits;
use crate::module::output::{Output, say};
use crate::module::process::{Ended, Identity, Plan, Process, session, signal_session, words};
use crate::module::systemd::UnitState;
use adopt::Found;
use crossbeam::channel::{Receiver, RecvTimeoutError, Sender};
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
    /// Its end was made here and means nothing.
    killed: bool,
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
    /// Only systemd knows whether the unit is over.
    ask_at_the_end: bool,
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
            ask_at_the_end: false,
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
                let there = !matches!(found, Found::Nothing);
                if there {
                    // Whoever asked may rely on it at once; where it stands in truth is said next.
                    self.enter(Stage::Starting);
                }
                // Who asked may have gone.
                let _ = answer.send(there);
                self.go_on(found);
            }
            Order::Ended(token, end) => self.ended(token, end),
            Order::Unit(state) => self.unit(state),
            Order::Swept(left) => self.swept(left),
            Order::End => {}
        }
    }

    fn launch(&self) -> Option<Launch> {
        self.spec.application.as_ref().map(|application| application.launch.clone())
    }

    fn say(&self, text: impl Into<String>) {
        say(&self.spec.log, text);
    }

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
        self.watched.push(Watched { token, identity, purpose, name, killed: false });
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

    fn ended(&mut self, token: u64, end: Ended) {
        let Some(at) = self.watched.iter().position(|watched| watched.token == token) else { return };
        let watched = self.watched.remove(at);
        self.output.drain();
        let told = format!("{} {end}", watched.name);
        match (watched.purpose, self.stage) {
            (_, Stage::Stopping) if watched.killed => self.look(),
            _ if watched.killed => {}
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
            (Purpose::Stop | Purpose::Force, Stage::Killing) if !self.sweeping && self.no_stopping() => self.begin_sweep(true),
            _ => {}
        }
    }

    /// No stop script runs.
    fn no_stopping(&self) -> bool {
        !self.watched.iter().any(|watched| !watched.killed && matches!(watched.purpose, Purpose::Stop | Purpose::Force))
    }

    fn tick(&mut self) {
        match self.stage {
            Stage::Starting if self.of(Purpose::Main).is_some() => self.started(),
            Stage::Up if self.is_unit() => self.ask_unit(),
            Stage::Stopping => self.look(),
            Stage::Killing if !self.sweeping => {
                self.kill_scripts();
                self.begin_sweep(true);
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
            // What left its session is still in its scope.
            let scoped = self.spec.systemd.is_some() && !self.is_unit();
            return if scoped { self.begin_sweep(false) } else { self.stopped() };
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
}
