//! A program that runs while we measure: its output is kept, and waiting for it means waiting for a line.

use anyhow::{Context, Result, bail};
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

/// How long a server may take to end after SIGTERM.
const STOP_WITHIN: Duration = Duration::from_secs(30);

/// Which signal asks for an orderly end.
pub use rustix::process::Signal;

/// A started server; ends with this value.
#[derive(Debug)]
pub struct Server {
    name: String,
    child: Child,
    lines: Receiver<String>,
    log: PathBuf,
    stop: Signal,
}

impl Server {
    /// Starts `command`; every line of its outputs goes to `log` and can be waited for.
    pub fn start(name: &str, command: &mut Command, log: PathBuf, stop: Signal) -> Result<Server> {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0) // a Ctrl-C is ours to handle
            .spawn()
            .with_context(|| format!("cannot start {name}"))?;
        let (sender, lines) = channel();
        let file = File::create(&log)?;
        if let Some(out) = child.stdout.take() {
            forward(out, file.try_clone()?, sender.clone());
        }
        if let Some(err) = child.stderr.take() {
            forward(err, file, sender);
        }
        Ok(Server { name: name.to_owned(), child, lines, log, stop })
    }

    /// Process id of the server.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for a line that `is_it` accepts.
    pub fn wait_for(&self, what: &str, within: Duration, is_it: impl Fn(&str) -> bool) -> Result<()> {
        let end = Instant::now() + within;
        loop {
            match self.lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(line) if is_it(&line) => return Ok(()),
                Ok(_) => {}
                Err(RecvTimeoutError::Timeout) => bail!("{}: no {what} within {within:?}; {}", self.name, self.tail()),
                Err(RecvTimeoutError::Disconnected) => bail!("{} ended before {what}; {}", self.name, self.tail()),
            }
        }
    }

    /// Fails when the server is gone: what was measured would not be what the column says.
    pub fn check(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => bail!("{} ended ({status}) while measured; {}", self.name, self.tail()),
        }
    }

    /// Kills it: no time to end in order.
    pub fn kill(mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// The state lines seen since the last call.
    pub fn new_lines(&self) -> Vec<String> {
        self.lines.try_iter().collect()
    }

    fn tail(&self) -> String {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        let last = lines[lines.len().saturating_sub(8)..].join(" | ");
        if last.is_empty() { "it said nothing".to_owned() } else { format!("it said: {last}") }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        // Gone already is as good.
        let _ = rustix::process::kill_process(pid, self.stop);
        let end = Instant::now() + STOP_WITHIN;
        while Instant::now() < end {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        eprintln!("benches: {} did not end within {STOP_WITHIN:?} and was killed", self.name);
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn forward(from: impl Read + Send + 'static, mut log: File, to: Sender<String>) {
    std::thread::spawn(move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            let _ = writeln!(log, "{line}");
            if to.send(line).is_err() {
                break;
            }
        }
    });
}
