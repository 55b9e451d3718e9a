//! The one place where this crate talks to the daemon of a node.

use crate::args::Global;
use crate::model::{Cluster, Module};
use fsrepl::node::control;
use fsrepl::report::{Failure, FailureKind};
use serde_json::{Value, json};
use std::time::Duration;

/// For what the daemon answers from memory, or by asking another node once.
pub const ANSWER: Duration = Duration::from_secs(40);

/// Asks the daemon of this node.
pub fn ask(global: &Global, verb: &str, args: &Value, timeout: Duration) -> Result<Value, Failure> {
    let directory = cluster::daemon::socket_directory(&global.run);
    control::call(&directory, cluster::daemon::SOCKET, verb, args, timeout).map_err(|failure| own_words(failure, global))
}

/// What the socket says of itself is meant for engines.
fn own_words(failure: Failure, global: &Global) -> Failure {
    if failure.what != format!("cannot reach the engine `{}`", cluster::daemon::SOCKET) {
        return failure;
    }
    let what = "cannot reach the daemon of this node";
    match failure.kind {
        FailureKind::Unreachable => {
            let why = if failure.why.starts_with("none of that name") { "none runs here".to_owned() } else { failure.why };
            let cure = format!(
                "start it with `systemctl start understudy` or `understudy daemon`, or name its --run (now {})",
                global.run.display()
            );
            Failure::new(FailureKind::Unreachable, what, why, cure)
        }
        kind => Failure::new(kind, what, failure.why, failure.cure),
    }
}

/// Nobody listens: what there is without a daemon may be used instead.
pub fn is_away(failure: &Failure) -> bool {
    failure.kind == FailureKind::Unreachable && failure.what == "cannot reach the daemon of this node"
}

/// `status` of one module or of all, as it came and as it is read.
pub fn status(global: &Global, module: Option<&str>) -> Result<(Value, Cluster), Failure> {
    let value = ask(global, "status", &json!({ "module": module }), ANSWER)?;
    let cluster = Cluster::read(&value)?;
    Ok((value, cluster))
}

/// The module of that name; a failure that names those there are, if there is none.
pub fn module(global: &Global, name: &str) -> Result<Module, Failure> {
    let (_, cluster) = status(global, Some(name))?;
    if let Some(module) = cluster.modules.into_iter().find(|module| module.name == name) {
        return Ok(module);
    }
    let (_, all) = status(global, None)?;
    let known: Vec<String> = all.modules.into_iter().map(|module| module.name).collect();
    let cure = match known.is_empty() {
        true => "make one with `understudy module create`, then `understudy reload`".to_owned(),
        false => format!("name one of: {}", known.join(", ")),
    };
    Err(Failure::new(FailureKind::Usage, format!("cannot do that with {name}"), format!("{} runs no module of that name", all.node), cure))
}
