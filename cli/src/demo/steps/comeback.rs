//! The host that died returns.

use super::PATIENCE;
use super::work::Work;
use crate::demo::node::{MODULE, in_sync};
use crate::demo::show::{Show, milliseconds, thousands};
use crate::demo::stage::Stage;
use crate::render;
use fsrepl::node::options::Outcome;
use serde_json::json;
use std::time::{Duration, Instant};

/// How long the survivor works alone before.
const ALONE: Duration = Duration::from_secs(2);

/// Boots node `back`, and waits until it has everything.
pub fn comeback(stage: &mut Stage, work: &mut Work, back: usize, files: Option<u32>, show: &mut Show) -> Outcome {
    show.head(format!("3  {} comes back, {} goes on working", stage.nodes[back].name(), stage.nodes[1 - back].name()));
    stage.interrupt.sleep(ALONE)?;
    let estimate = stage.nodes[1 - back].call("engine", &json!({ "module": MODULE, "verb": "estimate" })).unwrap_or_default();
    work.recorder.mark();
    let begun = Instant::now();
    let Stage { nodes, outside, .. } = stage;
    nodes[back].boot(outside)?;
    let booted = begun.elapsed();
    let survivor = &stage.nodes[1 - back];
    survivor.reach("in sync", PATIENCE, &stage.interrupt, in_sync, |_| {})?;
    let took = begun.elapsed().saturating_sub(booted);
    let changed = &estimate["answer"];
    let number = |key: &str| changed[key].as_u64().unwrap_or(0);
    let (looked, sent) = survivor.resynced().unwrap_or_default();
    let everything = changed["everything"] == true;
    let served = work.recorder.served();
    show.step(
        "resync",
        format!(
            "{}, sent {} of {} changed, in {:.1} s",
            scanned(everything, files),
            render::bytes(sent),
            render::bytes(number("bytes_at_most").max(sent)),
            took.as_secs_f64()
        ),
    );
    show.step("", format!("{} objects had changed; nothing else was looked at", thousands(looked)));
    show.step(
        "application",
        format!("never stopped: {} acknowledged meanwhile, longest pause {}", thousands(served.since), milliseconds(served.gap)),
    );
    show.fact(
        "comeback",
        json!({ "everything_scanned": everything, "objects": looked, "bytes_sent": sent, "bytes_changed": number("bytes_at_most"),
                "seconds": took.as_secs_f64(), "longest_pause_seconds": served.gap.as_secs_f64() }),
    );
    stage.interrupt.check()
}

/// How much was looked at although it had not changed.
fn scanned(everything: bool, files: Option<u32>) -> String {
    match (everything, files) {
        (true, _) => "scanned everything".into(),
        (false, Some(files)) => format!("scanned 0 of {} files", thousands(files.into())),
        (false, None) => "scanned nothing".into(),
    }
}
