//! The text of metrics.

use super::super::figures::{AddressFigures, Connections, Figures, ModuleFigures, PeerFigures};
use super::super::metrics::text;
use crate::daemon::Snapshot;
use crate::failover::Readiness;
use crate::heartbeat::{LinkState, Presence};
use serde_json::json;
use std::collections::BTreeSet;
use std::time::Duration;

fn mirror() -> ModuleFigures {
    let mut shown = Snapshot::plain("mirror", "PRIM", Readiness::Ready, "in sync with node2", "in_sync");
    shown.data = "uptodate".into();
    shown.serves = true;
    shown.failover_on = true;
    shown.can_fail_over = json!({ "now": true });
    shown.checks = json!([{ "name": "sql", "ok": true }, { "name": "disk", "ok": false }, { "name": "new", "ok": null }]);
    shown.resync = json!({ "bytes_total": 100, "bytes_done": 40, "files_total": 3, "files_done": 1, "rate_bytes_per_second": 12.5, "eta_seconds": null });
    ModuleFigures {
        name: "pg".into(),
        shown,
        age: Some(Duration::from_millis(1500)),
        restarts: 2,
        addresses: vec![AddressFigures { address: "10.0.0.100".into(), held: true }],
        replicates: true,
        engine: Some(json!({
            "directory": "/var/lib/secret",
            "kept": [{ "bytes": 10, "path": "/var/lib/secret/kept" }, { "bytes": 5 }],
            "counters": {
                "sequence": 12, "acknowledged": 10, "operations_sent": 11, "bytes_sent": 4096, "objects": 7,
                "dirty_log_flushes": 3, "dirty_log_hot_hits": 4, "dirty_log_slots": 5,
            },
        })),
        farm: None,
    }
}

fn farm() -> ModuleFigures {
    let farm = json!({ "drained": true, "trouble": null, "map": { "trouble": null, "servers": [{ "name": "node1", "share": 0.25 }] } });
    let shown = Snapshot::plain("farm", "UP", Readiness::Transient, "drained", "drained");
    ModuleFigures {
        name: "web".into(),
        shown,
        age: None,
        restarts: 0,
        addresses: vec![],
        replicates: false,
        engine: None,
        farm: Some(farm),
    }
}

fn figures() -> Figures {
    Figures {
        version: "1.2.3".into(),
        cluster: "demo".into(),
        node: "node1".into(),
        quorum: "witness".into(),
        modules: vec![mirror(), farm()],
        peers: vec![PeerFigures {
            name: "node2".into(),
            presence: Presence::Heard,
            networks: vec![(0, LinkState::Up, Duration::from_millis(20)), (1, LinkState::Down, Duration::from_secs(9))],
        }],
        connections: vec![Connections { port: "public", open: 1, refused: 6 }],
    }
}

#[test]
fn every_figure_is_told() {
    let page = text(figures()).unwrap();
    for line in [
        r#"understudy_build_info{version="1.2.3"} 1"#,
        r#"understudy_node_info{cluster="demo",node="node1",quorum="witness"} 1"#,
        r#"understudy_http_connections_refused_total{port="public"} 6"#,
        r#"understudy_module_state{module="pg",state="PRIM"} 1"#,
        r#"understudy_module_state{module="pg",state="ALONE"} 0"#,
        r#"understudy_module_info{module="pg",kind="mirror",reason_code="in_sync"} 1"#,
        r#"understudy_module_readiness{module="pg",readiness="ready"} 1"#,
        r#"understudy_module_role{module="pg",role="primary"} 1"#,
        r#"understudy_module_data{module="pg",data="uptodate"} 1"#,
        r#"understudy_module_in_sync{module="pg"} 1"#,
        r#"understudy_module_can_fail_over{module="pg"} 1"#,
        r#"understudy_module_state_age_seconds{module="pg"} 1.5"#,
        r#"understudy_module_serves{module="pg"} 1"#,
        r#"understudy_module_serves{module="web"} 0"#,
        r#"understudy_module_failover_enabled{module="pg"} 1"#,
        r#"understudy_application_restarts_total{module="pg"} 2"#,
        r#"understudy_check_result{module="pg",check="sql",result="pass"} 1"#,
        r#"understudy_check_result{module="pg",check="disk",result="fail"} 1"#,
        r#"understudy_check_result{module="pg",check="new",result="unknown"} 1"#,
        r#"understudy_virtual_ip_held{module="pg",address="10.0.0.100"} 1"#,
        r#"understudy_resync_active{module="pg"} 1"#,
        r#"understudy_resync_bytes{module="pg"} 100"#,
        r#"understudy_resync_done_bytes{module="pg"} 40"#,
        r#"understudy_resync_rate_bytes_per_second{module="pg"} 12.5"#,
        r#"understudy_engine_up{module="pg"} 1"#,
        r#"understudy_engine_sent_bytes_total{module="pg"} 4096"#,
        r#"understudy_engine_operations_unacknowledged{module="pg"} 2"#,
        r#"understudy_engine_dirty_log_flushes_total{module="pg"} 3"#,
        r#"understudy_kept_trees{module="pg"} 2"#,
        r#"understudy_kept_bytes{module="pg"} 15"#,
        r#"understudy_farm_drained{module="web"} 1"#,
        r#"understudy_farm_share_ratio{module="web",server="node1"} 0.25"#,
        r#"understudy_peer_heard{peer="node2"} 1"#,
        r#"understudy_network_state{peer="node2",network="1",state="down"} 1"#,
        r#"understudy_heartbeat_silence_seconds{peer="node2",network="1"} 9"#,
    ] {
        let found = page.lines().any(|found| found == line || found == format!("{line}.0"));
        assert!(found, "{line}\nin\n{page}");
    }
    assert!(page.ends_with("# EOF\n"));
    assert!(!page.contains('/') && !page.contains("secret"), "no paths");
    assert!(!page.contains("resync_eta_seconds"), "what is not known is not told");
}

#[test]
fn a_name_appears_once_and_every_one_is_documented() {
    let mut all = figures();
    all.modules[0].shown.resync["eta_seconds"] = json!(7);
    all.modules[0].engine.as_mut().unwrap()["counters"]["applied"] = json!(1);
    let page = text(all).unwrap();
    let document = include_str!("../../../../../docs/http.md");
    let mut seen = BTreeSet::new();
    for (name, kind) in page.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' ')) {
        assert!(seen.insert(name.to_owned()), "{name} twice");
        let name = if kind == "counter" { format!("{name}_total") } else { name.to_owned() };
        assert!(document.contains(&format!("`{name}`")), "docs/http.md does not name {name}");
    }
    assert!(seen.len() > 30);
}

#[test]
fn a_name_with_quotes_spoils_nothing() {
    let mut odd = figures();
    odd.peers[0].name = "a\"b\\c\nd".into();
    assert!(text(odd).unwrap().contains(r#"understudy_peer_heard{peer="a_b_c_d"} 1"#));
}
