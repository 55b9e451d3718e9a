//! Programs that are started here: each leads a session of its own, is waited for without a signal handler, and is killed
//! with everything that it started.
//!
//! A number of a process may be given to another one. So a process is known by its number *and* its start time, and is
//! signalled through a descriptor or after a look at both.

use super::limits;
use fsrepl::sys::own_session;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, kill_process_group, pidfd_open};
use serde::{Deserialize, Serialize};
use std::ffi::OsString;
use std::fmt;
use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// A process, unmistakably within one boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Its number.
    pub pid: u32,
    /// When it started, in ticks since boot (field 22 of `/proc/PID/stat`).
    pub start: u64,
}

impl Identity {
    /// Of the process that has this number now.
    pub fn of(pid: u32) -> Option<Identity> {
        Stat::read(pid).map(|stat| Identity { pid, start: stat.start })
    }

    /// It has not ended.
    pub fn lives(self) -> bool {
        Stat::read(self.pid).is_some_and(|stat| stat.start == self.start && !stat.over())
    }
}

/// What `/proc/PID/stat` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stat {
    /// Its number.
    pub pid: u32,
    /// Its name, at most 15 bytes.
    pub name: String,
    /// `R`, `S`, `D`, `Z`, …
    pub state: char,
    /// Process group.
    pub group: u32,
    /// Session.
    pub session: u32,
    /// See [`Identity::start`].
    pub start: u64,
}

impl Stat {
    /// Of a process that is there.
    pub fn read(pid: u32) -> Option<Stat> {
        let text = fs::read(format!("/proc/{pid}/stat")).ok()?;
        Stat::parse(pid, &String::from_utf8_lossy(&text))
    }

    fn parse(pid: u32, text: &str) -> Option<Stat> {
        // The name may hold blanks and brackets: what follows the last bracket is regular.
        let (head, rest) = text.rsplit_once(')')?;
        let name = head.split_once('(')?.1.to_owned();
        let fields: Vec<&str> = rest.split_whitespace().collect();
        let number = |index: usize| fields.get(index)?.parse::<u64>().ok();
        Some(Stat {
            pid,
            name,
            state: fields.first()?.chars().next()?,
            group: u32::try_from(number(2)?).ok()?,
            session: u32::try_from(number(3)?).ok()?,
            start: number(19)?,
        })
    }

    /// It has ended, and only waits to be noticed.
    pub fn over(&self) -> bool {
        matches!(self.state, 'Z' | 'X' | 'x')
    }
}

/// All processes that are there.
pub fn all() -> impl Iterator<Item = Stat> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter_map(Stat::read)
}

/// What lives of the session and process group that `leader` leads, whether it lives itself or not.
pub fn session(leader: Identity) -> Vec<Stat> {
    // As long as a session has members its number is not given away; if it was, its new owner began later.
    if Stat::read(leader.pid).is_some_and(|stat| stat.start != leader.start) {
        return Vec::new();
    }
    all().filter(|stat| !stat.over() && (stat.session == leader.pid || stat.group == leader.pid)).collect()
}

/// Sends a signal to everything that lives of the session. What has ended meanwhile is no failure.
pub fn signal_session(leader: Identity, signal: Signal) {
    let members = session(leader);
    if members.iter().any(|member| member.group == leader.pid)
        && let Some(group) = number(leader.pid)
    {
        // In one go, so that nothing is born meanwhile and missed.
        let _ = kill_process_group(group, signal);
    }
    for member in members.iter().filter(|member| member.group != leader.pid) {
        signal_one(Identity { pid: member.pid, start: member.start }, signal);
    }
}

/// Sends a signal to one process if it is still that one.
pub fn signal_one(process: Identity, signal: Signal) {
    if process.lives()
        && let Some(pid) = number(process.pid)
    {
        let _ = kill_process(pid, signal);
    }
}

fn number(pid: u32) -> Option<Pid> {
    Pid::from_raw(i32::try_from(pid).ok()?)
}

/// What is to be started.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// Program and arguments.
    pub command: Vec<OsString>,
    /// Its environment, beside the few names that are handed on.
    pub environment: Vec<(String, String)>,
    /// Where it works.
    pub folder: PathBuf,
}

/// Names of this process' environment that are handed on: a daemon's own (its manager's sockets, its log level) are not.
const HANDED_ON: [&str; 5] = ["PATH", "HOME", "LANG", "LC_ALL", "TZ"];
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

impl Plan {
    /// The program's name, for sentences.
    pub fn name(&self) -> String {
        self.command.first().map_or_else(String::new, |program| program.to_string_lossy().into_owned())
    }

    fn build(&self) -> io::Result<Command> {
        let (program, arguments) = self.command.split_first().ok_or_else(|| io::Error::other("no program is named"))?;
        let mut command = Command::new(program);
        command.args(arguments).current_dir(&self.folder).env_clear().env("PATH", PATH);
        for name in HANDED_ON {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        command.envs(self.environment.iter().map(|(name, value)| (name, value))).stdin(Stdio::null());
        own_session(&mut command);
        Ok(command)
    }

    /// Starts it, with both its outputs at `output`.
    pub fn spawn(&self, output: &fs::File) -> io::Result<Process> {
        let mut command = self.build()?;
        command.stdout(output.try_clone()?).stderr(output.try_clone()?);
        Process::of(command.spawn()?)
    }

    /// Runs it; an error is why it did not end well within `limit`. `what`: how the error calls it.
    pub fn must(&self, what: &str, limit: Duration) -> Result<(), String> {
        let ran = self.run(None, limit)?;
        match ran.ended {
            Some(ended) if ended.well() => Ok(()),
            Some(ended) => Err(format!("{what} {ended}: {}", ran.output.trim())),
            None => Err(format!("{what} took longer than {limit:?}")),
        }
    }

    /// Runs it to its end, at most for `limit`; then it is killed with all that it started. `input` must fit in a pipe.
    pub fn run(&self, input: Option<&[u8]>, limit: Duration) -> Result<Ran, String> {
        let fail = |error: io::Error| format!("{} cannot be started: {}", self.name(), words(&error));
        let (mut said, output) = io::pipe().map_err(fail)?;
        let mut command = self.build().map_err(fail)?;
        command.stdout(output.try_clone().map_err(fail)?).stderr(output);
        if input.is_some() {
            command.stdin(Stdio::piped());
        }
        let mut child = command.spawn().map_err(fail)?;
        // The command holds the writing ends of the pipe.
        drop(command);
        if let (Some(input), Some(mut pipe)) = (input, child.stdin.take()) {
            // Who does not read its input is not made to.
            let _ = pipe.write_all(input);
        }
        let mut process = Process::of(child).map_err(fail)?;
        let (ended, output) = process.listen(&mut said, Instant::now() + limit);
        if ended.is_none() {
            signal_session(process.identity, Signal::KILL);
            process.wait(None);
        }
        Ok(Ran { ended, output })
    }
}

/// What came of a program that was run to its end.
#[derive(Clone, Debug)]
pub struct Ran {
    /// How it ended; none: it was killed because it took too long.
    pub ended: Option<Ended>,
    /// The last of what it said.
    pub output: String,
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// As its parent sees it.
    Status(ExitStatus),
    /// Somebody else is its parent.
    Unseen,
}

impl Ended {
    /// With status 0.
    pub fn well(self) -> bool {
        matches!(self, Ended::Status(status) if status.success())
    }
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Ended::Status(status) = self else { return f.write_str("ended") };
        match (status.code(), status.signal()) {
            (Some(code), _) => write!(f, "exited with status {code}"),
            (_, Some(signal)) => write!(f, "died by signal {signal}{}", signal_name(signal)),
            _ => f.write_str("ended"),
        }
    }
}

fn signal_name(signal: i32) -> &'static str {
    match signal {
        libc::SIGHUP => " (SIGHUP)",
        libc::SIGINT => " (SIGINT)",
        libc::SIGQUIT => " (SIGQUIT)",
        libc::SIGILL => " (SIGILL)",
        libc::SIGABRT => " (SIGABRT)",
        libc::SIGBUS => " (SIGBUS)",
        libc::SIGFPE => " (SIGFPE)",
        libc::SIGKILL => " (SIGKILL)",
        libc::SIGSEGV => " (SIGSEGV)",
        libc::SIGPIPE => " (SIGPIPE)",
        libc::SIGTERM => " (SIGTERM)",
        libc::SIGXFSZ => " (SIGXFSZ)",
        libc::SIGSYS => " (SIGSYS)",
        _ => "",
    }
}

/// An error of the system without its number.
pub fn words(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "it is not there (neither the program nor what its first line names may be missing)".to_owned(),
        io::ErrorKind::PermissionDenied => "it may not be executed (chmod +x)".to_owned(),
        _ => error.to_string(),
    }
}

/// A process that is watched.
#[derive(Debug)]
pub struct Process {
    child: Option<Child>,
    fd: OwnedFd,
    /// Who it is.
    pub identity: Identity,
}

impl Process {
    fn of(child: Child) -> io::Result<Process> {
        let pid = child.id();
        let gone = || io::Error::from(Errno::SRCH);
        // It is not waited for yet, so nobody else has its number.
        let fd = pidfd_open(number(pid).ok_or_else(gone)?, PidfdFlags::empty())?;
        let identity = Identity::of(pid).ok_or_else(gone)?;
        Ok(Process { child: Some(child), fd, identity })
    }

    /// A process that somebody else started, if it still lives.
    pub fn adopt(identity: Identity) -> Option<Process> {
        let fd = pidfd_open(number(identity.pid)?, PidfdFlags::empty()).ok()?;
        identity.lives().then_some(Process { child: None, fd, identity })
    }

    /// Waits for its end, at most until `until`; none: it still runs.
    pub fn wait(&mut self, until: Option<Instant>) -> Option<Ended> {
        loop {
            let mut ready = [PollFd::new(&self.fd, PollFlags::IN)];
            if let Some(0) = poll_until(&mut ready, until) {
                return None;
            }
            if !ready[0].revents().is_empty() {
                return Some(self.reap());
            }
        }
    }

    fn reap(&mut self) -> Ended {
        let Some(child) = &mut self.child else { return Ended::Unseen };
        child.wait().map_or(Ended::Unseen, Ended::Status)
    }

    /// Keeps the last of what comes from `pipe` until the process ends. Others may go on holding the other end.
    fn listen(&mut self, pipe: &mut io::PipeReader, until: Instant) -> (Option<Ended>, String) {
        let mut said = Said::default();
        let mut open = true;
        let ended = loop {
            let mut ready = [PollFd::new(&self.fd, PollFlags::IN), PollFd::new(&*pipe, PollFlags::IN)];
            let watched = if open { &mut ready[..] } else { &mut ready[..1] };
            if let Some(0) = poll_until(watched, Some(until)) {
                break None;
            }
            let (over, readable) = (!ready[0].revents().is_empty(), open && !ready[1].revents().is_empty());
            if readable {
                open = said.take(pipe);
            }
            // What it said before it ended is in the pipe by now.
            if over && !(readable && open && Instant::now() < until) {
                break Some(self.reap());
            }
        };
        (ended, said.text())
    }
}

/// None: interrupted or refused, look again; `Some(0)`: time is over.
fn poll_until(fds: &mut [PollFd<'_>], until: Option<Instant>) -> Option<usize> {
    let left = until.map(|until| until.saturating_duration_since(Instant::now()));
    let left = left.and_then(|left| rustix::event::Timespec::try_from(left).ok());
    poll(fds, left.as_ref()).ok()
}

/// The end of what a program says.
#[derive(Debug, Default)]
struct Said {
    bytes: Vec<u8>,
}

impl Said {
    /// Reads what is there; `false` at the end.
    fn take(&mut self, pipe: &mut io::PipeReader) -> bool {
        let mut chunk = [0; 4096];
        let Ok(read @ 1..) = pipe.read(&mut chunk) else { return false };
        self.bytes.extend_from_slice(&chunk[..read]);
        let surplus = self.bytes.len().saturating_sub(limits::SAID);
        self.bytes.drain(..surplus);
        true
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).trim().to_owned()
    }
}

/// The end of a text, as one line of bounded length.
pub fn shortened(text: &str, most: usize) -> String {
    let line = text.split(['\n', '\r']).map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" / ");
    let clean: String = line.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    if clean.len() <= most {
        return clean;
    }
    let from = (clean.len() - most..=clean.len()).find(|&at| clean.is_char_boundary(at)).unwrap_or(clean.len());
    format!("…{}", &clean[from..])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Plan {
        Plan { command: ["sh", "-c", script].map(OsString::from).into(), environment: Vec::new(), folder: "/".into() }
    }

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn a_name_with_brackets_and_blanks() {
        let line = "7 (a) b) c) S 1 5 6 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 99 1 2";
        let stat = Stat::parse(7, line).unwrap();
        assert_eq!((stat.name.as_str(), stat.state, stat.group, stat.session, stat.start), ("a) b) c", 'S', 5, 6, 99));
        assert_eq!(Stat::parse(7, "7 (cut"), None);
    }

    #[test]
    fn ends_are_told_in_words() {
        let end = |script: &str| shell(script).run(None, LONG).unwrap().ended.unwrap().to_string();
        assert_eq!(end("exit 3"), "exited with status 3");
        assert_eq!(end("kill -9 $$"), "died by signal 9 (SIGKILL)");
        assert!(shell("true").run(None, LONG).unwrap().ended.unwrap().well());
    }

    #[test]
    fn what_is_said_is_kept_from_its_end() {
        let ran = shell("i=0; while [ $i -lt 2000 ]; do echo line $i; i=$((i+1)); done; echo last >&2").run(None, LONG).unwrap();
        assert!(ran.output.ends_with("line 1999\nlast"), "{}", ran.output);
        assert!(ran.output.len() <= limits::SAID);
    }

    #[test]
    fn input_is_given_and_need_not_be_read() {
        assert_eq!(shell("cat").run(Some(b"hello"), LONG).unwrap().output, "hello");
        assert!(shell("exit 0").run(Some(&[b'x'; 4096]), LONG).unwrap().ended.unwrap().well());
    }

    #[test]
    fn a_background_process_does_not_keep_the_pipe_waiting() {
        let ran = shell("sleep 1000 & echo $!").run(None, LONG).unwrap();
        assert!(ran.ended.unwrap().well());
        let pid = ran.output.parse().unwrap();
        signal_one(Identity::of(pid).unwrap(), Signal::KILL);
    }

    #[test]
    fn what_hangs_is_killed_with_its_grandchildren() {
        let script = "sleep 1000 & (sleep 1000 & echo $!; wait) & sleep 1000";
        let ran = shell(script).run(None, Duration::from_secs(4)).unwrap();
        assert_eq!(ran.ended, None);
        let grandchild: u32 = ran.output.trim().parse().unwrap();
        wait_for(|| Stat::read(grandchild).is_none_or(|stat| stat.over()));
    }

    #[test]
    fn a_program_that_is_not_there() {
        let plan = Plan { command: vec!["/nowhere/at/all".into()], folder: "/".into(), ..Plan::default() };
        assert!(plan.run(None, LONG).unwrap_err().contains("/nowhere/at/all cannot be started"));
    }

    #[test]
    fn the_daemons_own_environment_is_not_handed_on() {
        let said = shell("env").run(None, LONG).unwrap().output;
        assert!(said.contains("PATH=") && !said.contains("CARGO"), "{said}");
    }

    #[test]
    fn a_number_that_was_given_away_is_nobody() {
        let own = Identity::of(std::process::id()).unwrap();
        assert!(own.lives());
        let other = Identity { start: own.start + 1, ..own };
        assert!(!other.lives() && session(other).is_empty() && Process::adopt(other).is_none());
    }

    #[test]
    fn texts_become_one_short_line() {
        assert_eq!(shortened("a\n\n b\t\n", 100), "a / b");
        assert_eq!(shortened(&"ä".repeat(100), 11), format!("…{}", "ä".repeat(5)));
    }

    fn wait_for(what: impl Fn() -> bool) {
        let end = Instant::now() + LONG;
        while !what() {
            assert!(Instant::now() < end, "did not happen");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}
