//! `understudy reload`: the daemon takes in what has changed in the files.

use crate::args::{Global, ReloadArgs};
use crate::{node, output};
use fsrepl::node::options::Outcome;
use serde_json::{Value, json};

pub fn run(args: &ReloadArgs, global: &Global) -> Outcome {
    let answer = node::ask(global, "reload", &json!({}), args.timeout)?;
    if global.json {
        output::line(&answer.to_string());
        return Ok(());
    }
    let changes = answer["changes"].as_array().cloned().unwrap_or_default();
    if changes.is_empty() {
        output::line("nothing has changed");
    }
    changes.iter().for_each(|change| output::line(&words(change)));
    Ok(())
}

/// A file, and what of it.
pub fn words(change: &Value) -> String {
    let word = |key: &str| change[key].as_str().unwrap_or("?");
    output::one_line(&format!("{}: {}", word("file"), word("change")))
}
