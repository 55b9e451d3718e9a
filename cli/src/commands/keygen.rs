//! `understudy keygen`: the secret of a pair.

use crate::args::{Global, KeygenArgs};
use crate::{engine, output};
use fsrepl::node::options::Outcome;
use serde_json::json;

pub fn run(args: &KeygenArgs, global: &Global) -> Outcome {
    engine::keygen(&args.file)?;
    let file = args.file.display().to_string();
    output::line(&if global.json {
        json!({"schema": output::SCHEMA, "file": file}).to_string()
    } else {
        format!("{file} made; copy it to the other server over a safe channel and keep its mode 0600")
    });
    Ok(())
}
