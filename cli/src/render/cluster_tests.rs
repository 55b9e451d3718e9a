//! The text of a status, word by word.

use super::*;
use crate::render::worries::{Level, plugin, worries};
use crate::render::{event, watch};
use serde_json::json;

fn now() -> SystemTime {
    humantime::parse_rfc3339("2026-11-23T21:00:00Z").expect("a time")
}

fn healthy() -> Value {
    json!({
        "schema": 1, "cluster": "shop", "node": "alpha", "version": "0.1.0", "config_digest": "d",
        "quorum": { "kind": "Witness", "words": "the witness" },
        "nodes": [
            { "node": "alpha", "reachable": true, "version": "0.1.0", "config_digest": "d", "networks": [] },
            { "node": "beta", "reachable": true, "version": "0.1.0", "config_digest": "d",
              "networks": [{ "network": 0, "state": "up", "silence_seconds": 0.1 }, { "network": 1, "state": "up", "silence_seconds": 0.1 }] },
        ],
        "modules": [{
            "name": "db", "kind": "mirror", "node": "alpha", "state": "PRIM", "failover": true, "checks_on": true,
            "nodes": [
                { "node": "alpha", "state": "PRIM", "readiness": "ready", "reason": "in sync with beta", "reason_code": "in_sync",
                  "since": "2026-11-23T17:58:00Z", "data": "uptodate", "reachable": true, "config_digest": "m" },
                { "node": "beta", "state": "SECOND", "readiness": "ready", "reason": "in sync with alpha", "reason_code": "in_sync",
                  "since": "2026-11-23T20:59:30Z", "data": "uptodate", "reachable": true, "config_digest": "m" },
            ],
            "resync": null, "can_fail_over": { "now": true, "reason": "the secondary has everything", "reason_code": "in_sync" },
            "virtual_ips": [{ "name": "service", "address": "10.0.0.100/24", "interface": "eth0", "node": "alpha" }],
            "kept": [], "checks": [{ "name": "sql", "ok": true, "output": "" }],
        }],
    })
}

fn read(value: &Value) -> Cluster {
    Cluster::read(value).expect("a status")
}

#[test]
fn a_healthy_cluster() {
    assert_eq!(
        cluster(&read(&healthy()), now(), false),
        "cluster shop, seen from alpha; 2 nodes, quorum: the witness\n\
         \n\
         db  mirror  can fail over: yes, the secondary has everything [in_sync]\n  \
         NODE   STATE   DATA      READY  SINCE  WHY\n  \
         alpha  PRIM    uptodate  yes    3h 2m  in sync with beta [in_sync]\n  \
         beta   SECOND  uptodate  yes    30s    in sync with alpha [in_sync]\n  \
         address  10.0.0.100/24 (eth0) on alpha\n  \
         checks   sql passes\n"
    );
    assert_eq!(
        plugin(&read(&healthy()), None),
        (0, "UNDERSTUDY OK - db: PRIM on alpha, SECOND on beta | modules=1 critical=0 warning=0".into())
    );
}

/// The other node is gone, and much more.
fn troubled() -> Value {
    let mut status = healthy();
    status["nodes"][1]["reachable"] = json!(false);
    let module = &mut status["modules"][0];
    module["nodes"][0]["state"] = json!("ALONE");
    module["nodes"][1]["reachable"] = json!(false);
    module["nodes"][1]["readiness"] = json!("not_ready");
    module["nodes"][1]["reason"] = json!("not heard; was SECOND: in sync with alpha");
    module["nodes"][1]["reason_code"] = json!("unreachable");
    module["nodes"][1]["config_digest"] = json!("other");
    module["can_fail_over"] = json!({ "now": false, "reason": "there is no secondary that has everything", "reason_code": "alone" });
    module["virtual_ips"][0]["node"] = Value::Null;
    module["checks"][0] = json!({ "name": "sql", "ok": false, "output": "refused" });
    module["kept"] = json!([{ "id": "20260102T030405Z-0a1b2c3d", "time": "2026-01-02T03:04:05Z", "bytes": 2048, "path": "/srv/db/x" }]);
    status
}

#[test]
fn what_is_wrong_is_said_with_what_to_do() {
    let text = cluster(&read(&troubled()), now(), false);
    for line in [
        "db  mirror  can fail over: no, there is no secondary that has everything [alone]",
        "  beta   (SECOND)  uptodate  no     30s    not heard; was SECOND: in sync with alpha [unreachable]",
        "  address  10.0.0.100/24 (eth0) nowhere",
        "  checks   sql FAILS (refused)",
        "  kept     20260102T030405Z-0a1b2c3d of 2026-01-02T03:04:05Z, 2.0 KiB: /srv/db/x",
        "to look at:",
        "  db cannot fail over: there is no secondary that has everything; beta: not heard; was SECOND: in sync with alpha",
        "  check sql of db fails: refused",
        "  10.0.0.100/24 of db is on no node",
        "  1 tree of changes that lost are kept of db: `understudy kept db`",
        "  the files of db differ between the nodes: `understudy config diff`, then `understudy config push`",
        "  beta is not heard",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\nin\n{text}");
    }
    assert_eq!(plugin(&read(&troubled()), None).0, 1);
}

#[test]
fn nobody_serves_is_critical_and_comes_first() {
    let mut status = troubled();
    status["modules"][0]["nodes"][0]["state"] = json!("WAIT");
    status["modules"][0]["nodes"][0]["readiness"] = json!("not_ready");
    status["modules"][0]["nodes"][0]["reason"] = json!("outdated | waits");
    let (code, line) = plugin(&read(&status), None);
    assert_eq!(code, 2);
    assert!(line.starts_with("UNDERSTUDY CRITICAL - db serves nowhere (alpha: outdated / waits; "), "{line}");
    assert_eq!(line.matches('|').count(), 1);
    assert_eq!(worries(&read(&status))[0].level, Level::Critical);
}

#[test]
fn an_operator_s_stop_is_a_warning() {
    let mut status = healthy();
    for place in 0..2 {
        let on = &mut status["modules"][0]["nodes"][place];
        on["state"] = json!("STOP");
        on["readiness"] = json!("not_ready");
        on["reason_code"] = json!("stopped");
    }
    let (code, line) = plugin(&read(&status), Some("db"));
    assert_eq!(code, 1, "{line}");
    assert!(line.contains("stopped by the operator"), "{line}");
}

#[test]
fn networks_versions_and_files_are_compared() {
    let mut status = healthy();
    status["nodes"][1]["networks"][1] = json!({ "network": 1, "state": "down", "silence_seconds": 12.4 });
    status["nodes"][1]["version"] = json!("0.2.0");
    status["nodes"][1]["config_digest"] = json!("e");
    status["modules"][0]["failover"] = json!(false);
    let told: Vec<String> = worries(&read(&status)).iter().map(ToString::to_string).collect();
    assert_eq!(
        told,
        [
            "automatic failover of db is switched off: `understudy failover on db`",
            "network 2 to beta is down (silent for 12 s)",
            "beta runs version 0.2.0, alpha runs 0.1.0",
            "cluster.toml differs between alpha and beta: `understudy config diff`, then `understudy config push`",
        ]
    );
    assert_eq!(plugin(&read(&status), Some("db")).1.matches("network").count(), 0, "nodes are no matter of one module");
}

#[test]
fn progress_and_farms_and_colours() {
    let mut status = healthy();
    status["modules"][0]["resync"] = json!({ "phase": "content", "bytes_total": 100, "bytes_done": 50, "files_total": 2, "files_done": 1 });
    status["modules"][0]["kind"] = json!("farm");
    status["modules"][0]["farm"] = json!({ "map": { "servers": [{ "name": "alpha", "serving": true, "share": 1.0 }, { "name": "beta", "serving": false, "drained": true, "share": 0.0 }] } });
    let text = cluster(&read(&status), now(), true);
    assert!(text.contains("  resync   content: 1 of 2 files, 50 B of 100 B (50 %)\n"), "{text}");
    assert!(text.contains("  servers  alpha serves 100 %, beta does not serve 0 % (drained)\n"), "{text}");
    assert!(text.contains("\x1b[1mdb  farm\x1b[0m\n") && text.contains("\x1b[32mPRIM"), "{text}");
}

#[test]
fn an_empty_or_hostile_answer_does_not_hurt() {
    assert!(cluster(&read(&json!({})), now(), false).contains("no modules"));
    let odd = json!({ "modules": [{ "name": "a\nb", "kept": null, "checks": null, "nodes": [{ "node": "n", "since": "yesterday" }] }], "more": 1 });
    let text = cluster(&read(&odd), now(), false);
    assert!(text.contains("a b  ") && text.contains("yesterday"), "{text}");
    assert_eq!(Cluster::read(&json!({ "modules": 1 })).expect_err("no status").kind.exit_code(), 1);
}

#[test]
fn a_watch_prints_what_changed() {
    let (before, after) = (read(&healthy()), read(&troubled()));
    assert_eq!(watch::changes(None, &before).len(), 3);
    assert!(watch::changes(Some(&before), &before).is_empty());
    assert_eq!(
        watch::changes(Some(&before), &after),
        [
            "db  alpha  ALONE  in sync with beta [in_sync]",
            "db  beta  (SECOND)  not heard; was SECOND: in sync with alpha [unreachable]",
            "db  can fail over: no, there is no secondary that has everything [alone]",
        ]
    );
    assert_eq!(watch::changes(Some(&before), &Cluster::default()), ["db  is gone"]);
}

#[test]
fn events_are_lines() {
    let entry: cluster_events::Entry = serde_json::from_value(json!({
        "schema": 1, "seq": 7, "time": "2026-11-23T21:00:00.5Z", "node": "alpha", "module": "db", "kind": "state", "state": "ALONE",
        "reason": "goes on without beta:\nlost", "reason_code": "degraded", "consequence": "serves alone",
    }))
    .expect("an event");
    assert_eq!(event::step(&entry), "  alpha  ALONE  goes on without beta: lost [degraded]");
    assert_eq!(event::logged(&entry), "2026-11-23T21:00:00.5Z  alpha  ALONE   goes on without beta: lost [degraded] -> serves alone");
}

use ::cluster::module::events as cluster_events;
