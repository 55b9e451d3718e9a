//! What is shown of a module on a node: made by its thread, read by everybody.

use super::mirror::Agreeing;
use super::mirror::Disk;
use crate::config::Module;
use crate::engine::View;
use crate::failover::{Facts, Machine, Phase, Readiness, State};
use crate::heartbeat::Presence;
use crate::module::checks::Checks;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::time::SystemTime;
use uuid::Uuid;

/// One module on one node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    /// `mirror`, `farm`, `service`.
    pub kind: String,
    /// The contract's word.
    pub state: String,
    /// `ready`, `transient`, `not_ready`.
    pub readiness: Readiness,
    /// Why.
    pub reason: String,
    /// Stable.
    pub reason_code: String,
    /// RFC 3339.
    pub since: String,
    /// What is known of the data; empty where there is none.
    pub data: String,
    /// Of the data.
    pub generation: Option<Uuid>,
    /// It serves, and is ready: the health answer.
    pub serves: bool,
    /// Progress of a resync.
    pub resync: Value,
    /// How each directory is, where there are several.
    #[serde(default)]
    pub directories: Vec<Value>,
    /// Whether the other node could take over now, with the reason.
    pub can_fail_over: Value,
    /// Addresses that are on here.
    pub addressed: bool,
    /// Automatic failover.
    pub failover_on: bool,
    /// Checks run.
    pub checks_on: bool,
    /// Their results.
    pub checks: Value,
    /// Where the machine is: for those who look closer.
    pub phase: String,
}

/// RFC 3339 with fractions.
pub fn rfc3339(time: SystemTime) -> String {
    humantime::format_rfc3339_millis(time).to_string()
}

impl Snapshot {
    /// Of a mirror.
    pub fn of_mirror(
        machine: &Machine,
        module: &Module,
        disk: &Disk,
        view: Option<&View>,
        checks: &Checks,
        agreeing: &Agreeing,
    ) -> Snapshot {
        let phase = machine.phase();
        let (reason, code) = machine.reason();
        let state = phase.state(machine.view().in_sync);
        let data = disk.replica().data;
        let serves = matches!(phase, Phase::Alone | Phase::Prim);
        Snapshot {
            kind: "mirror".into(),
            state: state.word().into(),
            readiness: phase.readiness(),
            reason: reason.into(),
            reason_code: code.into(),
            since: String::new(),
            data: json!(data).as_str().unwrap_or_default().into(),
            generation: disk.replica().current,
            serves,
            resync: view.map_or(Value::Null, |view| view.resync.clone()),
            directories: view.map_or_else(Vec::new, |view| view.directories.clone()),
            can_fail_over: can_fail_over(machine, agreeing),
            addressed: false,
            failover_on: machine.view().policy.failover,
            checks_on: true,
            checks: if module.checks.is_empty() { json!([]) } else { checks_value(checks) },
            phase: format!("{phase:?}"),
        }
    }

    /// Of a module without a replica.
    pub fn plain(kind: &str, state: &str, readiness: Readiness, reason: &str, code: &str) -> Snapshot {
        Snapshot {
            kind: kind.into(),
            state: state.into(),
            readiness,
            reason: reason.into(),
            reason_code: code.into(),
            since: String::new(),
            data: String::new(),
            generation: None,
            serves: state == "UP" && readiness == Readiness::Ready,
            resync: Value::Null,
            directories: Vec::new(),
            can_fail_over: json!({ "now": false, "reason": "there is no secondary", "reason_code": "not_a_mirror" }),
            addressed: false,
            failover_on: false,
            checks_on: true,
            checks: json!([]),
            phase: state.into(),
        }
    }
}

/// For `status`.
pub fn checks_value(checks: &Checks) -> Value {
    checks
        .status()
        .iter()
        .map(|check| json!({ "name": check.name, "ok": check.ok, "since": rfc3339(check.since), "output": check.output }))
        .collect()
}

fn can_fail_over(machine: &Machine, agreeing: &Agreeing) -> Value {
    let view = machine.view();
    let no = |reason: &str, code: &str| json!({ "now": false, "reason": reason, "reason_code": code });
    match machine.phase().state(view.in_sync) {
        State::Prim if !view.policy.failover => no("automatic failover is off", "failover_off"),
        State::Prim if view.presence != Presence::Heard => no("the other node is not heard", "peer_lost"),
        State::Prim if !view.peer_ready() => no("the secondary is not ready", "secondary_not_ready"),
        State::Prim if agreeing.armed() == Some(false) => {
            no("the quorum does not answer: until it does, the primary survives and the secondary may not be promoted", "quorum_away")
        }
        State::Prim => json!({ "now": true, "reason": "the secondary has everything", "reason_code": "in_sync" }),
        State::Second if machine.phase() == Phase::Second => {
            json!({ "now": true, "reason": "this node has everything", "reason_code": "in_sync" })
        }
        State::Second => no("this node does not have everything yet", "resync"),
        State::Alone => no("there is no secondary that has everything", "alone"),
        _ => no("the module does not serve here", "not_serving"),
    }
}

/// What a peer is told of a module.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Shown {
    /// For decisions; none for modules that need none.
    pub facts: Option<Facts>,
    /// For people.
    pub snapshot: Snapshot,
}
