//! `understudy kept`: the trees of changes that lost.

use crate::args::{Global, KeptArgs};
use crate::{engine, names, output, render};
use fsrepl::node::options::Outcome;
use fsrepl::report::{Failure, FailureKind};
use serde_json::{Value, json};
use std::time::Duration;

/// Removing a tree takes as long as its files.
const PATIENCE: Duration = Duration::from_secs(600);

pub fn run(args: &KeptArgs, global: &Global) -> Outcome {
    let words: Vec<&str> = args.words.iter().map(String::as_str).collect();
    match words[..] {
        [] => list(None, global),
        ["remove", id] => remove(None, id, global),
        [name] if name != "remove" => list(Some(name), global),
        [name, "remove", id] => remove(Some(name), id, global),
        _ => Err(Failure::new(
            FailureKind::Usage,
            "cannot tell what to do",
            "`kept` takes a replica's name, and `remove` with the id of a kept tree",
            "see `understudy kept --help`",
        )),
    }
}

/// The replicas that are meant.
fn replicas(name: Option<&str>, global: &Global) -> Result<Vec<String>, Failure> {
    let running = engine::list(&global.run)?;
    let Some(name) = name else {
        let why = format!("no replica runs here (no control socket in {})", global.run.display());
        let cure = "start one with `understudy mount` or `understudy receive`, or name the right --run directory";
        return if running.is_empty() { Err(Failure::new(FailureKind::Unreachable, "cannot look", why, cure)) } else { Ok(running) };
    };
    Ok(vec![names::running(name, &running)])
}

fn trees(name: &str, global: &Global) -> Result<Vec<Value>, Failure> {
    let answer = engine::ask(&global.run, name, "kept", &Value::Null, PATIENCE)?;
    Ok(answer["kept"].as_array().cloned().unwrap_or_default())
}

fn list(name: Option<&str>, global: &Global) -> Outcome {
    let mut all = Vec::new();
    for name in replicas(name, global)? {
        for mut tree in trees(&name, global)? {
            tree["module"] = Value::String(name.clone());
            all.push(tree);
        }
    }
    if global.json {
        output::line(&json!({"schema": output::SCHEMA, "kept": all}).to_string());
    } else if all.is_empty() {
        output::line("nothing is kept");
    } else {
        all.iter().for_each(|tree| output::text(&render::kept(tree)));
    }
    Ok(())
}

fn remove(name: Option<&str>, id: &str, global: &Global) -> Outcome {
    for name in replicas(name, global)? {
        if trees(&name, global)?.iter().any(|tree| tree["id"] == id) {
            engine::ask(&global.run, &name, "kept-remove", &json!({ "id": id }), PATIENCE)?;
            if global.json {
                output::line(&json!({"schema": output::SCHEMA, "module": name, "removed": id}).to_string());
            }
            return Ok(());
        }
    }
    Err(Failure::new(FailureKind::Failed, format!("cannot remove {id}"), "nothing of that name is kept", "`understudy kept` lists what is"))
}
