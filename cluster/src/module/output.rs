//! What an application says, line by line, into the module's log.
//!
//! It writes to a file, not to a pipe: a daemon that ends breaks no pipe, and one that is away holds nobody up. What was
//! read is given back as a hole, so the file's blocks stay few and its own holes say what was read: a daemon that comes
//! back goes on where the other stopped.

use super::limits;
use parking_lot::Mutex;
use rustix::fs::{FallocateFlags, SeekFrom, fallocate, seek};
use rustix::io::Errno;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Who says something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The application or one of its scripts.
    Application,
    /// This program, about them.
    Understudy,
}

/// One line for the module's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Who.
    pub source: Source,
    /// What; without an end of line, at most [`limits::LINE`] bytes and a mark.
    pub text: String,
}

/// Where lines go. Called from several threads; must not block for long.
pub type Log = Arc<dyn Fn(Line) + Send + Sync>;

/// Says something about the application.
pub fn say(log: &Log, text: impl Into<String>) {
    log(Line { source: Source::Understudy, text: text.into() });
}

/// Reads a module's output file as long as it exists.
pub struct Output {
    file: File,
    shared: Arc<Shared>,
}

struct Shared {
    file: File,
    log: Log,
    state: Mutex<State>,
    end: AtomicBool,
}

struct State {
    position: u64,
    chunk: Vec<u8>,
    lines: Lines,
    started: Instant,
}

impl Output {
    /// Opens the file, which is made if need be, and starts reading what nobody has read yet.
    ///
    /// # Errors
    /// The file cannot be opened.
    pub fn open(path: &Path, log: Log) -> io::Result<Output> {
        let mut options = OpenOptions::new();
        options.read(true).append(true).create(true).mode(0o600);
        let file = options.open(path)?;
        let state =
            State { position: unread(&file)?, chunk: vec![0; limits::OUTPUT_CHUNK], lines: Lines::default(), started: Instant::now() };
        let reader = file.try_clone()?;
        let shared = Arc::new(Shared { file: reader, log, state: Mutex::new(state), end: AtomicBool::new(false) });
        let worker = shared.clone();
        thread::Builder::new().name("app-output".to_owned()).spawn(move || worker.run())?;
        Ok(Output { file, shared })
    }

    /// For the outputs of what is started.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Takes in what is there now: what a process said before its end comes before the end itself.
    pub fn drain(&self) {
        self.shared.read();
        let mut state = self.shared.state.lock();
        let now = state.started.elapsed();
        state.lines.finish(now, &mut |text| (self.shared.log)(Line { source: Source::Application, text }));
    }

    /// Begins the file anew. For when nothing writes to it.
    pub fn reset(&self) {
        self.drain();
        let mut state = self.shared.state.lock();
        // A file that stays as it is works as well.
        if self.file.set_len(0).is_ok() {
            state.position = 0;
        }
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        self.shared.end.store(true, Ordering::Relaxed);
    }
}

/// Where the first byte is that nobody has read; the end if there is none.
fn unread(file: &File) -> io::Result<u64> {
    match seek(file, SeekFrom::Data(0)) {
        Ok(position) => Ok(position),
        Err(Errno::NXIO) => Ok(file.metadata()?.len()),
        Err(error) => Err(error.into()),
    }
}

impl Shared {
    fn run(&self) {
        let mut nap = limits::OUTPUT_NAP;
        while !self.end.load(Ordering::Relaxed) {
            nap = if self.read() { limits::OUTPUT_NAP } else { (nap * 2).min(limits::OUTPUT_NAP_MAX) };
            thread::sleep(nap);
        }
    }

    /// Whether there was anything.
    fn read(&self) -> bool {
        let mut state = self.state.lock();
        let mut chunk = std::mem::take(&mut state.chunk);
        let mut any = false;
        // Bounded: who writes as fast as this reads is heard again after a nap.
        for _ in 0..limits::OUTPUT_CHUNKS {
            let Ok(read @ 1..) = self.file.read_at(&mut chunk, state.position) else { break };
            any = true;
            self.take(&mut state, &chunk[..read]);
        }
        state.chunk = chunk;
        any
    }

    fn take(&self, state: &mut State, bytes: &[u8]) {
        let now = state.started.elapsed();
        state.lines.feed(now, bytes, &mut |text| (self.log)(Line { source: Source::Application, text }));
        let length = bytes.len() as u64;
        // A file system without holes keeps the blocks: the file is made anew with the next start.
        let _ = fallocate(&self.file, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, state.position, length);
        state.position += length;
    }
}

/// Cuts bytes into lines, within a length and a rate. What is left out is counted and said.
#[derive(Debug, Default)]
pub struct Lines {
    partial: Vec<u8>,
    cut: bool,
    spent: f64,
    last: Duration,
    dropped: u64,
}

impl Lines {
    /// Takes in what came at `now`.
    pub fn feed(&mut self, now: Duration, bytes: &[u8], out: &mut dyn FnMut(String)) {
        // Holes of what was read before are zeros.
        let bytes: Vec<u8> = bytes.iter().copied().filter(|&byte| byte != 0).collect();
        for piece in bytes.split_inclusive(|&byte| byte == b'\n') {
            let (text, ends) = piece.strip_suffix(b"\n").map_or((piece, false), |text| (text, true));
            let room = limits::LINE - self.partial.len();
            self.cut |= text.len() > room;
            self.partial.extend_from_slice(&text[..text.len().min(room)]);
            if ends {
                self.end(now, out);
            }
        }
    }

    /// A line that was not ended is one all the same: who wrote it is gone.
    pub fn finish(&mut self, now: Duration, out: &mut dyn FnMut(String)) {
        if !self.partial.is_empty() {
            self.end(now, out);
        }
    }

    fn end(&mut self, now: Duration, out: &mut dyn FnMut(String)) {
        let bytes = std::mem::take(&mut self.partial);
        let cut = std::mem::take(&mut self.cut);
        if !self.allowed(now) {
            self.dropped += 1;
            return;
        }
        if self.dropped > 0 {
            out(format!("… {} lines are left out: more than {} each second", self.dropped, limits::LINES_PER_SECOND));
            self.dropped = 0;
        }
        let text = String::from_utf8_lossy(&bytes);
        let text = text.trim_end_matches('\r');
        out(if cut { format!("{text}…") } else { text.to_owned() });
    }

    fn allowed(&mut self, now: Duration) -> bool {
        let refill = now.saturating_sub(self.last).as_secs_f64() * f64::from(limits::LINES_PER_SECOND);
        self.last = self.last.max(now);
        self.spent = (self.spent - refill).max(0.0);
        let allowed = self.spent + 1.0 <= f64::from(limits::LINE_BURST);
        self.spent += if allowed { 1.0 } else { 0.0 };
        allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn collect(feed: impl FnOnce(&mut Lines, &mut dyn FnMut(String))) -> Vec<String> {
        let mut found = Vec::new();
        feed(&mut Lines::default(), &mut |line| found.push(line));
        found
    }

    #[test]
    fn lines_come_whole_however_they_are_cut() {
        let found = collect(|lines, out| {
            for piece in ["a", "b\nc\r\n", "", "\n", "\0\0d", "\nrest"] {
                lines.feed(Duration::ZERO, piece.as_bytes(), out);
            }
        });
        assert_eq!(found, ["ab", "c", "", "d"]);
    }

    #[test]
    fn long_lines_are_cut() {
        let found = collect(|lines, out| lines.feed(Duration::ZERO, &[vec![b'x'; 3 * limits::LINE], b"\ny\n".to_vec()].concat(), out));
        assert_eq!(found[0].len(), limits::LINE + "…".len());
        assert_eq!(found[1], "y");
    }

    #[test]
    fn too_many_lines_are_counted() {
        let found = collect(|lines, out| {
            lines.feed(Duration::ZERO, "x\n".repeat(limits::LINE_BURST as usize + 7).as_bytes(), out);
            lines.feed(Duration::from_secs(1), b"y\n", out);
        });
        assert_eq!(found.len(), limits::LINE_BURST as usize + 2);
        assert!(found[found.len() - 2].starts_with("… 7 lines are left out"));
        assert_eq!(found[found.len() - 1], "y");
    }

    #[test]
    fn who_comes_later_goes_on_where_the_other_stopped() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("out");
        let seen = Arc::new(Mutex::new(Vec::new()));
        let log: Log = {
            let seen = seen.clone();
            Arc::new(move |line: Line| seen.lock().push(line.text))
        };
        let first = Output::open(&path, log.clone()).unwrap();
        let mut writer = first.file().try_clone().unwrap();
        writer.write_all(b"one\ntwo\n").unwrap();
        first.drain();
        first.shared.end.store(true, Ordering::Relaxed);
        drop(first);
        // The reader's thread may be in its last round.
        thread::sleep(limits::OUTPUT_NAP_MAX * 2);
        writer.write_all(b"three\n").unwrap();
        let second = Output::open(&path, log).unwrap();
        second.drain();
        assert_eq!(*seen.lock(), ["one", "two", "three"]);
    }
}
