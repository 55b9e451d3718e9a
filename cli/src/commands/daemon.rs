//! `understudy daemon`: this node of a cluster.

use crate::args::{DaemonArgs, Global};
use crate::output;
use cluster::daemon::{self, Options};
use fsrepl::node::options::Outcome;
use fsrepl::report::{Failure, FailureKind};
use serde_json::json;
use std::time::SystemTime;

pub fn run(args: &DaemonArgs, global: &Global) -> Outcome {
    let program = std::env::current_exe().map_err(|why| {
        let cure = "mount /proc";
        Failure::new(FailureKind::Failed, "cannot tell where this program is", why.to_string(), cure)
    })?;
    let options = Options {
        config: global.config.clone(),
        state: global.state.clone(),
        run: global.run.clone(),
        node: args.node.clone(),
        program,
        version: env!("CARGO_PKG_VERSION").to_owned(),
    };
    let json = global.json;
    daemon::run(&options, move || {
        // Where systemd waits for it.
        let _ = cluster::ready();
        output::line(&if json {
            json!({ "schema": output::SCHEMA, "event": "ready", "time": output::time(SystemTime::now()) }).to_string()
        } else {
            "ready".to_owned()
        });
    })
}
