//! Two hosts, a tree of many files, and the module's first start.

use super::{COPY, PATIENCE};
use crate::demo::node::{MODULE, in_sync};
use crate::demo::show::{Show, thousands};
use crate::demo::stage::Stage;
use crate::demo::tree::Built;
use crate::demo::{answer, wires};
use crate::render;
use fsrepl::node::options::Outcome;
use fsrepl::report::FailureKind;
use serde_json::{Value, json};
use std::time::Instant;

/// What there is.
pub fn hosts(stage: &Stage, show: &Show) {
    show.head("1  Two hosts, a witness, clients");
    for node in &stage.nodes {
        let (first, second) = (wires::address(0, node.number), wires::address(1, node.number));
        show.step(node.name(), format!("{first} and {second}: two networks between the nodes"));
    }
    show.step("outside", format!("{}: a third network, with the witness and the clients", wires::OUTSIDE));
    if !stage.nodes.iter().all(|node| node.own_disk) {
        show.step("", "no loop devices here: both hosts use this machine's file system");
    }
}

/// Files beside the application's.
pub fn tree(stage: &Stage, files: u32, show: &mut Show) -> Outcome {
    let start = Instant::now();
    show.progress("tree", &format!("writing {} files", thousands(files.into())));
    let mut command = stage.part(&stage.nodes[0].host, "tree");
    command.arg(stage.places.data.join("tree")).args(["--files", &files.to_string()]).arg("--manifest").arg(stage.path("manifest"));
    let built: Built = answer(&mut command, "cannot build the tree")?;
    let seconds = start.elapsed().as_secs_f64();
    show.settled();
    show.step("tree", format!("{} files, {}, in {seconds:.1} s on node1", thousands(built.files), render::bytes(built.bytes)));
    show.fact("files", built.files);
    show.fact("bytes", built.bytes);
    stage.interrupt.check()
}

/// Daemons, the order to start, the word which side is good, the first copy.
pub fn start(stage: &mut Stage, files: u32, show: &mut Show) -> Outcome {
    let begun = Instant::now();
    for node in &mut stage.nodes {
        node.start_daemon()?;
    }
    let first = &stage.nodes[0];
    let heard = |status: &Value| status["nodes"].as_array().is_some_and(|nodes| nodes.iter().all(|node| node["reachable"] == true));
    first.reach("able to hear node2", PATIENCE, &stage.interrupt, heard, |_| {})?;
    first.call("start", &json!({ "module": MODULE }))?;
    promote(stage)?;
    let serving = |status: &Value| matches!(status["state"].as_str(), Some("ALONE" | "PRIM")) && status["readiness"] == "ready";
    first.reach("primary", PATIENCE, &stage.interrupt, serving, |_| {})?;
    let served = begun.elapsed().as_secs_f64();
    first.reach("in sync", COPY, &stage.interrupt, in_sync, |status| {
        if let Some(done) = status["resync"]["files_done"].as_u64() {
            show.progress("copy", &format!("{} of {} files", thousands(done), thousands(files.into())));
        }
    })?;
    let seconds = begun.elapsed().as_secs_f64();
    show.settled();
    show.step("start", format!("node1 serves {} after {served:.1} s (the operator named it: promote --accept first)", wires::VIRTUAL));
    show.step("copy", format!("both nodes equal after {seconds:.1} s, encrypted: node1 PRIM, node2 SECOND"));
    show.fact("serve_seconds", served);
    show.fact("copy_seconds", seconds);
    Ok(())
}

/// Refused as long as the module's start is under way.
fn promote(stage: &Stage) -> Outcome {
    let until = Instant::now() + PATIENCE;
    loop {
        stage.interrupt.check()?;
        let promoted = stage.nodes[0].call("promote", &json!({ "module": MODULE, "node": "node1", "accept": "first" }));
        match promoted {
            Err(why) if why.kind == FailureKind::Refused && Instant::now() < until => {
                std::thread::sleep(std::time::Duration::from_millis(50))
            }
            promoted => return promoted.map(drop),
        }
    }
}
