//! A module's log: what happened, why, and what followed, one JSON object a line, within a budget.
//!
//! What must hold: a line that was written stays whole; a torn last line (the machine lost power) is skipped and harms no
//! other; numbers grow over restarts and rotations, so that who follows misses nothing that is still kept, and learns what
//! is not.

mod files;
#[cfg(test)]
mod tests;

use super::limits;
use files::Files;
use parking_lot::{Condvar, Mutex};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

/// What an event is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The state changed.
    State,
    /// An operator ordered something.
    Command,
    /// The application started, failed, stopped, was killed.
    Application,
    /// A check fails or passes.
    Check,
    /// A line that the application or a script said.
    Output,
    /// What else an operator should read.
    Notice,
    /// Of a later version.
    #[serde(other)]
    Other,
}

/// One event, before it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// What it is.
    pub kind: Kind,
    /// The state that is shown after it; empty where that says nothing.
    pub state: String,
    /// The cause, in the operator's words; of output: the line.
    pub reason: String,
    /// The cause, stable.
    pub reason_code: String,
    /// What follows, in the operator's words; may be empty.
    pub consequence: String,
}

impl Event {
    /// A line of output, or one about it.
    pub fn output(line: &super::output::Line) -> Event {
        let (kind, code) = match line.source {
            super::output::Source::Application => (Kind::Output, "output"),
            super::output::Source::Understudy => (Kind::Application, "application"),
        };
        let (state, consequence) = (String::new(), String::new());
        Event { kind, state, reason: line.text.clone(), reason_code: code.to_owned(), consequence }
    }
}

/// One event as it is in the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Of this line.
    pub schema: u32,
    /// Its number: grows by one with each event.
    pub seq: u64,
    /// When, RFC 3339 in UTC with fractions.
    pub time: String,
    /// On which node.
    pub node: String,
    /// Of which module.
    pub module: String,
    /// See [`Event::kind`].
    pub kind: Kind,
    /// See [`Event::state`].
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub state: String,
    /// See [`Event::reason`].
    pub reason: String,
    /// See [`Event::reason_code`].
    pub reason_code: String,
    /// See [`Event::consequence`].
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub consequence: String,
}

/// The log of one module on one node. It has one writer; [`read`] needs none.
pub struct EventLog {
    node: String,
    module: String,
    state: Mutex<State>,
    news: Condvar,
}

struct State {
    files: Files,
    /// Number of the last event.
    last: u64,
    /// The last events, oldest first.
    recent: VecDeque<Entry>,
}

impl EventLog {
    /// Opens the log, which is made if need be. At `max_bytes` the file is put aside, and `keep` of those are kept.
    ///
    /// # Errors
    /// The file cannot be opened.
    pub fn open(path: &Path, node: &str, module: &str, max_bytes: u64, keep: u32) -> io::Result<EventLog> {
        let files = Files::open(path, max_bytes.max(limits::LOG_MIN), keep.min(limits::LOGS))?;
        let recent: VecDeque<Entry> = files::last(path, limits::RECENT)?.into();
        let last = recent.back().map_or(0, |entry| entry.seq);
        let state = Mutex::new(State { files, last, recent });
        Ok(EventLog { node: node.to_owned(), module: module.to_owned(), state, news: Condvar::new() })
    }

    /// Writes one event and gives back its number. Those who follow have it even when the disk does not.
    ///
    /// # Errors
    /// It could not be written to the file.
    pub fn append(&self, event: Event) -> io::Result<u64> {
        let mut state = self.state.lock();
        state.last += 1;
        let entry = Entry {
            schema: 1,
            seq: state.last,
            time: humantime::format_rfc3339_micros(SystemTime::now()).to_string(),
            node: self.node.clone(),
            module: self.module.clone(),
            kind: event.kind,
            state: event.state,
            reason: cut(event.reason),
            reason_code: event.reason_code,
            consequence: cut(event.consequence),
        };
        let line = serde_json::to_vec(&entry).map_err(io::Error::other);
        if state.recent.len() == limits::RECENT {
            state.recent.pop_front();
        }
        let seq = entry.seq;
        state.recent.push_back(entry);
        let written = line.and_then(|line| state.files.append(line));
        drop(state);
        self.news.notify_all();
        written.map(|()| seq)
    }

    /// The last `count` events, oldest first; from memory where they are there.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn tail(&self, count: usize) -> io::Result<Vec<Entry>> {
        let state = self.state.lock();
        if count <= state.recent.len() || state.recent.len() < limits::RECENT {
            let skip = state.recent.len().saturating_sub(count);
            return Ok(state.recent.iter().skip(skip).cloned().collect());
        }
        files::last(state.files.path(), count)
    }

    /// Up to `most` events after number `after`, oldest first. Waits for the first one, at most for `patience`. A gap
    /// between `after` and the first number is what is not kept any more.
    pub fn follow(&self, after: u64, most: usize, patience: Duration) -> Vec<Entry> {
        let until = Instant::now() + patience;
        let mut state = self.state.lock();
        while state.last <= after {
            if self.news.wait_until(&mut state, until).timed_out() {
                return Vec::new();
            }
        }
        let oldest = state.recent.front().map_or(0, |entry| entry.seq);
        if after + 1 >= oldest {
            return state.recent.iter().filter(|entry| entry.seq > after).take(most).cloned().collect();
        }
        // Who is that far behind reads what the disk has. The lock stays taken: files that are put aside meanwhile would be
        // missed.
        let found = files::after(state.files.path(), after, most).unwrap_or_default();
        if found.is_empty() { state.recent.iter().take(most).cloned().collect() } else { found }
    }

    /// Number of the last event: where who follows begins.
    pub fn position(&self) -> u64 {
        self.state.lock().last
    }
}

/// The last `count` events of a log, whether anybody writes it or not.
///
/// # Errors
/// A file cannot be read.
pub fn read(path: &Path, count: usize) -> io::Result<Vec<Entry>> {
    files::last(path, count)
}

fn cut(mut text: String) -> String {
    // Two such texts, with every byte escaped, are still within the bound of a line.
    let most = limits::EVENT / 4;
    if text.len() > most {
        let end = (0..=most).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
        text.truncate(end);
        text.push('…');
    }
    text
}
