//! The status of a cluster as text: for each module where it is and why, then what an operator should look at.

use super::worries::worries;
use super::{age_words, bytes, progress};
use crate::model::{Cluster, Module, OnNode};
use crate::output::one_line;
use serde_json::Value;
use std::time::SystemTime;

/// Columns of a module's nodes.
const HEADS: [&str; 6] = ["NODE", "STATE", "DATA", "READY", "SINCE", "WHY"];

/// All modules, what is wrong with the cluster at the end. `colours`: with terminal colours.
pub fn cluster(status: &Cluster, now: SystemTime, colours: bool) -> String {
    let quorum = match status.quorum.words.as_str() {
        "" | "nobody" => "no quorum".to_owned(),
        words => format!("quorum: {words}"),
    };
    let mut text =
        one_line(&format!("cluster {}, seen from {}; {} nodes, {quorum}", status.cluster, status.node, status.nodes.len())) + "\n";
    if status.modules.is_empty() {
        text += "\nno modules: make one with `understudy module create`, then `understudy reload`\n";
    }
    for module in &status.modules {
        text += "\n";
        text += &block(module, now, colours);
    }
    let look = worries(status);
    if !look.is_empty() {
        text += "\nto look at:\n";
        look.iter().for_each(|worry| text += &(one_line(&format!("  {worry}")) + "\n"));
    }
    text
}

fn block(module: &Module, now: SystemTime, colours: bool) -> String {
    let head = one_line(&format!("{}  {}{}", module.name, module.kind, headline(module)));
    let mut lines = vec![if colours { format!("\x1b[1m{head}\x1b[0m") } else { head }];
    lines.extend(table(module, now, colours));
    lines.extend(more(module).iter().map(|line| one_line(line)));
    lines.join("\n") + "\n"
}

fn headline(module: &Module) -> String {
    if !module.is_mirror() {
        return String::new();
    }
    let can = &module.can_fail_over;
    format!("  can fail over: {}, {} [{}]", if can.now { "yes" } else { "no" }, can.reason, can.reason_code)
}

fn table(module: &Module, now: SystemTime, colours: bool) -> Vec<String> {
    let rows: Vec<[String; 6]> = module.nodes.iter().map(|on| row(on, now)).collect();
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.chain([HEADS[column].len()]).max().unwrap_or(0)
    };
    let widths: [usize; 6] = std::array::from_fn(width);
    let line = |cells: [&str; 6], colour: Option<&str>| {
        let mut line = String::from("  ");
        for (column, cell) in cells.iter().enumerate() {
            let padded = if column == 5 { (*cell).to_owned() } else { format!("{cell:<width$}  ", width = widths[column]) };
            line += &match colour {
                Some(colour) if column == 1 => format!("\x1b[{colour}m{padded}\x1b[0m"),
                _ => padded,
            };
        }
        line.trim_end().to_owned()
    };
    let mut lines = vec![line(HEADS, None)];
    for (row, on) in rows.iter().zip(&module.nodes) {
        let cells: [&str; 6] = std::array::from_fn(|column| row[column].as_str());
        lines.push(line(cells, colours.then(|| colour(on))));
    }
    lines
}

fn row(on: &OnNode, now: SystemTime) -> [String; 6] {
    let ready = match on.readiness.as_str() {
        "ready" => "yes",
        "transient" => "soon",
        _ => "no",
    };
    let state = if on.reachable { on.state.clone() } else { format!("({})", on.state) };
    let since = on.since.as_deref().map_or_else(|| "-".to_owned(), |since| age(since, now));
    let data = on.data.clone().filter(|data| !data.is_empty()).unwrap_or_else(|| "-".into());
    let why = format!("{} [{}]", on.reason, on.reason_code);
    [on.node.clone(), state, data, ready.to_owned(), since, why].map(|cell| one_line(&cell))
}

/// Green, yellow, red, or none for what an operator stopped.
fn colour(on: &OnNode) -> &'static str {
    match on.readiness.as_str() {
        _ if !on.reachable => "31",
        "ready" if on.state == "ALONE" => "33",
        "ready" => "32",
        "transient" => "33",
        _ if on.reason_code == "stopped" => "0",
        _ => "31",
    }
}

fn age(since: &str, now: SystemTime) -> String {
    let age = humantime::parse_rfc3339(since).ok().map(|since| now.duration_since(since).unwrap_or_default());
    age.map_or_else(|| since.to_owned(), |age| age_words(age.as_secs()))
}

/// Below the table.
fn more(module: &Module) -> Vec<String> {
    let mut lines = Vec::new();
    for one in &module.directory_states {
        lines.push(format!("  directory {}: {} {}, {}", one.name, one.state, one.data, one.reason));
    }
    if !module.resync.is_null() {
        lines.push(format!("  resync   {}", progress(&module.resync)));
    }
    for address in &module.virtual_ips {
        let interface = address.interface.as_deref().map(|name| format!(" ({name})")).unwrap_or_default();
        let place = address.node.as_deref().map_or_else(|| "nowhere".into(), |node| format!("on {node}"));
        lines.push(format!("  address  {}{interface} {place}", address.address));
    }
    if !module.checks.is_empty() {
        let words: Vec<String> = module.checks.iter().map(check).collect();
        lines.push(format!("  checks   {}", words.join(", ")));
    }
    lines.extend(module.kept.iter().map(kept));
    lines.extend(consistent(&module.consistent));
    lines.extend(farm(module));
    lines
}

fn check(check: &crate::model::Check) -> String {
    match check.ok {
        Some(true) => format!("{} passes", check.name),
        Some(false) => format!("{} FAILS ({})", check.name, check.output.as_deref().unwrap_or("no output")),
        None => format!("{} has not run", check.name),
    }
}

fn kept(tree: &Value) -> String {
    let word = |key: &str| tree[key].as_str().unwrap_or("?");
    let size = tree["bytes"].as_u64().map(|count| format!(", {}", bytes(count))).unwrap_or_default();
    format!("  kept     {} of {}{size}: {}", word("id"), word("time"), word("path"))
}

/// The state from before a resync that runs here or was cut off.
fn consistent(state: &Value) -> Option<String> {
    let since = state["since"].as_str()?;
    let word = state["reason"].as_str().map_or_else(|| "is kept".to_owned(), |why| format!("was given up: {why}"));
    Some(format!("  before   the state of before the resync, of {since}, {word}"))
}

/// The share of each server.
fn farm(module: &Module) -> Option<String> {
    let servers = module.farm["map"]["servers"].as_array()?;
    let words: Vec<String> = servers
        .iter()
        .map(|server| {
            let name = server["name"].as_str().unwrap_or("?");
            let drained = if server["drained"] == true { " (drained)" } else { "" };
            let share = server["share"].as_f64().map(|share| format!(" {:.0} %", share * 100.0)).unwrap_or_default();
            let serves = if server["serving"] == true { "serves" } else { "does not serve" };
            format!("{name} {serves}{share}{drained}")
        })
        .collect();
    Some(format!("  servers  {}", words.join(", ")))
}

#[cfg(test)]
#[path = "cluster_tests.rs"]
mod tests;
