//! `understudy sync`: what `sync(2)` cannot do on a FUSE mount.

use crate::args::{Global, SyncArgs};
use crate::output;
use crate::replica::Replica;
use fsrepl::node::options::Outcome;
use serde_json::{Value, json};
use std::time::Instant;

pub fn run(args: &SyncArgs, global: &Global) -> Outcome {
    let replica = Replica::find(&args.name, args.directory.as_deref(), global)?;
    let start = Instant::now();
    replica.ask("sync", &Value::Null, args.timeout, global)?;
    if global.json {
        let seconds = start.elapsed().as_secs_f64();
        output::line(&json!({"schema": output::SCHEMA, "name": replica.name(), "synced": true, "seconds": seconds}).to_string());
    }
    Ok(())
}
