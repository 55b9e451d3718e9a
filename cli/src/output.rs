//! What goes to stdout and stderr: state lines for scripts, one line for a failure.

use fsrepl::report::{Data, Event, Failure, Reporter, State, StateLine};
use serde_json::{Value, json};
use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

/// Version of every JSON object; changes only add.
pub const SCHEMA: u32 = 1;

/// Writes text and flushes it. A reader that went away is no reason to stop a running engine.
pub fn text(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes());
    let _ = out.flush();
}

/// Writes one line.
pub fn line(line: &str) {
    text(&format!("{line}\n"));
}

/// The one line of a command that did not succeed.
pub fn complain(failure: &Failure) {
    let _ = writeln!(std::io::stderr(), "understudy: {}", one_line(&failure.to_string()));
}

/// Names and paths may hold any byte; a message stays one line.
pub fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// Prints what an engine reports, as text or as JSON.
pub fn reporter(json: bool) -> Reporter {
    let printer = Mutex::new(Printer { json, seq: 0 });
    Arc::new(move |event| {
        let mut printer = printer.lock().unwrap_or_else(PoisonError::into_inner);
        match printer.render(&event, SystemTime::now()) {
            Some(rendered) => line(&rendered),
            None => {
                if let Event::Notice(notice) = event {
                    tracing::info!("{notice}");
                }
            }
        }
    })
}

/// Renders events; numbers the state lines.
struct Printer {
    json: bool,
    seq: u64,
}

impl Printer {
    /// `None`: the event belongs into the log, not on stdout.
    fn render(&mut self, event: &Event, now: SystemTime) -> Option<String> {
        match event {
            Event::Notice(_) => None,
            Event::Ready if self.json => Some(json!({"schema": SCHEMA, "event": "ready", "time": time(now)}).to_string()),
            Event::Ready => Some("ready".into()),
            Event::State(change) => {
                self.seq += 1;
                Some(if self.json { self.state_json(change, now).to_string() } else { state_text(change, now) })
            }
        }
    }

    fn state_json(&self, change: &StateLine, now: SystemTime) -> Value {
        json!({
            "schema": SCHEMA, "event": "state", "time": time(now), "seq": self.seq,
            "state": change.state, "data": change.data,
            "reason": change.reason, "reason_code": change.reason_code,
        })
    }
}

fn state_text(change: &StateLine, now: SystemTime) -> String {
    let (state, data) = (state_word(change.state), data_word(change.data));
    format!("{} {state} {data}  {} [{}]", time(now), one_line(&change.reason), change.reason_code)
}

/// The contract's word.
pub fn state_word(state: State) -> &'static str {
    match state {
        State::Prim => "PRIM",
        State::Second => "SECOND",
        State::Alone => "ALONE",
        State::Wait => "WAIT",
    }
}

fn data_word(data: Data) -> &'static str {
    match data {
        Data::Uptodate => "uptodate",
        Data::Outdated => "outdated",
        Data::Inconsistent => "inconsistent",
    }
}

/// RFC 3339 in UTC with milliseconds.
pub fn time(at: SystemTime) -> String {
    humantime::format_rfc3339_millis(at).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, UNIX_EPOCH};

    fn change() -> Event {
        Event::State(StateLine {
            state: State::Alone,
            data: Data::Uptodate,
            reason: "no answer from 10.0.0.2:7400\nfor 1 s".into(),
            reason_code: "peer_lost".into(),
        })
    }

    fn at() -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(1_700_000_000_123)
    }

    #[test]
    fn text_lines() {
        let mut printer = Printer { json: false, seq: 0 };
        assert_eq!(printer.render(&Event::Ready, at()).as_deref(), Some("ready"));
        assert_eq!(
            printer.render(&change(), at()).as_deref(),
            Some("2023-11-14T22:13:20.123Z ALONE uptodate  no answer from 10.0.0.2:7400 for 1 s [peer_lost]")
        );
        assert_eq!(printer.render(&Event::Notice("a word".into()), at()), None);
    }

    #[test]
    fn json_lines_as_the_contract_has_them() {
        let mut printer = Printer { json: true, seq: 0 };
        let ready: Value = serde_json::from_str(&printer.render(&Event::Ready, at()).expect("a line")).expect("JSON");
        assert_eq!(ready, json!({"schema": 1, "event": "ready", "time": "2023-11-14T22:13:20.123Z"}));
        for seq in 1..=3 {
            let line = printer.render(&change(), at()).expect("a line");
            assert!(!line.contains('\n'));
            let state: Value = serde_json::from_str(&line).expect("JSON");
            assert_eq!(state["seq"], seq);
            assert_eq!(state["event"], "state");
            assert_eq!(state["state"], "ALONE");
            assert_eq!(state["data"], "uptodate");
            assert_eq!(state["reason_code"], "peer_lost");
            assert_eq!(state["time"], "2023-11-14T22:13:20.123Z");
        }
    }

    #[test]
    fn words_are_those_of_serde() {
        for state in [State::Prim, State::Second, State::Alone, State::Wait] {
            assert_eq!(json!(state), json!(state_word(state)));
        }
        for data in [Data::Uptodate, Data::Outdated, Data::Inconsistent] {
            assert_eq!(json!(data), json!(data_word(data)));
        }
    }
}
