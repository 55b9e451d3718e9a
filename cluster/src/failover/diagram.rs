//! The table as a document: a diagram and every row.

use super::phase::Phase;
use super::table::Row;
use std::collections::BTreeMap;
use std::fmt::Write;

/// What `docs/failover.md` says. A test keeps the file the same.
pub fn document(rows: &[Row]) -> String {
    let mut text = String::from(HEAD);
    text.push_str("## Diagram\n\n```mermaid\nstateDiagram-v2\n");
    for phase in Phase::ALL {
        let (alone, synced) = (phase.state(false).word(), phase.state(true).word());
        let shown = if alone == synced { alone.to_owned() } else { format!("{alone}/{synced}") };
        let _ = writeln!(text, "    {phase:?}: {phase:?} ({shown})");
    }
    text.push_str("    [*] --> Stopped\n");
    let mut edges: BTreeMap<(Phase, Phase), Vec<&str>> = BTreeMap::new();
    for row in rows {
        for from in row.from {
            let Some(to) = row.to else { continue };
            let labels = edges.entry((*from, to)).or_default();
            if !labels.contains(&row.code) {
                labels.push(row.code);
            }
        }
    }
    for ((from, to), labels) in edges {
        let _ = writeln!(text, "    {from:?} --> {to:?}: {}", labels.join(", "));
    }
    text.push_str("```\n\n## Table\n\nFirst match wins. “(holds)” rows are taken whenever they hold.\n\n");
    text.push_str("| in | event | and | next | actions | reason | code |\n|---|---|---|---|---|---|---|\n");
    for row in rows {
        let from =
            if row.from.len() == Phase::ALL.len() { "any".to_owned() } else { list(row.from.iter().map(|phase| format!("{phase:?}"))) };
        let to = row.to.map_or("–".to_owned(), |phase| format!("{phase:?}"));
        let actions = list(row.actions.iter().map(|action| action.words().to_owned()));
        let (on, when, because, code) = (row.on.words(), row.when.words, row.because, row.code);
        let _ = writeln!(text, "| {from} | {on} | {when} | {to} | {actions} | {because} | `{code}` |");
    }
    text
}

fn list(words: impl Iterator<Item = String>) -> String {
    words.collect::<Vec<_>>().join(", ")
}

const HEAD: &str = "# The failover machine

What one node does with one mirror module. Written by `cluster/src/failover/diagram.rs` from the table in
`cluster/src/failover/table/`; `UNDERSTUDY_BLESS=1 cargo test -p cluster document` writes it anew.

A state of the contract is in parentheses behind each phase. Asking means: the intent is on disk, and the other node and the
quorum are asked ([ADR 21](adr/0021-one-right-to-go-on.md)). The engine of a primary asks by itself when it loses its
secondary; the daemon decides only promotion.

";
