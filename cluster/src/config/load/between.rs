//! What modules must not have in common, and how they may depend on each other.

use super::MODULE_FILE;
use crate::config::problem::Problem;
use crate::config::{CheckKind, Module};
use std::collections::BTreeMap;

type Loaded = Result<Module, Vec<Problem>>;

/// Problems between sound modules, each with the module whose file is to be changed: the later one by name.
pub(super) fn problems(modules: &[(String, Loaded)]) -> Vec<(String, Problem)> {
    let sound: Vec<&Module> = modules.iter().filter_map(|(_, module)| module.as_ref().ok()).collect();
    let mut problems = Vec::new();
    for (place, module) in sound.iter().enumerate() {
        for other in &sound[..place] {
            overlap(module, other, &mut problems);
            address(module, other, &mut problems);
        }
    }
    circles(&sound, &mut problems);
    unmet(&sound, &mut problems);
    problems
}

fn problem(module: &Module, key: &str, found: String, expected: String) -> (String, Problem) {
    let file = module.folder.join(MODULE_FILE);
    let line = std::fs::read_to_string(&file).map_or(0, |text| line_of(&text, &found));
    (module.name.clone(), Problem { file, line, key: key.into(), found, expected })
}

/// The first line with the first word of what was found, in quotes as it stands in the file; 0: none.
fn line_of(text: &str, found: &str) -> usize {
    let word = found.split('"').nth(1).unwrap_or_default();
    let holds = |line: &str| !word.is_empty() && line.contains(word) && !line.trim_start().starts_with('#');
    text.lines().position(holds).map_or(0, |place| place + 1)
}

fn overlap(module: &Module, other: &Module, problems: &mut Vec<(String, Problem)>) {
    if !module.nodes.iter().any(|node| other.nodes.contains(node)) {
        return;
    }
    for ours in &module.replicate {
        for theirs in &other.replicate {
            if ours.directory.starts_with(&theirs.directory) || theirs.directory.starts_with(&ours.directory) {
                problems.push(problem(
                    module,
                    "replicate.directory",
                    format!("\"{}\"", ours.directory.display()),
                    format!("a directory neither above nor below {} of module {}", theirs.directory.display(), other.name),
                ));
            }
        }
    }
}

fn address(module: &Module, other: &Module, problems: &mut Vec<(String, Problem)>) {
    for ours in &module.virtual_ips {
        if other.virtual_ips.iter().any(|theirs| theirs.address == ours.address) {
            let found = format!("\"{}/{}\"", ours.address, ours.prefix);
            problems.push(problem(module, "virtual_ip.address", found, format!("an address that module {} does not have", other.name)));
        }
    }
}

/// A module that waits for itself never starts.
fn circles(sound: &[&Module], problems: &mut Vec<(String, Problem)>) {
    let waits: BTreeMap<&str, &Vec<String>> = sound.iter().map(|module| (module.name.as_str(), &module.depends_on)).collect();
    for module in sound {
        for first in &module.depends_on {
            if let Some(way) = way(&waits, first, &module.name) {
                let found = format!("\"{first}\", which depends on {} ({way})", module.name);
                problems.push(problem(module, "depends_on", found, "no circle of modules that wait for each other".into()));
            }
        }
    }
}

/// How `from` comes to depend on `to`.
fn way(waits: &BTreeMap<&str, &Vec<String>>, from: &str, to: &str) -> Option<String> {
    let mut seen = vec![from.to_owned()];
    let mut open = vec![(from.to_owned(), from.to_owned())];
    while let Some((at, way)) = open.pop() {
        for next in waits.get(at.as_str()).into_iter().flat_map(|names| names.iter()) {
            let way = format!("{way}, {next}");
            if next == to {
                return Some(way);
            }
            if !seen.contains(next) {
                seen.push(next.clone());
                open.push((next.clone(), way));
            }
        }
    }
    None
}

/// What a module needs on its nodes must be able to run there.
fn unmet(sound: &[&Module], problems: &mut Vec<(String, Problem)>) {
    for module in sound {
        let checked = module.checks.iter().filter_map(|check| match &check.kind {
            CheckKind::Module { module } => Some(("check.module", module)),
            _ => None,
        });
        for (key, name) in module.depends_on.iter().map(|name| ("depends_on", name)).chain(checked) {
            let Some(needed) = sound.iter().find(|other| other.name == *name) else { continue };
            if !module.nodes.iter().all(|node| needed.nodes.contains(node)) {
                let found = format!("\"{name}\", which does not run on all nodes of this module");
                problems.push(problem(module, key, found, "a module with the same nodes, or more".into()));
            }
        }
    }
}
