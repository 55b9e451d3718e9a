//! `understudy status`: what the daemon knows of all nodes, and the engines of this node that no daemon started.

use crate::args::{Global, StatusArgs};
use crate::model::Cluster;
use crate::{engine, logging, names, node, output, render};
use fsrepl::node::options::Outcome;
use fsrepl::report::{Failure, FailureKind};
use serde_json::{Value, json};
use std::io::IsTerminal;
use std::path::Path;
use std::time::{Duration, SystemTime};

/// An engine answers from memory; one that does not is stuck, and says so sooner than the operator gives up.
const ANSWER: Duration = Duration::from_secs(5);
/// Between two looks.
const LOOK: Duration = Duration::from_secs(1);
/// Clears the screen and goes to its top.
const CLEAR: &str = "\x1b[H\x1b[2J";

pub fn run(args: &StatusArgs, global: &Global) -> Outcome {
    if args.check {
        return check(args.name.as_deref(), global);
    }
    if args.watch {
        return watch(args.name.as_deref(), global);
    }
    let status = Status::look(args.name.as_deref(), global)?;
    if global.json {
        output::line(&status.json().to_string());
    } else {
        output::text(&status.text(logging::colours(&std::io::stdout())));
    }
    Ok(())
}

/// Of the daemon if one runs, and of engines that are none of its modules'.
struct Status {
    daemon: Option<(Value, Cluster)>,
    replicas: Vec<Value>,
}

impl Status {
    fn look(name: Option<&str>, global: &Global) -> Result<Status, Failure> {
        let daemon = match node::status(global, None) {
            Ok(status) => Some(status),
            Err(failure) if node::is_away(&failure) => None,
            Err(failure) => return Err(failure),
        };
        let Some((value, cluster)) = daemon else {
            return Ok(Status { daemon: None, replicas: engines(name, global)? });
        };
        let running: Vec<String> = engine::list(&global.run)?.into_iter().filter(|running| !cluster.owns(running)).collect();
        match name {
            None => {
                let replicas = if running.is_empty() { Vec::new() } else { all(&global.run, &running)? };
                Ok(Status { daemon: Some((value, cluster)), replicas })
            }
            Some(name) if cluster.module(name).is_some() => {
                let one = node::status(global, Some(name))?;
                Ok(Status { daemon: Some(one), replicas: Vec::new() })
            }
            Some(word) => {
                let name = names::running(word, &running);
                if running.contains(&name) {
                    return Ok(Status { daemon: None, replicas: vec![engine::call(&global.run, &name, "status", ANSWER)?] });
                }
                Err(node::module(global, word).err().unwrap_or_else(|| nothing(&global.run)))
            }
        }
    }

    /// The daemon's answer is the contract's form; without one the replicas are what there is.
    fn json(&self) -> Value {
        match &self.daemon {
            None => json!({ "schema": output::SCHEMA, "modules": self.replicas }),
            Some((value, _)) if self.replicas.is_empty() => value.clone(),
            Some((value, _)) => {
                let mut value = value.clone();
                value["replicas"] = json!(self.replicas);
                value
            }
        }
    }

    fn text(&self, colours: bool) -> String {
        let now = SystemTime::now();
        let mut blocks: Vec<String> = self.replicas.iter().map(|replica| render::replica(replica, now)).collect();
        if let Some((_, cluster)) = &self.daemon {
            blocks.insert(0, render::cluster::cluster(cluster, now, colours));
        }
        blocks.join("\n")
    }
}

fn engines(name: Option<&str>, global: &Global) -> Result<Vec<Value>, Failure> {
    let running = engine::list(&global.run)?;
    match name {
        Some(word) => Ok(vec![engine::call(&global.run, &names::running(word, &running), "status", ANSWER)?]),
        None => all(&global.run, &running),
    }
}

/// Every replica that answers, and for the others why they do not; a failure if none does.
fn all(run: &Path, running: &[String]) -> Result<Vec<Value>, Failure> {
    let mut replicas = Vec::new();
    let mut last = None;
    for name in running {
        match engine::call(run, name, "status", ANSWER) {
            Ok(replica) => replicas.push(replica),
            Err(failure) => {
                replicas.push(json!({"name": name, "error": failure.to_string()}));
                last = Some(failure);
            }
        }
    }
    let answered = replicas.iter().any(|replica| replica.get("error").is_none());
    match (answered, last) {
        (true, _) => Ok(replicas),
        (false, Some(failure)) => Err(failure),
        (false, None) => Err(nothing(run)),
    }
}

fn nothing(run: &Path) -> Failure {
    Failure::new(
        FailureKind::Unreachable,
        "no status",
        format!("no daemon and no replica runs here (no control socket in {})", run.display()),
        "start the daemon with `systemctl start understudy`, or a replica with `understudy mount` or `understudy receive`, \
         or name the right --run directory",
    )
}

/// For a monitoring system. Its codes 1 to 3 are those of other kinds of failures here.
fn check(name: Option<&str>, global: &Global) -> Outcome {
    let known = match name {
        Some(name) => node::module(global, name).and_then(|_| node::status(global, Some(name))),
        None => node::status(global, None),
    };
    let (code, line) = match known {
        Ok((_, cluster)) => render::worries::plugin(&cluster, name),
        Err(failure) => (3, format!("UNDERSTUDY UNKNOWN - {}", output::one_line(&failure.to_string()))),
    };
    if global.json {
        output::line(&json!({ "schema": output::SCHEMA, "code": code, "text": line }).to_string());
    } else {
        output::line(&line);
    }
    let kind = match code {
        0 => return Ok(()),
        1 => FailureKind::Failed,
        2 => FailureKind::Usage,
        _ => FailureKind::Refused,
    };
    Err(Failure::new(kind, "not everything is fine", line, "see `understudy status`"))
}

/// Until it is interrupted. Once something was shown, a daemon that goes away is waited for.
fn watch(name: Option<&str>, global: &Global) -> Outcome {
    let terminal = std::io::stdout().is_terminal() && !global.json;
    let mut before: Option<Status> = None;
    let mut trouble = None;
    loop {
        match Status::look(name, global) {
            Ok(now) => {
                trouble = None;
                if terminal {
                    output::text(&format!("{CLEAR}{}", now.text(logging::colours(&std::io::stdout()))));
                } else {
                    tell_changes(before.as_ref(), &now, global.json);
                }
                before = Some(now);
            }
            Err(failure) if before.is_none() => return Err(failure),
            Err(failure) => {
                let text = failure.to_string();
                if trouble.as_ref() != Some(&text) {
                    output::complain(&failure);
                }
                trouble = Some(text);
            }
        }
        std::thread::sleep(LOOK);
    }
}

fn tell_changes(before: Option<&Status>, now: &Status, json: bool) {
    let told = |status: &Status| still(status.json());
    if json {
        if before.is_none_or(|before| told(before) != told(now)) {
            output::line(&now.json().to_string());
        }
        return;
    }
    let time = output::time(SystemTime::now());
    if let Some((_, cluster)) = &now.daemon {
        let old = before.and_then(|before| before.daemon.as_ref()).map(|(_, cluster)| cluster);
        render::watch::changes(old, cluster).iter().for_each(|line| output::line(&format!("{time}  {line}")));
    }
    let state = |replica: &Value| ["name", "state", "data", "reason"].map(|key| replica[key].as_str().unwrap_or("?").to_owned());
    for replica in &now.replicas {
        if !before.is_some_and(|before| before.replicas.iter().any(|old| state(old) == state(replica))) {
            output::line(&output::one_line(&format!("{time}  {}", state(replica).join("  "))));
        }
    }
}

/// Without what moves while nothing changes.
fn still(mut status: Value) -> Value {
    for node in status["nodes"].as_array_mut().into_iter().flatten() {
        for network in node["networks"].as_array_mut().into_iter().flatten() {
            network["silence_seconds"] = Value::Null;
        }
    }
    for replica in ["modules", "replicas"] {
        for one in status[replica].as_array_mut().into_iter().flatten() {
            one["counters"] = Value::Null;
        }
    }
    status
}
