//! What a helper needs to see of this node, without anything secret: no keys, no variables of modules, no data.

use super::super::node::Node;
use super::status;
use fsrepl::report::Failure;
use serde_json::{Value, json};
use std::path::Path;

/// Most bytes of the end of one file.
const TAIL: usize = 256 * 1024;
/// Most bytes of the ends of all files together: an answer has to fit into one line of the control socket.
const TAILS: usize = 512 * 1024;
/// What is told of the system.
const SYSTEM: [&str; 4] = ["/proc/mounts", "/proc/meminfo", "/proc/loadavg", "/proc/version"];

/// As one JSON object: names of files and their content.
pub fn collect(node: &Node) -> Result<Value, Failure> {
    let mut files = vec![file("status.json", &serde_json::to_string_pretty(&status::whole(node, None)).unwrap_or_default())];
    if let Ok(text) = std::fs::read_to_string(node.config.join("cluster.toml")) {
        files.push(file("cluster.toml", &redact(&text)));
    }
    let modules = node.modules.read();
    let most = (TAILS / (2 * modules.len() + SYSTEM.len())).min(TAIL);
    for handle in modules.values() {
        let name = &handle.module.name;
        if let Ok(text) = std::fs::read_to_string(handle.module.folder.join("module.toml")) {
            files.push(file(&format!("modules/{name}/module.toml"), &redact(&text)));
        }
        files.push(tail(&format!("log/{name}.log"), &node.board.log_file(name), most));
        let mut engines = handle.module.engines();
        if engines.is_empty() {
            engines.push(name.clone());
        }
        let share = most / engines.len();
        for engine in engines {
            files.push(tail(&format!("engine/{engine}.log"), &node.home.log(&engine), share));
        }
    }
    for name in SYSTEM {
        files.push(tail(name.trim_start_matches('/'), Path::new(name), most));
    }
    Ok(json!({ "schema": 1, "node": node.name(), "files": files }))
}

fn file(name: &str, text: &str) -> Value {
    json!({ "name": name, "text": text })
}

fn tail(name: &str, path: &Path, most: usize) -> Value {
    let bytes = std::fs::read(path).unwrap_or_default();
    let from = bytes.len().saturating_sub(most);
    file(name, &String::from_utf8_lossy(&bytes[from..]))
}

/// Values that may be secret: variables of a module, whatever sounds like a password, addresses with credentials.
pub fn redact(text: &str) -> String {
    let mut variables = false;
    let line = |line: &str| {
        let trimmed = line.trim_start();
        if trimmed.starts_with('[') {
            variables = trimmed.starts_with("[variables]");
        }
        let key = trimmed.split('=').next().unwrap_or_default().to_lowercase();
        let secret = ["password", "secret", "token", "webhook"].iter().any(|word| key.contains(word));
        match line.split_once('=') {
            Some((key, _)) if (variables || secret) && !trimmed.starts_with('#') => format!("{key}= \"(removed)\""),
            _ => line.to_owned(),
        }
    };
    text.lines().map(line).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_removed_and_the_rest_stays() {
        let text =
            "[application]\nstart = \"start\"\n[variables]\nPORT = \"5432\"\n[notify]\nwebhook = \"http://u:p@h\"\ncommand = [\"c\"]";
        let redacted = redact(text);
        assert!(!redacted.contains("5432") && !redacted.contains("u:p"));
        assert!(redacted.contains("start = \"start\"") && redacted.contains("command"));
    }
}
