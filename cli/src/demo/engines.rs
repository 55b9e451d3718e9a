//! The two engines, started as an administrator would start them, and what they say.

use super::hosts::Host;
use super::{Interrupt, failed};
use fsrepl::report::{Failure, FailureKind};
use serde_json::Value;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// Between two looks at a progress.
const TICK: Duration = Duration::from_millis(200);
/// Name of the replica on both hosts.
pub const NAME: &str = "demo";

/// One host's directories.
pub struct Places {
    /// Where its disk is mounted; everything that has to be on a disk is beneath.
    pub disk: PathBuf,
    pub image: PathBuf,
    pub data: PathBuf,
    pub state: PathBuf,
    pub run: PathBuf,
    pub log: PathBuf,
}

impl Places {
    pub fn make(base: &Path) -> Result<Places, Failure> {
        let disk = base.join("disk");
        let (data, state) = (disk.join("data"), disk.join("state"));
        let places = Places { disk, image: base.join("image"), data, state, run: base.join("run"), log: base.join("log") };
        for dir in [&places.disk, &places.run] {
            fs::create_dir_all(dir).map_err(failed("cannot make the demo's directories"))?;
        }
        Ok(places)
    }

    /// The directories on the host's disk, when that is mounted.
    pub fn furnish(&self, host: &Host) -> Result<(), Failure> {
        let made = host.command("mkdir").args([&self.data, &self.state]).status();
        made.map_err(failed("cannot make the demo's directories")).map(|_| ())
    }
}

/// A running `understudy mount` or `understudy receive`.
pub struct Engine {
    what: String,
    child: Child,
    lines: Receiver<Value>,
    /// The last state line; it may come before `ready`.
    state: Option<Value>,
    log: PathBuf,
}

impl Engine {
    /// `args`: the command and what follows it, as typed after the global options.
    pub fn start(host: &Host, exe: &Path, places: &Places, args: &[&str]) -> Result<Engine, Failure> {
        let what = format!("understudy {}", args.first().copied().unwrap_or_default());
        let log = File::create(&places.log).map_err(failed("cannot write a log"))?;
        let mut command = host.command(exe);
        command.arg("--state").arg(&places.state).arg("--run").arg(&places.run).arg("--json");
        command.args(args).args(["--name", NAME]);
        let mut child = command.stdout(Stdio::piped()).stderr(log).spawn().map_err(failed("cannot start an engine"))?;
        let (sender, lines) = channel();
        if let Some(out) = child.stdout.take() {
            std::thread::spawn(move || {
                let said = BufReader::new(out).lines().map_while(Result::ok);
                said.filter_map(|line| serde_json::from_str(&line).ok()).try_for_each(|value| sender.send(value))
            });
        }
        Ok(Engine { what, child, lines, state: None, log: places.log.clone() })
    }

    /// Waits until the engine says something that `wanted` accepts; `meanwhile` is called every tick.
    pub fn wait(
        &mut self,
        patience: Duration,
        interrupt: &Interrupt,
        mut wanted: impl FnMut(&Value) -> bool,
        mut meanwhile: impl FnMut(),
    ) -> Result<Value, Failure> {
        let end = Instant::now() + patience;
        loop {
            interrupt.check()?;
            match self.lines.recv_timeout(TICK) {
                Ok(line) => {
                    if line["event"] == "state" {
                        self.state = Some(line.clone());
                    }
                    if wanted(&line) {
                        return Ok(line);
                    }
                }
                Err(RecvTimeoutError::Timeout) if Instant::now() < end => meanwhile(),
                Err(RecvTimeoutError::Timeout) => return Err(self.failure("it did not get there in time")),
                Err(RecvTimeoutError::Disconnected) => return Err(self.failure("it ended")),
            }
        }
    }

    /// Waits until the engine is in one of `states`.
    pub fn reach(&mut self, states: &[&str], patience: Duration, interrupt: &Interrupt, meanwhile: impl FnMut()) -> Result<Value, Failure> {
        match self.state.take().filter(|line| state_is(line, states)) {
            Some(line) => Ok(line),
            None => self.wait(patience, interrupt, |line| state_is(line, states), meanwhile),
        }
    }

    /// Forgets what was said so far: what comes next is about what happens next.
    pub fn forget(&mut self) {
        self.state = None;
        self.lines.try_iter().for_each(drop);
    }

    /// The last line of the log says why.
    fn failure(&mut self, what: &str) -> Failure {
        let why = format!("{what}: {}", last_words(&self.log));
        Failure::new(FailureKind::Failed, format!("`{}` failed", self.what), why, "cure that and run the demo again")
    }

    /// Collects the process after its host was killed.
    pub fn reap(&mut self) {
        let _ = self.child.wait();
    }
}

/// The last line of a log: why a process ended.
pub fn last_words(log: &Path) -> String {
    let log = fs::read_to_string(log).unwrap_or_default();
    let last = log.lines().map(str::trim).rfind(|line| !line.is_empty()).unwrap_or("it said nothing");
    last.strip_prefix("understudy: ").unwrap_or(last).into()
}

/// Is this a state line with one of these states?
fn state_is(line: &Value, states: &[&str]) -> bool {
    line["event"] == "state" && line["state"].as_str().is_some_and(|state| states.contains(&state))
}
