//! The status of a replica as a block of text: the state and its reason first, numbers after.

pub mod cluster;
pub mod event;
pub mod watch;
pub mod worries;

use crate::output::one_line;
use serde_json::Value;
use std::time::{Duration, SystemTime};

/// Of the labels.
const WIDTH: usize = 11;

/// One block, without the blank line that separates blocks.
pub fn replica(status: &Value, now: SystemTime) -> String {
    let mut lines = vec![headline(status)];
    if let Some(error) = text(status, "error") {
        lines.push(row("problem", &error));
        return finish(&lines);
    }
    lines.push(row("why", &why(status, now)));
    lines.push(row("directory", &text(status, "directory").unwrap_or_else(|| "?".into())));
    lines.push(row("peer", &text(status, "peer").unwrap_or_else(|| "none".into())));
    if let Some(resync) = status.get("resync").filter(|resync| !resync.is_null()) {
        lines.push(row("resync", &progress(resync)));
    }
    if let Some(verify) = status.get("verify").filter(|verify| !verify.is_null()) {
        lines.push(row("verify", &verify_line(verify)));
    }
    lines.push(row("details", &details(status)));
    lines.extend(counters(status));
    finish(&lines)
}

/// What a resync would take, in a line.
pub fn estimate(estimate: &Value) -> String {
    if estimate["everything"] == true {
        return "everything: all names and all content are compared, and what differs is sent".into();
    }
    let (folders, files, attributes) = (number(estimate, "directories"), number(estimate, "files"), number(estimate, "attributes"));
    let more = if estimate["more"] == true { ", and more" } else { "" };
    format!(
        "names in {folders} directories, content of {files} files (at most {} compared, what differs is sent), attributes of {attributes} more{more}",
        bytes(number(estimate, "bytes_at_most"))
    )
}

/// How far a verify is, beside its bar.
pub fn verifying(look: &Value) -> String {
    let phase = text(look, "phase").unwrap_or_else(|| "running".into());
    let mut line = format!("{phase}, {} compared", bytes(number(look, "bytes_done")));
    if number(look, "rate_bytes_per_second") > 0 {
        line += &format!(" at {}/s", bytes(number(look, "rate_bytes_per_second")));
    }
    if let Some(eta) = look.get("eta_seconds").and_then(Value::as_f64) {
        line += &format!(", {} to go", age_words(eta.max(0.0).ceil() as u64));
    }
    line + &format!(", {} differences", number(look, "difference_count"))
}

fn verify_line(verify: &Value) -> String {
    let (done, all) = (number(verify, "objects_done"), number(verify, "objects_total"));
    match verify["running"] == true {
        true => format!("{done} of {all} objects, {}", verifying(verify)),
        false => {
            format!("{}: {done} objects, {} differences", text(verify, "phase").unwrap_or_default(), number(verify, "difference_count"))
        }
    }
}

/// What a verify found, a line each, and what it looked at.
pub fn verified(ended: &Value) -> String {
    let differences = ended["differences"].as_array().map_or(&[][..], |all| all);
    let mut lines: Vec<String> = differences.iter().map(difference).collect();
    let (count, listed) = (number(ended, "difference_count"), differences.len() as u64);
    if count > listed {
        lines.push(format!("and {} more", count - listed));
    }
    let seconds = ended["seconds"].as_f64().unwrap_or(0.0);
    let (objects, read) = (number(ended, "objects_done"), bytes(number(ended, "bytes_done")));
    lines.push(format!("{objects} objects and {read} compared in {seconds:.1} s: {count} differences"));
    finish(&lines)
}

fn difference(found: &Value) -> String {
    let path = text(found, "path").unwrap_or_else(|| "?".into());
    let words = |key: &str| found[key].as_array().into_iter().flatten().map(plain).collect::<Vec<_>>().join(", ");
    let what = match found["kind"].as_str().unwrap_or_default() {
        "missing" => "is missing on the other server".into(),
        "extra" => "is only on the other server".into(),
        "replaced" => "is another object on the other server".into(),
        "attributes" => format!("differs in {}", words("what")),
        _ => {
            let range = |range: &Value| Some(format!("{}+{}", range[0].as_u64()?, range[1].as_u64()?));
            let ranges: Vec<String> = found["ranges"].as_array().into_iter().flatten().filter_map(range).collect();
            format!("differs in content at {}", ranges.join(", "))
        }
    };
    format!("{path}: {what}")
}

/// One kept tree.
pub fn kept(tree: &Value) -> String {
    let name = text(tree, "module").unwrap_or_else(|| "?".into());
    let mut lines = vec![format!("{name}  {}", text(tree, "id").unwrap_or_else(|| "?".into()))];
    lines.push(row("kept", &text(tree, "time").unwrap_or_else(|| "?".into())));
    lines.push(row("why", &text(tree, "reason").unwrap_or_else(|| "?".into())));
    let (files, folders) = (number(tree, "files"), number(tree, "directories"));
    lines.push(row("holds", &format!("{files} files, {folders} new directories, {}", bytes(number(tree, "bytes")))));
    let renamed: Vec<&str> = tree["renamed_in"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    if !renamed.is_empty() {
        let more = if renamed.len() > 3 { format!(" and {} more", renamed.len() - 3) } else { String::new() };
        lines.push(row("names", &format!("were added, moved or removed in {}{more}", renamed[..renamed.len().min(3)].join(", "))));
    }
    let node = text(tree, "node").map(|node| format!(" on {node}")).unwrap_or_default();
    lines.push(row("where", &format!("{}{node}", text(tree, "path").unwrap_or_else(|| "?".into()))));
    finish(&lines)
}

/// The state from before a resync, of the replica `name`.
pub fn consistent(name: &str, state: &Value) -> String {
    let when = text(state, "since").unwrap_or_else(|| "?".into());
    let mut lines = vec![format!("{name}  state of before the resync")];
    lines.push(row("kept", &when));
    match text(state, "reason") {
        Some(why) => lines.push(row("given up", &why)),
        None => {
            let used = state["bytes"].as_u64().map(|used| format!("{} of ", bytes(used))).unwrap_or_default();
            lines.push(row("may take", &format!("{used}{}", bytes(number(state, "budget_bytes")))));
            lines.push(row("back", &format!("`understudy kept {name} restore`, when the resync is cut off for good")));
        }
    }
    finish(&lines)
}

fn finish(lines: &[String]) -> String {
    lines.iter().map(|line| one_line(line) + "\n").collect()
}

fn row(label: &str, value: &str) -> String {
    format!("  {label:<WIDTH$}{value}")
}

fn headline(status: &Value) -> String {
    let name = text(status, "name").unwrap_or_else(|| "?".into());
    let Some(state) = text(status, "state") else { return name };
    let data = text(status, "data").unwrap_or_else(|| "unknown".into());
    let role = text(status, "role").map(|role| format!("  ({role})")).unwrap_or_default();
    format!("{name}  {state}  {data}{role}")
}

fn why(status: &Value, now: SystemTime) -> String {
    let reason = text(status, "reason").unwrap_or_else(|| "no reason given".into());
    let code = text(status, "reason_code").map(|code| format!(" [{code}]")).unwrap_or_default();
    let since = text(status, "since").map(|since| format!(", {}", since_words(&since, now))).unwrap_or_default();
    format!("{reason}{code}{since}")
}

fn since_words(since: &str, now: SystemTime) -> String {
    let age = humantime::parse_rfc3339(since).ok().and_then(|since| now.duration_since(since).ok());
    match age {
        Some(age) => format!("for {}", age_words(age.as_secs())),
        None => format!("since {since}"),
    }
}

/// The two largest units: nobody plans by the seconds of a day.
pub fn age_words(seconds: u64) -> String {
    let words = humantime::format_duration(Duration::from_secs(seconds)).to_string();
    words.split(' ').take(2).collect::<Vec<_>>().join(" ")
}

/// How far a resync is, in a line.
pub fn progress(resync: &Value) -> String {
    let phase = text(resync, "phase").unwrap_or_else(|| "running".into());
    let (done, total) = (number(resync, "bytes_done"), number(resync, "bytes_total"));
    let (files, all) = (number(resync, "files_done"), number(resync, "files_total"));
    let mut line = format!("{phase}: {files} of {all} files, {} of {}", bytes(done), bytes(total));
    let (part, whole) = if total > 0 { (done, total) } else { (files, all) };
    if let Some(percent) = (u128::from(part.min(whole)) * 100).checked_div(whole.into()) {
        line += &format!(" ({percent} %)");
    }
    if number(resync, "rate_bytes_per_second") > 0 {
        line += &format!(", {}/s", bytes(number(resync, "rate_bytes_per_second")));
    }
    if let Some(eta) = resync.get("eta_seconds").and_then(Value::as_f64) {
        line += &format!(", {} to go", age_words(eta.max(0.0).ceil() as u64));
    }
    line
}

fn details(status: &Value) -> String {
    let generation = status.get("generation").map_or_else(|| "?".into(), plain);
    match text(status, "ack") {
        Some(ack) => format!("acknowledged in {ack}, generation {generation}"),
        None => format!("generation {generation}"),
    }
}

fn counters(status: &Value) -> Option<String> {
    let counters = status.get("counters")?.as_object().filter(|counters| !counters.is_empty())?;
    let words: Vec<String> = counters.iter().map(|(name, value)| format!("{} {}", name.replace('_', " "), plain(value))).collect();
    Some(row("counters", &words.join(", ")))
}

fn text(value: &Value, key: &str) -> Option<String> {
    value.get(key).filter(|found| !found.is_null()).map(plain)
}

/// Strings without their quotes.
fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn number(value: &Value, key: &str) -> u64 {
    let found = value.get(key);
    found.and_then(|n| n.as_u64().or_else(|| n.as_f64().map(|n| n.max(0.0) as u64))).unwrap_or(0)
}

/// Sizes for people; JSON has the exact ones.
pub fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if count < 1024 {
        return format!("{count} B");
    }
    let mut size = count as f64 / 1024.0;
    let mut unit = 0;
    while size >= 1024.0 && unit + 1 < UNITS.len() {
        size /= 1024.0;
        unit += 1;
    }
    format!("{size:.1} {}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn now() -> SystemTime {
        humantime::parse_rfc3339("2026-11-23T21:00:00Z").expect("a time")
    }

    #[test]
    fn a_block_shows_state_and_reason_first() {
        let status = json!({
            "name": "data", "role": "primary", "directory": "/srv/data", "peer": "10.0.0.2:7400", "state": "ALONE",
            "data": "uptodate", "reason": "the secondary is being brought up to date", "reason_code": "resync",
            "since": "2026-11-23T20:56:40.5Z", "generation": 7, "ack": "memory",
            "resync": {"phase": "content", "bytes_total": 4_294_967_296_u64, "bytes_done": 1_073_741_824, "files_total": 10,
                       "files_done": 3, "rate_bytes_per_second": 52_428_800, "eta_seconds": 61.2},
            "counters": {"operations_sent": 12},
        });
        assert_eq!(
            replica(&status, now()),
            "data  ALONE  uptodate  (primary)\n  \
             why        the secondary is being brought up to date [resync], for 3m 19s\n  \
             directory  /srv/data\n  \
             peer       10.0.0.2:7400\n  \
             resync     content: 3 of 10 files, 1.0 GiB of 4.0 GiB (25 %), 50.0 MiB/s, 1m 2s to go\n  \
             details    acknowledged in memory, generation 7\n  \
             counters   operations sent 12\n"
        );
    }

    #[test]
    fn what_is_missing_or_hostile_does_not_hurt() {
        let block = replica(&json!({"name": "a\nb", "state": "WAIT", "peer": null, "resync": null}), now());
        assert!(block.starts_with("a b  WAIT  unknown\n"), "{block}");
        assert!(block.contains("peer       none"));
        assert!(!block.contains("resync"));
        let block = replica(&json!({"name": "a", "error": "it did not answer"}), now());
        assert_eq!(block, "a\n  problem    it did not answer\n");
    }

    #[test]
    fn a_verify_lists_paths_and_ranges() {
        let ended = json!({
            "phase": "done", "running": false, "objects_done": 12, "bytes_done": 2048, "seconds": 1.25, "difference_count": 3,
            "differences": [
                {"path": "/a\nb", "kind": "content", "ranges": [[4096, 8192], [1_048_576, 100]]},
                {"path": "/c", "kind": "attributes", "what": ["mode", "xattr user.x"]},
            ],
        });
        assert_eq!(
            verified(&ended),
            "/a b: differs in content at 4096+8192, 1048576+100\n/c: differs in mode, xattr user.x\nand 1 more\n\
             12 objects and 2.0 KiB compared in 1.2 s: 3 differences\n"
        );
        let status = json!({"name": "a", "state": "PRIM", "verify": ended});
        assert!(replica(&status, now()).contains("verify     done: 12 objects, 3 differences\n"));
    }

    #[test]
    fn sizes() {
        assert_eq!(bytes(0), "0 B");
        assert_eq!(bytes(1536), "1.5 KiB");
        assert_eq!(bytes(u64::MAX), "16384.0 PiB");
    }
}
