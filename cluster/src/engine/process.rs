//! Starting an engine, finding one that lives, ending it.

use super::spec::EngineSpec;
use super::view::View;
use fsrepl::report::{Failure, FailureKind};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use serde_json::json;
use std::fs::{self, File};
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::{Duration, Instant};

/// One question for news waits so long: an idle module costs little, and an engine that is gone is noticed by its closed
/// socket at once.
const POLL: Duration = Duration::from_secs(20);
/// A process that was killed is gone after this; longer means that the kernel holds it.
const AFTER_KILL: Duration = Duration::from_secs(5);
/// The log of an engine is begun anew beyond this size.
const LOG_MOST: u64 = 4 << 20;

/// How an engine ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// In order.
    Clean,
    /// By itself or by a signal, with its last words.
    Failed(String),
}

/// What an engine's life brings.
#[derive(Debug)]
pub enum News {
    /// It says this of itself.
    View(Box<View>),
    /// It is gone.
    Ended(Ended),
}

/// One engine.
#[derive(Clone, Debug)]
pub struct Engine {
    run: PathBuf,
    module: String,
    pid: u32,
    over: Arc<AtomicBool>,
}

/// Where an engine finds what it needs.
#[derive(Clone, Debug)]
pub struct Home {
    /// The program.
    pub program: PathBuf,
    /// Survives reboots.
    pub state: PathBuf,
    /// Does not.
    pub run: PathBuf,
}

impl Home {
    fn spec(&self, module: &str) -> PathBuf {
        self.run.join(format!("{module}.engine.json"))
    }

    /// What the engine of `module` writes to stderr.
    pub fn log(&self, module: &str) -> PathBuf {
        self.run.join(format!("{module}.engine.log"))
    }
}

fn failed(module: &str, why: impl std::fmt::Display) -> Failure {
    Failure::new(FailureKind::Failed, format!("cannot start the engine of {module}"), why.to_string(), "see its log and `understudy log`")
}

impl Engine {
    /// Starts one. `news` is told everything until the end, from a thread of its own.
    pub fn start(home: &Home, spec: &EngineSpec, news: impl Fn(News) + Send + 'static) -> Result<Engine, Failure> {
        let module = spec.name().to_owned();
        fs::create_dir_all(&home.run).map_err(|why| failed(&module, why))?;
        let text = serde_json::to_vec_pretty(spec).map_err(|why| failed(&module, why))?;
        let path = home.spec(&module);
        fs::write(&path, text).map_err(|why| failed(&module, why))?;
        let log = open_log(&home.log(&module)).map_err(|why| failed(&module, why))?;
        let mut command = Command::new(&home.program);
        command.arg("--state").arg(&home.state).arg("--run").arg(&home.run).arg("engine").arg(&path);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).current_dir("/");
        // A session of its own: what is sent to the daemon's terminal or group is not for it.
        command.process_group(0);
        let child = command.spawn().map_err(|why| failed(&module, why))?;
        let engine = Engine { run: home.run.clone(), module, pid: child.id(), over: Arc::default() };
        engine.follow(Some(child), home.log(spec.name()), news).map_err(|why| failed(spec.name(), why))?;
        Ok(engine)
    }

    /// The engine of `module` that an earlier daemon started, if it lives.
    pub fn find(home: &Home, module: &str, news: impl Fn(News) + Send + 'static) -> Option<(Engine, View)> {
        let answer = fsrepl::node::control::call(&home.run, module, "watch", &json!({}), Duration::from_secs(5)).ok()?;
        let view: View = serde_json::from_value(answer).ok()?;
        let engine = Engine { run: home.run.clone(), module: module.to_owned(), pid: view.pid, over: Arc::default() };
        engine.follow(None, home.log(module), news).ok()?;
        Some((engine, view))
    }

    /// An engine of `module` lives here as primary.
    pub fn leads(home: &Home, module: &str) -> bool {
        let answer = fsrepl::node::control::call(&home.run, module, "watch", &json!({}), Duration::from_secs(5));
        answer.ok().and_then(|answer| serde_json::from_value::<View>(answer).ok()).is_some_and(|view| view.is_primary())
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// It is gone.
    pub fn is_over(&self) -> bool {
        self.over.load(SeqCst)
    }

    /// Its name.
    pub fn module(&self) -> &str {
        &self.module
    }

    fn follow(&self, child: Option<Child>, log: PathBuf, news: impl Fn(News) + Send + 'static) -> io::Result<()> {
        let engine = self.clone();
        std::thread::Builder::new().name("engine".into()).spawn(move || {
            let ended = engine.watch(child, &log, &news);
            engine.over.store(true, SeqCst);
            news(News::Ended(ended));
        })?;
        Ok(())
    }

    fn watch(&self, mut child: Option<Child>, log: &Path, news: &impl Fn(News)) -> Ended {
        let mut seen = 0;
        loop {
            if let Some(ended) = self.ended(&mut child, log) {
                return ended;
            }
            let args = json!({ "seen": seen, "wait_ms": POLL.as_millis() as u64 });
            let answer = fsrepl::node::control::call(&self.run, &self.module, "watch", &args, POLL + Duration::from_secs(10));
            let view = answer.ok().and_then(|answer| serde_json::from_value::<View>(answer).ok()).filter(|view| view.pid == self.pid);
            match view {
                Some(view) => {
                    seen = view.version;
                    news(News::View(Box::new(view)));
                }
                // It starts, ends, or is stopped.
                None => std::thread::sleep(Duration::from_millis(5)),
            }
        }
    }

    fn ended(&self, child: &mut Option<Child>, log: &Path) -> Option<Ended> {
        match child {
            Some(child) => match child.try_wait() {
                Ok(None) => None,
                Ok(Some(status)) if status.success() => Some(Ended::Clean),
                Ok(Some(status)) => Some(Ended::Failed(last_words(log, &status.to_string()))),
                Err(why) => Some(Ended::Failed(why.to_string())),
            },
            None if self.lives() => None,
            // Whether it ended in order nobody can say who was not its parent: its identity does.
            None => Some(Ended::Clean),
        }
    }

    fn lives(&self) -> bool {
        pid(self.pid).is_some_and(|pid| test_kill_process(pid).is_ok()) && !is_zombie(self.pid)
    }

    /// Tells it to end in order.
    pub fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// Ends it at once.
    pub fn kill(&self) {
        self.signal(Signal::KILL);
    }

    fn signal(&self, signal: Signal) {
        if !self.is_over()
            && let Some(pid) = pid(self.pid)
        {
            let _ = kill_process(pid, signal);
        }
    }

    /// Tells it to end, waits at most `patience`, then ends it. True: it went by itself.
    pub fn end(&self, patience: Duration) -> bool {
        self.terminate();
        if self.wait(patience) {
            return true;
        }
        self.kill();
        self.wait(AFTER_KILL);
        false
    }

    /// Waits for its end.
    pub fn wait(&self, patience: Duration) -> bool {
        let until = Instant::now() + patience;
        while !self.is_over() {
            if Instant::now() >= until {
                return false;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        true
    }
}

fn pid(number: u32) -> Option<Pid> {
    i32::try_from(number).ok().and_then(Pid::from_raw)
}

fn is_zombie(number: u32) -> bool {
    let Ok(stat) = fs::read_to_string(format!("/proc/{number}/stat")) else { return true };
    stat.rsplit_once(')').is_some_and(|(_, rest)| rest.trim_start().starts_with('Z'))
}

fn open_log(path: &Path) -> io::Result<File> {
    if fs::metadata(path).is_ok_and(|found| found.len() > LOG_MOST) {
        fs::rename(path, path.with_extension("log.1"))?;
    }
    File::options().create(true).append(true).open(path)
}

/// The engine's one line of failure, else how it ended.
fn last_words(log: &Path, status: &str) -> String {
    let text = fs::read(log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    let line = text.lines().rev().take(20).find_map(|line| line.strip_prefix("understudy: "));
    line.map_or_else(|| status.to_owned(), str::to_owned)
}
