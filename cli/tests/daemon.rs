//! The commands against a daemon that answers by rote: what they ask, what they print, how they end.

use fsrepl::node::control::Control;
use fsrepl::report::{Failure, FailureKind};
use serde_json::{Value, json};
use std::path::Path;
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};

/// A module of two nodes, and what it was asked.
struct Daemon {
    states: Vec<(String, String, String)>,
    /// After an order.
    then: Vec<(String, String, String)>,
    answer: Result<Value, (FailureKind, String)>,
    asked: Vec<(String, Value)>,
    ordered: bool,
    since: u32,
}

type Shared = Arc<Mutex<Daemon>>;

fn states(all: &[(&str, &str, &str)]) -> Vec<(String, String, String)> {
    all.iter().map(|(state, readiness, code)| (state.to_string(), readiness.to_string(), code.to_string())).collect()
}

fn daemon(before: &[(&str, &str, &str)], then: &[(&str, &str, &str)]) -> Shared {
    let answer = Ok(json!({ "schema": 1, "nodes": ["a", "b"] }));
    Arc::new(Mutex::new(Daemon { states: states(before), then: states(then), answer, asked: Vec::new(), ordered: false, since: 0 }))
}

const STOPPED: [(&str, &str, &str); 2] = [("STOP", "not_ready", "stopped"); 2];
const IN_SYNC: [(&str, &str, &str); 2] = [("PRIM", "ready", "in_sync"), ("SECOND", "ready", "in_sync")];
const SWAPPED: [(&str, &str, &str); 2] = [("SECOND", "ready", "in_sync"), ("PRIM", "ready", "in_sync")];

impl Daemon {
    fn status(&self) -> Value {
        let nodes: Vec<Value> = ["a", "b"]
            .iter()
            .zip(&self.states)
            .map(|(node, (state, readiness, code))| {
                json!({ "node": node, "state": state, "readiness": readiness, "reason": format!("because {code}"), "reason_code": code,
                        "since": self.since.to_string(), "reachable": true, "data": "uptodate" })
            })
            .collect();
        json!({ "schema": 1, "cluster": "c", "node": "a", "version": "1", "config_digest": "d", "nodes": [],
                "modules": [{ "name": "db", "kind": "mirror", "node": "a", "nodes": nodes, "failover": true, "checks_on": true,
                              "can_fail_over": { "now": self.states[0].0 == "PRIM", "reason": "r", "reason_code": "c" } }] })
    }

    fn answer(&mut self, verb: &str, args: &Value) -> Result<Value, Failure> {
        self.asked.push((verb.to_owned(), args.clone()));
        match verb {
            "status" => {
                let mut status = self.status();
                if args["module"].as_str().is_some_and(|name| name != "db") {
                    status["modules"] = json!([]);
                }
                Ok(status)
            }
            "log" => Ok(json!({ "schema": 1, "position": u64::from(self.ordered), "events": self.events(args) })),
            "engine" => Ok(json!({ "schema": 1, "node": "b", "answer": {} })),
            _ => self.order(args),
        }
    }

    fn events(&self, args: &Value) -> Value {
        if !self.ordered || args["after"] != 0 || args["node"] != "a" {
            return json!([]);
        }
        json!([{ "schema": 1, "seq": 1, "time": "t", "node": "a", "module": "db", "kind": "state", "state": "WAIT",
                 "reason": "it happens", "reason_code": "happens" }])
    }

    fn order(&mut self, args: &Value) -> Result<Value, Failure> {
        if args["dry_run"] != true {
            self.ordered = true;
            self.since += 1;
            self.states = self.then.clone();
        }
        self.answer.clone().map_err(|(kind, why)| Failure::new(kind, "cannot do that", why, "see `understudy status`"))
    }
}

/// Kept alive as long as it is to answer.
fn serve(run: &Path, daemon: &Shared) -> Control {
    let answering = daemon.clone();
    let directory = cluster::daemon::socket_directory(run);
    std::fs::create_dir_all(&directory).expect("made");
    let answer = move |verb: &str, args: &Value| answering.lock().expect("whole").answer(verb, args);
    Control::start(&directory, cluster::daemon::SOCKET, answer).expect("it answers")
}

fn understudy(run: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_understudy"));
    command.arg("--run").arg(run).args(args).env_remove("RUST_LOG").env("UNDERSTUDY_LOG", "off");
    command.output().expect("the binary runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// What it printed, when it ended with this code; a failure is one line that says so.
fn ends(daemon: &Shared, args: &[&str], code: i32, says: &str) -> String {
    let run = tempfile::tempdir().expect("a directory");
    let _control = serve(run.path(), daemon);
    let output = understudy(run.path(), args);
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "{args:?}: {stdout}{stderr}");
    assert_eq!(stderr.lines().count(), usize::from(code != 0), "{args:?}: {stderr}");
    assert!(format!("{stdout}{stderr}").contains(says), "{args:?}: {stdout}{stderr}");
    stdout
}

fn was_asked(daemon: &Shared, verb: &str) -> Vec<Value> {
    daemon.lock().expect("whole").asked.iter().filter(|(asked, _)| asked == verb).map(|(_, args)| args.clone()).collect()
}

#[test]
fn a_start_waits_until_all_have_arrived() {
    let stdout = ends(&daemon(&STOPPED, &IN_SYNC), &["start", "db"], 0, "");
    assert!(stdout.starts_with("db: PRIM on a, SECOND on b (") && stdout.lines().count() == 1, "{stdout}");
}

#[test]
fn steps_and_the_end_are_lines_of_json() {
    let daemon = daemon(&IN_SYNC, &SWAPPED);
    daemon.lock().expect("whole").answer = Ok(json!({ "schema": 1, "node": "a", "follows": "swap" }));
    let stdout = ends(&daemon, &["--json", "swap", "db"], 0, "");
    let lines: Vec<Value> = stdout.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let last = lines.last().expect("a line");
    assert!(lines.iter().all(|line| line["schema"] == 1));
    assert_eq!((&last["event"], &last["verb"], &last["nodes"][1]["state"]), (&json!("done"), &json!("swap"), &json!("PRIM")));
}

#[test]
fn a_refusal_is_3_with_the_reason() {
    let daemon = daemon(&IN_SYNC, &IN_SYNC);
    daemon.lock().expect("whole").answer = Err((FailureKind::Refused, "the secondary is not ready".into()));
    ends(&daemon, &["swap", "db"], 3, "the secondary is not ready");
    ends(&daemon, &["swap", "db", "--dry-run"], 3, "the secondary is not ready");
}

#[test]
fn what_does_not_arrive_is_4_and_what_cannot_go_on_is_3() {
    let looking = [("WAIT", "not_ready", "looking"), ("WAIT", "not_ready", "looking")];
    ends(&daemon(&STOPPED, &looking), &["start", "db", "--timeout", "300ms"], 4, "start db is not done yet");
    let first = [("WAIT", "not_ready", "first_start"), ("WAIT", "not_ready", "first_start")];
    ends(&daemon(&STOPPED, &first), &["start", "db"], 3, "cannot go on by itself: WAIT on a: because first_start");
    let gave_up = [("STOP", "not_ready", "exhausted"), ("STOP", "not_ready", "exhausted")];
    ends(&daemon(&STOPPED, &gave_up), &["start", "db"], 1, "STOP on a: because exhausted");
}

#[test]
fn a_node_that_did_not_take_the_order_is_named() {
    let one = daemon(&STOPPED, &[("ALONE", "ready", "alone"), ("STOP", "not_ready", "stopped")]);
    one.lock().expect("whole").answer =
        Ok(json!({ "schema": 1, "nodes": ["a"], "failed": { "node": "b", "error": "cannot ask b: not reachable" } }));
    let stdout = ends(&one, &["start", "db"], 1, "`understudy start db --node b` when it is back");
    assert!(stdout.starts_with("db: ALONE on a"), "{stdout}");
}

#[test]
fn without_waiting_and_only_trying() {
    let daemon = daemon(&IN_SYNC, &IN_SYNC);
    ends(&daemon, &["stop", "db", "--no-wait"], 0, "db: stop ordered on a, b");
    daemon.lock().expect("whole").answer = Ok(json!({ "nodes": ["a"], "follows": [{ "node": "a", "follows": "stops" }], "failed": null }));
    ends(&daemon, &["stop", "db", "--dry-run"], 0, "db on a: would follow: stops");
    ends(&daemon, &["checks", "off", "db", "--dry-run"], 0, "db on b: would follow: checks are off");
    assert!(was_asked(&daemon, "checks").is_empty(), "a switch that cannot be tried is not touched");
    assert_eq!(was_asked(&daemon, "stop").last().expect("asked")["dry_run"], true);
}

#[test]
fn a_promotion_says_what_is_lost() {
    let serves = [("ALONE", "ready", "alone"), ("STOP", "not_ready", "stopped")];
    let daemon = daemon(&[("WAIT", "not_ready", "outdated"), ("STOP", "not_ready", "stopped")], &serves);
    daemon.lock().expect("whole").answer = Ok(json!({ "schema": 1, "node": "a", "follows": "f" }));
    let stdout = ends(&daemon, &["promote", "db", "--accept", "outdated"], 0, "");
    assert!(stdout.starts_with("accepted as lost: everything that b wrote"), "{stdout}");
    assert_eq!(was_asked(&daemon, "promote")[0]["accept"], "outdated");
    daemon.lock().expect("whole").answer = Err((FailureKind::Refused, "no promotion without a word: what is lost is outdated".into()));
    ends(&daemon, &["promote", "db"], 3, "`understudy promote db --accept outdated`");
}

#[test]
fn switches_are_kept_at_once() {
    let daemon = daemon(&IN_SYNC, &IN_SYNC);
    ends(&daemon, &["failover", "off", "db"], 0, "db on a, b: automatic failover is off");
    assert_eq!(was_asked(&daemon, "failover")[0]["on"], false);
    ends(&daemon, &["drain", "db"], 2, "only servers of farms are drained");
    ends(&daemon, &["reset", "db"], 0, "forgotten");
}

#[test]
fn status_is_the_daemon_s() {
    let healthy = daemon(&IN_SYNC, &IN_SYNC);
    let told: Value = serde_json::from_str(&ends(&healthy, &["status", "--json"], 0, "")).expect("JSON");
    assert_eq!(told, healthy.lock().expect("whole").status());
    ends(&healthy, &["status", "db"], 0, "db  mirror  can fail over: yes");
    ends(&healthy, &["status", "nothing"], 2, "name one of: db");
    ends(&healthy, &["status", "--check"], 0, "UNDERSTUDY OK - db: PRIM on a, SECOND on b |");
    ends(&daemon(&STOPPED, &STOPPED), &["status", "--check"], 1, "UNDERSTUDY WARNING");
    let waits = [("WAIT", "not_ready", "outdated"); 2];
    ends(&daemon(&waits, &waits), &["status", "--check", "db"], 2, "UNDERSTUDY CRITICAL - db serves nowhere");
}

#[test]
fn a_wait_is_for_this_node_unless_another_is_named() {
    let daemon = daemon(&IN_SYNC, &IN_SYNC);
    ends(&daemon, &["wait", "db", "--state", "PRIM"], 0, "");
    ends(&daemon, &["wait", "db", "--state", "SECOND", "--node", "b"], 0, "");
    ends(&daemon, &["wait", "db", "--state", "SECOND", "--timeout", "300ms"], 4, "db is not SECOND on a");
    ends(&daemon, &["wait", "db", "--state", "PRIM", "--node", "z"], 2, "name one of a, b");
}

#[test]
fn an_engine_is_asked_where_the_module_leads() {
    let daemon = daemon(&SWAPPED, &SWAPPED);
    ends(&daemon, &["sync", "db"], 0, "");
    assert_eq!(was_asked(&daemon, "engine")[0]["verb"], "sync");
    ends(&daemon, &["sync", "nothing"], 2, "name one of: db");
}

#[test]
fn without_a_daemon_it_is_6_and_says_how_to_start_one() {
    let run = tempfile::tempdir().expect("a directory");
    for args in
        [&["start", "db"][..], &["swap", "db"], &["log", "db", "--follow"], &["wait", "db", "--state", "UP"], &["reload"], &["shutdown"]]
    {
        let output = understudy(run.path(), args);
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(6), "{args:?}: {stderr}");
        assert!(stderr.starts_with("understudy: cannot reach the daemon of this node: none runs here; start it"), "{stderr}");
    }
    let output = understudy(run.path(), &["status", "--check"]);
    assert_eq!((output.status.code(), text(&output.stdout).starts_with("UNDERSTUDY UNKNOWN - ")), (Some(3), true));
}

#[test]
fn a_configuration_is_begun_and_a_module_made() {
    let dir = tempfile::tempdir().expect("a directory");
    let config = dir.path().join("config");
    let words = config.to_str().expect("plain").to_owned();
    let understudy = |args: &[&str]| {
        let output = understudy(dir.path(), &[&["--config", &words], args].concat());
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    };
    let init = ["init", "--name", "shop", "--node", "node1=203.0.113.1", "--node", "node2=203.0.113.2"];
    assert_eq!(understudy(&["init", "--name", "a b", "--node", "x=10.0.0.1"]).0, Some(2));
    assert!(!config.join("cluster.toml").exists());
    let made = understudy(&init);
    assert_eq!(made.0, Some(0), "{made:?}");
    assert!(config.join("cluster.key").exists());
    let again = understudy(&init);
    assert!(again.0 == Some(1) && again.2.contains("it is there already"), "{again:?}");
    let create = ["module", "create", "db", "--from", "mirror", "--set", "directory=/srv/db"];
    let made = understudy(&[&create[..], &["--dry-run"]].concat());
    assert!(made.0 == Some(0) && made.1.contains("==> module.toml <==") && !config.join("modules").exists(), "{made:?}");
    let missing = understudy(&create[..5]);
    assert!(missing.0 == Some(2) && missing.2.contains("directory"), "{missing:?}");
    assert_eq!(understudy(&["module", "create", "db", "--from", "nothing"]).0, Some(2));
    let checked = understudy(&["config", "check"]);
    assert_eq!(checked.0, Some(0), "{checked:?}");
    assert_eq!(understudy(&["module", "templates", "mirror"]).0, Some(0));
}

#[test]
fn a_support_file_is_made_without_a_daemon_and_holds_no_secrets() {
    let dir = tempfile::tempdir().expect("a directory");
    let config = dir.path().join("config");
    std::fs::create_dir_all(config.join("modules/db")).expect("made");
    std::fs::write(config.join("modules/db/module.toml"), "[variables]\nPASS = \"hunter2\"\n").expect("written");
    std::fs::write(config.join("cluster.key"), "secret").expect("written");
    let file = dir.path().join("support.json");
    let words = [config.to_str(), dir.path().to_str(), file.to_str()].map(|path| path.expect("plain"));
    let args = ["--config", words[0], "--state", words[1], "support", words[2]];
    let output = understudy(dir.path(), &args);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let bundle = std::fs::read_to_string(&file).expect("made");
    assert!(bundle.contains("modules/db/module.toml") && !bundle.contains("hunter2") && !bundle.contains("secret"), "{bundle}");
    assert_eq!(understudy(dir.path(), &args).status.code(), Some(1), "never over another file");
}
