//! `understudy mount`: the primary.

use crate::args::{Global, MountArgs};
use crate::{engine, names, output};
use fsrepl::node::options::{MountOptions, Outcome};
use fsrepl::report::Failure;

pub fn run(args: &MountArgs, global: &Global) -> Outcome {
    engine::mount::run(options(args, global)?, output::reporter(global.json))
}

fn options(args: &MountArgs, global: &Global) -> Result<MountOptions, Failure> {
    let dir = names::directory(&args.dir)?;
    Ok(MountOptions {
        name: names::replica(args.name.as_deref(), &dir),
        dir,
        to: args.to,
        auth: engine::auth(args.protection.key.as_deref())?,
        ack: args.ack,
        alone: args.alone,
        exclude: args.exclude.clone(),
        low_latency: args.low_latency,
        peer_timeout: args.peer_timeout,
        resync_max_rate: args.resync_max_rate.unwrap_or(0),
        passthrough: args.passthrough,
        places: global.places(),
        clustered: None,
    })
}
