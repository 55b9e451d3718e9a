//! `understudy support`: one file with what a helper needs to see of all nodes, without anything secret. It works without
//! a daemon as well: that may be why help is needed.

use crate::args::{Global, SupportArgs};
use crate::{engine, node, output};
use cluster::daemon::operator::redact;
use fsrepl::node::options::Outcome;
use fsrepl::report::{Failure, FailureKind};
use serde_json::{Value, json};
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// Most bytes of the end of one file.
const TAIL: u64 = 1 << 20;
/// Most logs and modules that are looked for.
const FILES: usize = 1024;
/// An engine answers from memory.
const ANSWER: Duration = Duration::from_secs(5);
/// What is told of the system.
const SYSTEM: [&str; 5] = ["/proc/version", "/proc/mounts", "/proc/meminfo", "/proc/loadavg", "/proc/uptime"];

pub fn run(args: &SupportArgs, global: &Global) -> Outcome {
    let mut file = create(&args.file)?;
    let (mut nodes, mut missing) = (vec![], vec![]);
    let mut own = files(global);
    match node::status(global, None) {
        Ok((status, cluster)) => {
            own.insert(0, named("status.json", pretty(&status)));
            nodes.push(json!({ "node": cluster.node, "files": own }));
            for other in cluster.nodes.iter().filter(|other| other.node != cluster.node) {
                match node::ask(global, "support", &json!({ "node": other.node }), node::ANSWER) {
                    Ok(answer) => nodes.push(json!({ "node": other.node, "files": answer["files"] })),
                    Err(failure) => missing.push(json!({ "node": other.node, "error": failure.to_string() })),
                }
            }
        }
        Err(failure) => {
            nodes.push(json!({ "node": "this node", "files": own }));
            missing.push(json!({ "node": "all others", "error": failure.to_string() }));
        }
    }
    let time = output::time(SystemTime::now());
    let bundle =
        json!({ "schema": output::SCHEMA, "time": time, "version": env!("CARGO_PKG_VERSION"), "nodes": nodes, "missing": missing });
    file.write_all(pretty(&bundle).as_bytes()).and_then(|()| file.sync_all()).map_err(|why| cannot(&args.file, &why))?;
    tell(&args.file, &nodes, &missing, global);
    Ok(())
}

fn create(path: &Path) -> Result<File, Failure> {
    File::options().write(true).create_new(true).mode(0o600).open(path).map_err(|why| cannot(path, &why))
}

fn cannot(path: &Path, why: &std::io::Error) -> Failure {
    let cure = "name a new file in a directory that exists and has room";
    Failure::new(FailureKind::Failed, format!("cannot write {}", path.display()), why.to_string(), cure)
}

fn tell(path: &Path, nodes: &[Value], missing: &[Value], global: &Global) {
    let word = |value: &Value, key: &str| value[key].as_str().unwrap_or("?").to_owned();
    if global.json {
        let names: Vec<String> = nodes.iter().map(|node| word(node, "node")).collect();
        let value = json!({ "schema": output::SCHEMA, "file": path.display().to_string(), "nodes": names, "missing": missing });
        return output::line(&value.to_string());
    }
    let names: Vec<String> = nodes.iter().map(|node| word(node, "node")).collect();
    output::line(&output::one_line(&format!("{} made, of {}; look through it before you give it away", path.display(), names.join(", "))));
    for node in missing {
        output::line(&output::one_line(&format!("without {}: {}", word(node, "node"), word(node, "error"))));
    }
}

/// What can be read of this node from its directories and its engines.
fn files(global: &Global) -> Vec<Value> {
    let mut all = Vec::new();
    let mut configuration = vec![global.config.join("cluster.toml")];
    let folders = listed(&global.config.join("modules"), "");
    configuration.extend(folders.iter().map(|folder| folder.join("module.toml")));
    for path in configuration {
        if let Ok(text) = fs::read_to_string(&path) {
            all.push(named(&short(&path, &global.config), redact(&text)));
        }
    }
    for path in listed(&global.state.join("log"), ".log") {
        all.push(named(&short(&path, &global.state), tail(&path)));
    }
    for path in listed(&global.run, ".engine.log") {
        all.push(named(&short(&path, &global.run), tail(&path)));
    }
    for name in engine::list(&global.run).unwrap_or_default() {
        let text = engine::call(&global.run, &name, "status", ANSWER).map_or_else(|failure| failure.to_string(), |status| pretty(&status));
        all.push(named(&format!("engine/{name}/status.json"), text));
    }
    all.extend(SYSTEM.iter().map(|path| named(path.trim_start_matches('/'), tail(Path::new(path)))));
    all
}

fn named(name: &str, text: String) -> Value {
    json!({ "name": name, "text": text })
}

fn pretty(value: &Value) -> String {
    serde_json::to_string_pretty(value).unwrap_or_default()
}

fn short(path: &Path, below: &Path) -> String {
    path.strip_prefix(below).unwrap_or(path).display().to_string()
}

/// What a directory holds, sorted, with names that end so.
fn listed(directory: &Path, end: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut found: Vec<PathBuf> = entries.filter(|path| path.to_string_lossy().ends_with(end)).take(FILES).collect();
    found.sort();
    found
}

/// The end of a file. Those in /proc have no length that could be asked for.
fn tail(path: &Path) -> String {
    let read = || -> std::io::Result<Vec<u8>> {
        let mut file = File::open(path)?;
        let size = file.metadata()?.len();
        if size > TAIL {
            file.seek(SeekFrom::Start(size - TAIL))?;
        }
        let mut bytes = Vec::new();
        file.take(TAIL).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    read().map_or_else(|why| format!("cannot be read: {why}"), |bytes| String::from_utf8_lossy(&bytes).into_owned())
}
