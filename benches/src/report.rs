//! The table on stdout and the same as JSON.

use crate::columns::{Column, Setting};
use crate::loads::Load;
use crate::stats::{Aim, Bound, Metric, Reference, Series, Summary};
use anyhow::Result;
use serde_json::{Value, json};
use std::fmt::Write as _;

const COLUMNS: [Column; 6] = [Column::Plain, Column::Fuse, Column::Raw, Column::Floor, Column::Ours, Column::Peer];

/// What is told once for all tables.
pub struct Machine {
    kernel: String,
    cpus: usize,
}

impl Machine {
    /// This one.
    pub fn new() -> Machine {
        let kernel = rustix::system::uname().release().to_string_lossy().into_owned();
        let cpus = std::thread::available_parallelism().map_or(0, usize::from);
        Machine { kernel, cpus }
    }

    /// First lines of the output.
    pub fn heading(&self, setting: &Setting) -> String {
        let options = &setting.options;
        let trust = if options.quick { "; quick: figures not to be trusted" } else { "" };
        format!(
            "kernel {}, {} CPU{}, regime {}{trust}\n\
             readings: median (min–max) of rounds; ratios: median (min–max) of the rounds' ratios\n",
            self.kernel,
            self.cpus,
            if self.cpus == 1 { "" } else { "s" },
            regime(setting),
        )
    }

    /// All benches as JSON.
    pub fn json(&self, setting: &Setting, benches: Vec<Value>) -> Value {
        let options = &setting.options;
        json!({
            "schema": 1, "kernel": self.kernel, "cpus": self.cpus, "regime": options.regime,
            "quick": options.quick, "rounds": options.rounds, "benches": benches,
        })
    }
}

fn regime(setting: &Setting) -> String {
    json!(setting.options.regime).as_str().unwrap_or_default().to_owned()
}

/// One bench as a table: the readings, what they are to the plain directory, and the aims.
pub fn table(name: &str, load: &dyn Load, series: &Series, setting: &Setting) -> String {
    let mut out = format!("\n{name} — {}\n{} rounds\n", load.about(), series.len());
    for metric in load.metrics() {
        out += &rows(metric, series);
    }
    for aim in load.aims().iter().filter(|aim| aim.applies(setting.options.regime)) {
        let _ = writeln!(out, "  {}", aim_line(aim, series));
    }
    out
}

/// One figure in all columns that have it.
fn rows(metric: &Metric, series: &Series) -> String {
    let mut out = String::new();
    for column in COLUMNS {
        let Some(summary) = Summary::of(&series.values(column, metric.name)) else { continue };
        if out.is_empty() {
            let unit = if metric.unit.is_empty() { String::new() } else { format!(", {}", metric.unit) };
            let _ = writeln!(out, "  {}{unit}", metric.name);
        }
        let ratio = Summary::of(&series.ratios(metric.name, column, Reference::To(Column::Plain)));
        let to_plain = ratio.filter(|_| column != Column::Plain).map(|ratio| format!("{} × plain", range(ratio)));
        let line = format!("    {:<6} {:<28} {}", column.name(), range(summary), to_plain.unwrap_or_default());
        let _ = writeln!(out, "{}", line.trim_end());
    }
    out
}

fn aim_line(aim: &Aim, series: &Series) -> String {
    let what = match aim.reference {
        Reference::To(other) => format!("{} / {}", aim.column.name(), other.name()),
        Reference::Itself => aim.column.name().to_owned(),
    };
    let bound = match aim.bound {
        Bound::AtMost(limit) => format!("≤ {limit}"),
        Bound::AtLeast(limit) => format!("≥ {limit}"),
    };
    match Summary::of(&series.ratios(aim.metric, aim.column, aim.reference)) {
        None => format!("aim: {}, {what} {bound}: not measured", aim.metric),
        Some(summary) => {
            let reached = if aim.bound.holds(aim.of(summary)) { "yes" } else { "no" };
            format!("aim: {}, {what} = {}, {}{bound}: reached {reached}", aim.metric, range(summary), if aim.tail { "p95 " } else { "" })
        }
    }
}

fn range(summary: Summary) -> String {
    let tail = summary.p95.map_or_else(String::new, |p95| format!(", p95 {}", figure(p95)));
    format!("{} ({}–{}{tail})", figure(summary.median), figure(summary.min), figure(summary.max))
}

/// Three significant digits.
fn figure(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// One bench as JSON.
pub fn bench_json(name: &str, load: &dyn Load, series: &Series, setting: &Setting) -> Value {
    let metrics: Vec<Value> = load
        .metrics()
        .iter()
        .map(|metric| {
            let columns: serde_json::Map<String, Value> = COLUMNS
                .iter()
                .filter_map(|column| {
                    let rounds = series.values(*column, metric.name);
                    let summary = Summary::of(&rounds)?;
                    Some((column.name().to_owned(), json!({ "summary": summary, "rounds": rounds })))
                })
                .collect();
            json!({ "name": metric.name, "unit": metric.unit, "columns": columns })
        })
        .collect();
    let aims: Vec<Value> = load.aims().iter().filter(|aim| aim.applies(setting.options.regime)).map(|aim| aim_json(aim, series)).collect();
    json!({ "name": name, "about": load.about(), "rounds": series.len(), "metrics": metrics, "aims": aims })
}

fn aim_json(aim: &Aim, series: &Series) -> Value {
    let ratio = Summary::of(&series.ratios(aim.metric, aim.column, aim.reference));
    let (comparison, bound) = match aim.bound {
        Bound::AtMost(limit) => ("at_most", limit),
        Bound::AtLeast(limit) => ("at_least", limit),
    };
    let reference = match aim.reference {
        Reference::To(column) => json!(column),
        Reference::Itself => Value::Null,
    };
    json!({
        "metric": aim.metric, "column": aim.column, "reference": reference, "comparison": comparison,
        "bound": bound, "ratio": ratio, "statistic": if aim.tail { "p95" } else { "median" }, "reached": ratio.map(|summary| aim.bound.holds(aim.of(summary))),
    })
}

/// Writes to stdout; a closed pipe is an error like any other.
pub fn show(text: &str) -> Result<()> {
    use std::io::Write as _;
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    Ok(out.flush()?)
}
