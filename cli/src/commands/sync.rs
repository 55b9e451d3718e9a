//! `understudy sync`: what `sync(2)` cannot do on a FUSE mount.

use crate::args::{Global, SyncArgs};
use crate::{engine, names, output};
use fsrepl::node::options::Outcome;
use serde_json::json;
use std::time::Instant;

pub fn run(args: &SyncArgs, global: &Global) -> Outcome {
    let name = names::running(&args.name, &engine::list(&global.run)?);
    let start = Instant::now();
    engine::call(&global.run, &name, "sync", args.timeout)?;
    if global.json {
        let seconds = start.elapsed().as_secs_f64();
        output::line(&json!({"schema": output::SCHEMA, "name": name, "synced": true, "seconds": seconds}).to_string());
    }
    Ok(())
}
