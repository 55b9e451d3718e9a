//! `understudy receive`: the secondary.

use crate::args::{Global, ReceiveArgs};
use crate::{engine, names, output};
use fsrepl::node::options::{Listen, Outcome, ReceiveOptions};
use fsrepl::report::Failure;

pub fn run(args: &ReceiveArgs, global: &Global) -> Outcome {
    engine::receive::run(options(args, global)?, output::reporter(global.json))
}

fn options(args: &ReceiveArgs, global: &Global) -> Result<ReceiveOptions, Failure> {
    let dir = names::directory(&args.dir)?;
    Ok(ReceiveOptions {
        name: names::replica(args.name.as_deref(), &dir),
        dir,
        listen: Listen::Address(args.listen),
        auth: engine::auth(args.key.as_deref())?,
        discard_local: args.discard_local,
        peer_timeout: args.peer_timeout,
        keep_budget: args.keep_budget,
        places: global.places(),
    })
}
