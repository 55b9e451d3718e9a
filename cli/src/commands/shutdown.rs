//! `understudy shutdown`: everything on this node stops in order, because the machine goes down. Others take over, and
//! what runs here runs again after the start.

use crate::args::{Global, ShutdownArgs};
use crate::{node, output};
use fsrepl::node::options::Outcome;
use fsrepl::report::{Failure, FailureKind};
use serde_json::json;
use std::process::Command;

pub fn run(args: &ShutdownArgs, global: &Global) -> Outcome {
    if args.with_system && !system_stops()? {
        return Ok(());
    }
    if args.dry_run {
        return dry(global);
    }
    let answer = node::ask(global, "shutdown", &json!({}), args.timeout)?;
    output::line(&if global.json {
        json!({ "schema": output::SCHEMA, "event": "done", "verb": "shutdown", "stopped": answer["stopped"] }).to_string()
    } else {
        format!("{} modules have stopped here; they start again with the machine", answer["stopped"])
    });
    Ok(())
}

fn dry(global: &Global) -> Outcome {
    let (_, cluster) = node::status(global, None)?;
    let runs = |module: &&crate::model::Module| module.on(&cluster.node).is_some_and(|on| on.state != "STOP");
    let names: Vec<&str> = cluster.modules.iter().filter(runs).map(|module| module.name.as_str()).collect();
    output::line(&if global.json {
        json!({ "schema": output::SCHEMA, "event": "dry_run", "verb": "shutdown", "modules": names }).to_string()
    } else {
        format!("would stop on {}: {}", cluster.node, if names.is_empty() { "nothing".to_owned() } else { names.join(", ") })
    });
    Ok(())
}

/// systemd calls what stops a unit for a restart of the unit as well.
fn system_stops() -> Result<bool, Failure> {
    let asked = Command::new("systemctl").arg("is-system-running").output().map_err(|why| {
        let cure = "leave --with-system away where there is no systemd";
        Failure::new(FailureKind::Failed, "cannot ask systemd whether the system is stopping", why.to_string(), cure)
    })?;
    Ok(String::from_utf8_lossy(&asked.stdout).trim() == "stopping")
}
