//! What the demo prints: a story for people, one object for machines.

use super::acknowledged::Latencies;
use super::check::Findings;
use crate::output;
use serde_json::{Value, json};
use std::io::{IsTerminal, Write};
use std::time::Duration;

/// Columns of the latency table, in the order of what people care about.
const KINDS: [(&str, &str); 4] = [("slot", "write 4 KiB"), ("append", "append"), ("publish", "publish"), ("durable", "write+fdatasync")];

/// Prints, or with `--json` only collects.
pub struct Show {
    json: bool,
    terminal: bool,
    summary: serde_json::Map<String, Value>,
}

impl Show {
    pub fn new(json: bool) -> Show {
        let mut summary = serde_json::Map::new();
        summary.insert("schema".into(), output::SCHEMA.into());
        Show { json, terminal: std::io::stdout().is_terminal(), summary }
    }

    /// A fact for machines.
    pub fn fact(&mut self, key: &str, value: impl Into<Value>) {
        self.summary.insert(key.into(), value.into());
    }

    /// A line for people.
    pub fn say(&self, line: impl AsRef<str>) {
        if !self.json {
            output::line(line.as_ref());
        }
    }

    /// A step of the story: label and what happened.
    pub fn step(&self, label: &str, text: impl AsRef<str>) {
        self.say(format!("{label:<14}{}", text.as_ref()));
    }

    /// A step in progress: replaced by the next line on a terminal, not shown elsewhere.
    pub fn progress(&self, label: &str, text: &str) {
        if !self.json && self.terminal {
            output::text(&format!("\r\x1b[K{label:<14}{text}\r"));
            let _ = std::io::stdout().flush();
        }
    }

    /// Clears what `progress` left.
    pub fn settled(&self) {
        if !self.json && self.terminal {
            output::text("\r\x1b[K");
        }
    }

    /// Heading of the latency table.
    pub fn latency_heading(&self) {
        let kinds: String = KINDS.iter().map(|(_, title)| format!("{title:>18}")).collect();
        self.say(format!("{:<14}{:>9}{:>13}{kinds}", "µs p50 / p99", "per s", "acknowledged"));
    }

    /// A row of it.
    pub fn latency_row(&self, label: &str, window: &Latencies, time: Duration, acknowledged: u64) {
        let count: u64 = window.values().map(super::latency::Histogram::total).sum();
        let rate = count as f64 / time.as_secs_f64().max(0.001);
        let kinds: String = KINDS.iter().map(|(kind, _)| format!("{:>18}", cell(window, kind))).collect();
        self.say(format!("{label:<14}{:>9}{:>13}{kinds}", thousands(rate as u64), thousands(acknowledged)));
    }

    /// The proof.
    pub fn findings(&mut self, findings: &Findings) {
        self.step(
            "Ledger",
            format!(
                "acknowledged {}   found {}   lost {}",
                thousands(findings.acknowledged),
                thousands(findings.found),
                thousands(findings.lost)
            ),
        );
        let overwritten = findings.found - findings.present;
        self.step(
            "",
            format!("{} are there byte for byte, {} were overwritten by later ones", thousands(findings.present), thousands(overwritten)),
        );
        for fate in &findings.in_flight {
            self.step("", format!("in flight, never acknowledged: {fate}"));
        }
        self.step(
            "Tree",
            format!(
                "{} of {} files equal by BLAKE3, {} unknown",
                thousands(findings.files_equal),
                thousands(findings.files),
                findings.files_unknown
            ),
        );
        for problem in &findings.problems {
            self.step("PROBLEM", output::one_line(problem));
        }
        self.fact("result", json!(findings));
    }

    /// What a demo on one machine cannot show, and how to see it on two.
    pub fn limits(&self) {
        self.say(NOT_SHOWN);
    }

    /// The object for machines.
    pub fn finish(self) {
        if self.json {
            output::line(&Value::Object(self.summary).to_string());
        }
    }
}

const NOT_SHOWN: &str = "
Not shown: both hosts are this one machine with one disk and one kernel, and each host's disk is a file on
it, so the latencies are not those of two servers (fdatasync least of all); the host died by SIGKILL, not by
a power cut; and nobody took over yet: the surviving host has the data, starting the application is up to you.

The same on two servers, A (10.0.0.1) and B (10.0.0.2), as root:
  A   understudy keygen /root/pair.key            then copy that file to B
  B   understudy receive /srv/data --listen 10.0.0.2:7400 --key /root/pair.key
  A   understudy mount /srv/data --to 10.0.0.2:7400 --key /root/pair.key
  A   run the application on /srv/data, look with `understudy status`, and pull the plug";

/// p50 / p99 in microseconds, for machines.
pub fn latencies_json(latencies: &Latencies) -> Value {
    let kinds = latencies.iter().map(|(kind, histogram)| {
        let seconds = |part| histogram.quantile(part).map(|micros| micros / 1e6);
        (kind.clone(), json!({"count": histogram.total(), "p50_seconds": seconds(0.5), "p99_seconds": seconds(0.99)}))
    });
    Value::Object(kinds.collect())
}

fn cell(latencies: &Latencies, kind: &str) -> String {
    let Some(histogram) = latencies.get(kind) else { return "-".into() };
    match (histogram.quantile(0.5), histogram.quantile(0.99)) {
        (Some(p50), Some(p99)) => format!("{} / {}", micros(p50), micros(p99)),
        _ => "-".into(),
    }
}

fn micros(value: f64) -> String {
    if value < 10.0 { format!("{value:.1}") } else { thousands(value.round() as u64) }
}

/// 1234567 as 1,234,567.
pub fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        assert_eq!(thousands(0), "0");
        assert_eq!(thousands(999), "999");
        assert_eq!(thousands(1000), "1,000");
        assert_eq!(thousands(1_234_567), "1,234,567");
        assert_eq!(micros(2.54), "2.5");
        assert_eq!(micros(1234.4), "1,234");
    }
}
