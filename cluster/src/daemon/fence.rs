//! The operator's command that makes sure that another node is off.

use crate::config::Fence;
use crate::module::process::Plan;

/// Runs it. An error is why the other node may still be on.
pub fn run(fence: &Fence, module: &str, node: &str) -> Result<(), String> {
    let environment = vec![("UNDERSTUDY_NODE".to_owned(), node.to_owned()), ("UNDERSTUDY_MODULE".to_owned(), module.to_owned())];
    let plan = Plan { command: fence.command.iter().map(Into::into).collect(), environment, folder: "/".into() };
    plan.must(&plan.name(), fence.timeout)
}
