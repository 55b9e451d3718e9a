//! Known-bad variants: each has to be caught, or the judges are worth nothing.

use cluster::failover::{Guard, Phase, Row, Trigger, View, table};
use cluster::heartbeat::Presence;
use std::sync::Arc;

/// What is wrong on purpose.
#[derive(Clone, Copy, Debug, Default)]
pub struct Bad {
    /// The engine acknowledges alone before it is granted.
    pub acks_before_grant: bool,
    /// A node says yes and does not record that it did.
    pub consent_unrecorded: bool,
    /// The primary does not record that the secondary may have what is acknowledged.
    pub closes_in_unrecorded: bool,
    /// The secondary overwrites its copy without recording that it is torn.
    pub follows_unrecorded: bool,
    /// The secondary confirms that the primary survives and does not record it.
    pub follower_forgets: bool,
    /// The witness grants claims and does not keep them.
    pub witness_forgets: bool,
    /// Another table.
    pub table: Option<fn(Vec<Row>) -> Vec<Row>>,
}

impl Bad {
    pub(super) fn rows(&self) -> Arc<[Row]> {
        let rows = table::rows();
        match self.table {
            Some(change) => change(rows).into(),
            None => rows.into(),
        }
    }
}

/// A lost peer is enough, whatever this node's data is.
pub fn leads_with_anything(mut rows: Vec<Row>) -> Vec<Row> {
    let lost = |view: &View| view.presence == Presence::Lost && view.replica.current.is_some();
    for row in rows.iter_mut().filter(|row| row.code == "asking" && row.when.words == "peer lost, may lead") {
        row.when = Guard { words: "peer lost", test: lost };
    }
    rows.retain(|row| !["outdated", "inconsistent", "power_cut", "secondary_waits", "right_at_peer"].contains(&row.code));
    rows
}

/// Promoted without a question.
pub fn promotes_without_asking(mut rows: Vec<Row>) -> Vec<Row> {
    let granted: Vec<Row> = rows.iter().filter(|row| row.on == Trigger::Granted).copied().collect();
    for row in rows.iter_mut().filter(|row| row.code == "asking" && row.to == Some(Phase::Asking)) {
        (row.to, row.actions) = (granted[0].to, granted[0].actions);
    }
    rows
}

/// Who waits for its peer never asks.
pub fn never_asks(mut rows: Vec<Row>) -> Vec<Row> {
    rows.retain(|row| row.to != Some(Phase::Asking));
    rows
}

/// A node that was refused serves on.
pub fn ignores_refusals(mut rows: Vec<Row>) -> Vec<Row> {
    rows.retain(|row| row.code != "fenced" && row.code != "superseded" && row.code != "split_lost");
    rows
}
