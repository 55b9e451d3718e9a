//! What the demo prints: a story for people, one object for machines.

use super::acknowledged::Latencies;
use super::app::App;
use super::check::Findings;
use crate::output;
use serde_json::{Value, json};
use std::io::{IsTerminal, Write};
use std::time::Duration;

/// Columns of the latency table, in the order of what people care about.
const KINDS: [(&str, &str); 5] =
    [("slot", "write 4 KiB"), ("append", "append"), ("publish", "publish"), ("durable", "write+fdatasync"), ("transaction", "transaction")];
/// Width of a column.
const COLUMN: usize = 17;

/// Prints, or with `--json` only collects.
pub struct Show {
    json: bool,
    terminal: bool,
    bold: bool,
    /// Shown columns.
    kinds: std::ops::Range<usize>,
    summary: serde_json::Map<String, Value>,
}

impl Show {
    pub fn new(json: bool, app: App) -> Show {
        let mut summary = serde_json::Map::new();
        summary.insert("schema".into(), output::SCHEMA.into());
        let out = std::io::stdout();
        let kinds = if app == App::Ledger { 0..4 } else { 4..5 };
        Show { json, terminal: out.is_terminal(), bold: crate::logging::colours(&out), kinds, summary }
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

    /// The title of a step.
    pub fn head(&self, title: impl AsRef<str>) {
        let title = title.as_ref();
        self.say(if self.bold { format!("\n\x1b[1m{title}\x1b[0m") } else { format!("\n{title}") });
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
        let kinds: String = KINDS[self.kinds.clone()].iter().map(|(_, title)| format!("{title:>COLUMN$}")).collect();
        self.say(format!("{:<14}{:>9}{:>13}{kinds}", "µs p50 / p99", "per s", "acknowledged"));
    }

    /// A row of it.
    pub fn latency_row(&self, label: &str, window: &Latencies, time: Duration, acknowledged: u64) {
        let count: u64 = window.values().map(super::latency::Histogram::total).sum();
        let rate = count as f64 / time.as_secs_f64().max(0.001);
        let kinds: String = KINDS[self.kinds.clone()].iter().map(|(kind, _)| format!("{:>COLUMN$}", cell(window, kind))).collect();
        self.say(format!("{label:<14}{:>9}{:>13}{kinds}", thousands(rate as u64), thousands(acknowledged)));
    }

    /// The proof.
    pub fn findings(&self, unit: &str, findings: &Findings) {
        self.step(
            unit,
            format!(
                "acknowledged {}   found {}   lost {}",
                thousands(findings.acknowledged),
                thousands(findings.found),
                thousands(findings.lost)
            ),
        );
        let overwritten = findings.found - findings.present;
        if overwritten > 0 {
            let (present, overwritten) = (thousands(findings.present), thousands(overwritten));
            self.step("", format!("{present} are there byte for byte, {overwritten} were overwritten by later ones"));
        }
        if !findings.in_flight.is_empty() {
            self.step("", format!("{} were in flight when the connection was lost, and never acknowledged", findings.in_flight.len()));
        }
        for problem in &findings.problems {
            self.step("PROBLEM", output::one_line(problem));
        }
    }

    /// What a demo on one machine cannot show, and how to see it on two.
    pub fn limits(&self, app: App, took: Duration) {
        self.say(format!("\nAcknowledged {} lost: 0. Shown in {:.0} s.", app.unit(), took.as_secs_f64()));
        self.say(NOT_SHOWN);
        self.say(match app {
            App::Ledger => MODULE_OF_YOURS.to_owned(),
            App::Sql(product) => format!("  A    understudy module create app --from {} --set address=10.0.0.100/24", product.word()),
        });
        self.say(START);
    }

    /// The object for machines.
    pub fn finish(self) {
        if self.json {
            output::line(&Value::Object(self.summary).to_string());
        }
    }
}

const NOT_SHOWN: &str = "
Not shown: this is one machine with one disk and one kernel, so the times are not those of two servers (fdatasync
least of all), and nobody cut the power: the host died by SIGKILL.

The same on two servers, A (10.0.0.1) and B (10.0.0.2), as root; a third host W (10.0.0.9) lets one of them go on
when they have lost each other:
  A    understudy keygen /etc/understudy/cluster.key
  A    understudy keygen /etc/understudy/witness.key
  A    write /etc/understudy/cluster.toml: the example in docs/configuration.md with your addresses";
const MODULE_OF_YOURS: &str = "  A    understudy module create app --from mirror --set directory=/srv/data --set address=10.0.0.100/24";
const START: &str = "  A    scp -rp /etc/understudy 10.0.0.2:/etc/
  A    scp -p /etc/understudy/witness.key 10.0.0.9:/etc/understudy/witness/
  W    understudy witness --listen 10.0.0.9:7409 --keys /etc/understudy/witness
  A,B  understudy daemon
  A    understudy start app --no-wait
  A    understudy promote app --accept first      A has the good data; now pull A's plug";

/// For people.
pub fn milliseconds(time: Duration) -> String {
    format!("{} ms", thousands(time.as_millis() as u64))
}

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
