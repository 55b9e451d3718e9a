//! One run of the product's binary on a host, and everything it says.

use crate::hosts::{Host, kill, only_child};
use crate::lab::understudy;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

/// How long an engine may take for what should be prompt (start, connect, end). Generous:
/// the machine may be busy; scenarios that measure time do so themselves.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A line of standard output: `{"event":"ready"}` or a change of state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// `ready`
    Ready,
    /// A state line.
    State { state: String, data: String, reason: String, reason_code: String },
    /// Anything else.
    Other(String),
}

impl Said {
    fn parse(line: &str) -> Said {
        let Ok(value) = serde_json::from_str::<Value>(line) else { return Said::Other(line.to_owned()) };
        let word = |key: &str| value[key].as_str().unwrap_or_default().to_owned();
        match word("event").as_str() {
            "ready" if value["schema"] == 1 => Said::Ready,
            "state" if value["schema"] == 1 => {
                Said::State { state: word("state"), data: word("data"), reason: word("reason"), reason_code: word("reason_code") }
            }
            _ => Said::Other(line.to_owned()),
        }
    }

    /// True for a change to `state`.
    pub fn is_state(&self, wanted: &str) -> bool {
        matches!(self, Said::State { state, .. } if state == wanted)
    }
}

#[derive(Default)]
struct Heard {
    lines: Vec<Said>,
    closed: bool,
}

/// How an engine is to be started.
#[derive(Debug)]
pub struct Start {
    /// The command, complete but for its streams.
    pub command: Command,
    name: String,
    log: PathBuf,
}

/// A running engine.
pub struct Engine {
    child: Child,
    pid: i32,
    heard: Arc<(Mutex<Heard>, Condvar)>,
    /// What it wrote to standard error.
    pub log: PathBuf,
    name: String,
}

/// `understudy` on `host` with that host's own state and run directories.
pub fn command(host: &Host) -> Command {
    command_under(host, &[])
}

/// The same under a wrapper such as `prlimit --nofile=256`, which must end in exec.
fn command_under(host: &Host, wrapper: &[String]) -> Command {
    let mut words = wrapper.iter().map(OsString::from).chain([understudy().as_os_str().to_owned()]);
    let mut command = host.command(words.next().expect("at least the binary"));
    command.args(words).env("NO_COLOR", "1");
    for place in ["state", "run", "config"] {
        let dir = host.dir.join(place);
        fs::create_dir_all(&dir).expect("create the host's places");
        command.arg(format!("--{place}")).arg(dir);
    }
    command
}

impl Start {
    /// `understudy VERB DIR ... --json` on `host`.
    pub fn new(host: &Host, verb: &str, dir: &Path) -> Start {
        Start::under(host, &[], verb, dir)
    }

    /// `understudy VERB ... --json` on `host`.
    pub fn plain(host: &Host, verb: &str) -> Start {
        let mut command = command_under(host, &[]);
        command.arg(verb).arg("--json");
        let name = format!("{}-{verb}", host.name);
        let log = host.dir.with_file_name(format!("{name}.log"));
        Start { command, name, log }
    }

    /// The same under a wrapper, for example one that sets limits.
    pub fn under(host: &Host, wrapper: &[String], verb: &str, dir: &Path) -> Start {
        let mut command = command_under(host, wrapper);
        command.arg(verb).arg(dir).arg("--json");
        let name = format!("{}-{verb}", host.name);
        let log = host.dir.with_file_name(format!("{name}.log"));
        Start { command, name, log }
    }

    /// Adds words to the command line.
    pub fn args<S: AsRef<std::ffi::OsStr>>(mut self, words: impl IntoIterator<Item = S>) -> Start {
        self.command.args(words);
        self
    }

    /// Sets a variable of the environment.
    pub fn env(mut self, key: &str, value: &str) -> Start {
        self.command.env(key, value);
        self
    }

    /// Starts it.
    pub fn spawn(mut self) -> Engine {
        let log = File::options().create(true).append(true).open(&self.log).expect("open the log");
        let mut child = self.command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log).spawn().expect("run nsenter");
        let heard = Arc::new((Mutex::new(Heard::default()), Condvar::new()));
        let stdout = child.stdout.take().expect("stdout is piped");
        listen(stdout, heard.clone(), format!("{}.said.log", self.log.display()));
        let pid = wait_for(PATIENCE, || only_child(child.id()).or_else(|| ended(&mut child)));
        let pid = pid.expect("nsenter forks");
        Engine { child, pid, heard, log: self.log, name: self.name }
    }
}

/// A process that ended before it was looked at has no child any more; 0 stands for it.
fn ended(child: &mut Child) -> Option<i32> {
    child.try_wait().expect("wait for a child").map(|_| 0)
}

fn listen(stdout: ChildStdout, heard: Arc<(Mutex<Heard>, Condvar)>, copy: String) {
    let mut copy = File::options().create(true).append(true).open(copy).expect("open the copy of stdout");
    std::thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            // A copy for humans only.
            let _ = std::io::Write::write_all(&mut copy, format!("{line}\n").as_bytes());
            heard.0.lock().expect("no panic under this lock").lines.push(Said::parse(&line));
            heard.1.notify_all();
        }
        heard.0.lock().expect("no panic under this lock").closed = true;
        heard.1.notify_all();
    });
}

impl Engine {
    /// Lines so far; a later `wait_since` looks only at what comes after.
    pub fn mark(&self) -> usize {
        self.heard.0.lock().expect("no panic under this lock").lines.len()
    }

    /// Everything said since `mark`.
    pub fn said_since(&self, mark: usize) -> Vec<Said> {
        self.heard.0.lock().expect("no panic under this lock").lines[mark..].to_vec()
    }

    /// Waits for a line after `mark` that fits.
    pub fn wait_since(&self, mark: usize, what: &str, limit: Duration, fits: impl Fn(&Said) -> bool) -> Said {
        let (lock, changed) = &*self.heard;
        let end = Instant::now() + limit;
        let mut heard = lock.lock().expect("no panic under this lock");
        loop {
            if let Some(said) = heard.lines[mark..].iter().find(|said| fits(said)) {
                return said.clone();
            }
            let left = end.saturating_duration_since(Instant::now());
            if heard.closed || left.is_zero() {
                let lines = heard.lines[mark..].to_vec();
                let why = if heard.closed { "it ended".to_owned() } else { format!("within {limit:?}") };
                drop(heard);
                panic!("{}: no {what} ({why}); it said {lines:?}; stderr: {}", self.name, self.stderr());
            }
            heard = changed.wait_timeout(heard, left).expect("no panic under this lock").0;
        }
    }

    /// Waits for `ready`.
    pub fn wait_ready(&self) {
        self.wait_since(0, "`ready`", PATIENCE, |said| *said == Said::Ready);
    }

    /// Waits until the engine is in `state` with `data` (the last state line says so). Once it is ready only
    /// what it says after that counts: then it says its state again.
    pub fn wait_state(&self, state: &str, data: &str) -> Said {
        let (lock, changed) = &*self.heard;
        let end = Instant::now() + PATIENCE;
        let mut heard = lock.lock().expect("no panic under this lock");
        loop {
            let since = heard.lines.iter().position(|said| *said == Said::Ready).unwrap_or(0);
            let last = heard.lines[since..].iter().rev().find(|said| matches!(said, Said::State { .. }));
            match last {
                Some(said @ Said::State { state: s, data: d, .. }) if s == state && d == data => return said.clone(),
                _ => {}
            }
            let left = end.saturating_duration_since(Instant::now());
            if heard.closed || left.is_zero() {
                let lines = heard.lines.clone();
                drop(heard);
                panic!("{}: never {state} {data}; it said {lines:?}; stderr: {}", self.name, self.stderr());
            }
            heard = changed.wait_timeout(heard, left).expect("no panic under this lock").0;
        }
    }

    /// What it wrote to standard error so far.
    pub fn stderr(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// The engine's process id as the test process sees it.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// SIGSTOP.
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
        let stat = format!("/proc/{}/stat", self.pid);
        let stopped = || fs::read_to_string(&stat).ok().filter(|text| text.rsplit(')').next().is_some_and(|rest| rest.starts_with(" T")));
        assert!(wait_for(PATIENCE, stopped).is_some(), "{}: SIGSTOP has no effect", self.name);
    }

    /// A signal that must arrive: a scenario whose signals go nowhere waits for its deadline.
    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.pid).unwrap_or_else(|| panic!("{}: its process is not known", self.name));
        kill_process(pid, signal).unwrap_or_else(|why| panic!("{}: no {signal:?}: {why}", self.name));
    }

    /// SIGCONT. nsenter stops itself along with its child and must be woken too.
    pub fn thaw(&self) {
        kill(self.pid, Signal::CONT);
        kill(self.child.id() as i32, Signal::CONT);
    }

    /// SIGKILL, and waits for the end.
    pub fn kill(&mut self) {
        kill(self.pid, Signal::KILL);
        // nsenter may be about to stop itself like its child, after any one SIGCONT.
        let ended = wait_for(PATIENCE, || {
            kill(self.child.id() as i32, Signal::CONT);
            self.child.try_wait().ok().flatten()
        });
        if ended.is_none() {
            eprintln!("{}: its nsenter does not end", self.name);
        }
        self.pid = 0;
    }

    /// SIGTERM; the engine must drain and exit 0.
    pub fn stop(&mut self) {
        self.signal(Signal::TERM);
        let status = self.wait_exit(PATIENCE);
        assert!(status.success(), "{}: {status} after SIGTERM: {}", self.name, self.stderr());
    }

    /// Waits for the process to end by itself.
    pub fn wait_exit(&mut self, limit: Duration) -> ExitStatus {
        let status = wait_for(limit, || self.child.try_wait().expect("wait for a child"));
        let threads = if status.is_some() { String::new() } else { threads(self.pid) };
        self.pid = if status.is_some() { 0 } else { self.pid };
        status.unwrap_or_else(|| panic!("{}: still running after {limit:?}; its threads: {threads}; stderr: {}", self.name, self.stderr()))
    }

    /// True while the process runs.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("wait for a child").is_none()
    }

    /// The engine must refuse to start, before it is ready: exit code 3 (refused) and a last line on
    /// standard error that holds all `words`.
    pub fn must_refuse(mut self, words: &[&str]) {
        let status = self.wait_exit(PATIENCE);
        let stderr = self.stderr();
        assert_eq!(status.code(), Some(3), "{}: {status}; stderr: {stderr}", self.name);
        assert!(!self.said_since(0).contains(&Said::Ready), "{}: was ready before it refused", self.name);
        let last = stderr.lines().last().unwrap_or_default().to_lowercase();
        for word in words {
            assert!(last.contains(&word.to_lowercase()), "{}: `{word}` is not in: {stderr}", self.name);
        }
    }

    /// The engine must tell, in a state's reason or on standard error, why it does not replicate;
    /// it may end with exit code 3 or go on waiting. One of `words` has to be there.
    pub fn must_explain(&mut self, words: &[&str]) {
        let fits = |text: &str| words.iter().any(|word| text.to_lowercase().contains(&word.to_lowercase()));
        let told = wait_for(PATIENCE, || {
            let said = self.said_since(0);
            let reason = said.iter().any(|said| matches!(said, Said::State { reason, .. } if fits(reason)));
            (reason || fits(&self.stderr())).then_some(())
        });
        let said = self.said_since(0);
        assert!(told.is_some(), "{}: none of {words:?} in {said:?} {}", self.name, self.stderr());
        assert!(!said.iter().any(|s| s.is_state("PRIM") || s.is_state("SECOND")), "{}: replicates: {said:?}", self.name);
        if let Some(status) = self.child.try_wait().expect("wait for a child") {
            assert_eq!(status.code(), Some(3), "{}: {status}", self.name);
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        if self.pid != 0 {
            self.kill();
        }
    }
}

/// What the threads of a process wait for in the kernel: why it does not end.
fn threads(pid: i32) -> String {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let of = |task: fs::DirEntry| {
        let read = |file: &str| fs::read_to_string(task.path().join(file)).unwrap_or_default();
        let frames: Vec<String> = read("stack").lines().take(6).map(|line| line.trim_start_matches("[<0>] ").to_owned()).collect();
        format!("\n  {} ({}): {}", read("comm").trim(), read("syscall").split(' ').next().unwrap_or_default().trim(), frames.join(" < "))
    };
    tasks.map(of).collect()
}

/// Asks until there is an answer; `None` when time is up.
pub fn wait_for<T>(limit: Duration, mut ask: impl FnMut() -> Option<T>) -> Option<T> {
    let end = Instant::now() + limit;
    loop {
        if let Some(answer) = ask() {
            return Some(answer);
        }
        if Instant::now() >= end {
            return None;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}
