//! Everything compared by code that the product does not use.

use super::work::Work;
use crate::demo::app::App;
use crate::demo::node::MODULE;
use crate::demo::show::{Show, latencies_json, thousands};
use crate::demo::stage::{Stage, broken};
use crate::demo::{failed, listing, verdict};
use fsrepl::node::options::Outcome;
use fsrepl::report::Failure;
use serde_json::json;
use std::fs;
use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, Stdio};

/// Differences that are shown.
const SHOWN: usize = 5;

/// Ends the clients, and compares: record with data, tree with what was written, both trees with each other.
pub fn compare(stage: &Stage, work: Work, app: App, show: &mut Show) -> Outcome {
    show.head("6  Compared, by code that the product does not use");
    let latencies = work.stop()?;
    show.fact("all", latencies_json(&latencies));
    let findings = app.findings(stage, 1)?;
    show.findings(app.unit(), &findings);
    show.fact("result", json!(findings));
    verdict(&findings)?;
    let text = if app == App::Ledger { trees(stage)? } else { stopped(stage)? };
    let excluded = stage.excluded()?;
    let [first, second] = text.map(|text| listing::without(&text, &excluded));
    let differing = listing::differing(&first, &second, SHOWN);
    let count = first.lines().count();
    show.fact("compared", json!({ "paths": count, "equal": differing.is_empty(), "differing": differing }));
    if !differing.is_empty() {
        return Err(broken("the nodes' trees differ", differing.join(", ")));
    }
    show.step("trees", format!("{} paths of node1 and node2: equal", thousands(count as u64)));
    show.step("", "names, types, content, modes, owners, times to the nanosecond, links, attributes");
    if app == App::Ledger { written(stage, show) } else { Ok(()) }
}

/// As both nodes show them, with nothing in flight.
fn trees(stage: &Stage) -> Result<[String; 2], Failure> {
    stage.nodes[1].call("engine", &json!({ "module": MODULE, "verb": "sync" }))?;
    let started = [list(stage, 0)?, list(stage, 1)?];
    let [first, second] = started.map(|(child, path)| read(child, path));
    Ok([first?, second?])
}

/// A database writes by itself: its module is stopped on both nodes.
fn stopped(stage: &Stage) -> Result<[String; 2], Failure> {
    stage.nodes[1].call("stop", &json!({ "module": MODULE }))?;
    for node in &stage.nodes {
        node.reach("stopped", super::PATIENCE, &stage.interrupt, |status| status["state"] == "STOP", |_| {})?;
    }
    let started = [list(stage, 0)?, list(stage, 1)?];
    let [first, second] = started.map(|(child, path)| read(child, path));
    Ok([first?, second?])
}

fn list(stage: &Stage, at: usize) -> Result<(Child, PathBuf), Failure> {
    let cannot = failed("cannot list a tree");
    let path = stage.path(&format!("listing{}", at + 1));
    let mut command = stage.part(&stage.nodes[at].host, "list");
    command.arg(&stage.places.data).stdout(File::create(&path).map_err(cannot)?).stderr(Stdio::null());
    Ok((command.spawn().map_err(cannot)?, path))
}

fn read(mut child: Child, path: PathBuf) -> Result<String, Failure> {
    let cannot = failed("cannot list a tree");
    if !child.wait().map_err(cannot)?.success() {
        return Err(cannot(std::io::Error::other("a file could not be read")));
    }
    fs::read_to_string(path).map_err(cannot)
}

/// The tree is what was written into it at the beginning.
fn written(stage: &Stage, show: &mut Show) -> Outcome {
    let mut command = stage.part(&stage.nodes[1].host, "check-tree");
    command.arg(stage.places.data.join("tree")).arg("--manifest").arg(stage.path("manifest"));
    let findings: crate::demo::check::Findings = crate::demo::answer(&mut command, "cannot read the tree")?;
    show.step("files", format!("{} of {} are what was written in step 1", thousands(findings.files_equal), thousands(findings.files)));
    if findings.tree_equal() { Ok(()) } else { Err(broken("the tree is not what was written", findings.problems.join(", "))) }
}
