//! `understudy config`: the configuration of a node, checked without its daemon, compared and carried with it.

use crate::args::{ConfigArgs, ConfigCheckArgs, ConfigCommand, ConfigDiffArgs, ConfigPushArgs, Global};
use crate::{node, output};
use cluster::config::check::{Finding, Severity, check_local, nodes_here};
use cluster::config::load::{CLUSTER_FILE, MODULE_FILE, load_cluster_file, load_module_file};
use cluster::config::{Cluster, Module, Problem, load_all};
use fsrepl::node::options::Outcome;
use fsrepl::report::{Failure, FailureKind};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

pub fn run(args: &ConfigArgs, global: &Global) -> Outcome {
    match &args.command {
        ConfigCommand::Check(args) => check(args, global),
        ConfigCommand::Diff(args) => diff(args, global),
        ConfigCommand::Push(args) => push(args, global),
    }
}

/// What was found, and in how much.
#[derive(Default)]
struct Report {
    problems: Vec<Problem>,
    findings: Vec<Finding>,
    modules: usize,
}

fn check(args: &ConfigCheckArgs, global: &Global) -> Outcome {
    let report = if args.files.is_empty() {
        let mut report = directory(&global.config, args)?;
        report.findings.extend(between_nodes(global)?);
        report
    } else {
        files(&args.files, &global.config)?
    };
    if global.json {
        let sound = report.mistakes() == 0;
        let (problems, findings) = (&report.problems, &report.findings);
        output::line(&json!({"schema": output::SCHEMA, "ok": sound, "problems": problems, "findings": findings}).to_string());
    } else {
        report.problems.iter().for_each(|problem| output::line(&output::one_line(&problem.to_string())));
        report.findings.iter().for_each(|finding| output::line(&output::one_line(&finding.to_string())));
    }
    match report.failure() {
        Some(failure) => Err(failure),
        None if global.json => Ok(()),
        None => {
            let (count, what) = if args.files.is_empty() { (report.modules, "module") } else { (args.files.len(), "file") };
            output::line(&format!("no mistakes found ({count} {what}{})", if count == 1 { "" } else { "s" }));
            Ok(())
        }
    }
}

/// What has to be the same on all nodes and is not, where a daemon runs that can ask them.
fn between_nodes(global: &Global) -> Result<Vec<Finding>, Failure> {
    let answer = match node::ask(global, "config-facts", &json!({}), node::ANSWER) {
        Ok(answer) => answer,
        Err(failure) if node::is_away(&failure) => return Ok(Vec::new()),
        Err(failure) => return Err(failure),
    };
    let mut found: Vec<Finding> = list(&answer["findings"]).into_iter().filter_map(|one| serde_json::from_value(one).ok()).collect();
    for one in list(&answer["unreachable"]) {
        let text = format!("not compared with this node: {}", one["error"].as_str().unwrap_or("no reason given"));
        let subject = format!("node {}", one["node"].as_str().unwrap_or("?"));
        found.push(Finding { severity: Severity::Note, subject, text, cure: String::new() });
    }
    Ok(found)
}

fn list(value: &Value) -> Vec<Value> {
    value.as_array().cloned().unwrap_or_default()
}

/// Lines with `-` are here, lines with `+` there.
fn diff(args: &ConfigDiffArgs, global: &Global) -> Outcome {
    let answer = node::ask(global, "config-diff", &json!({ "node": args.node }), node::ANSWER)?;
    let nodes = list(&answer["nodes"]);
    if let (true, Some(name)) = (nodes.is_empty(), &args.node) {
        let why = format!("there is no other node {name}");
        return Err(Failure::new(FailureKind::Usage, "cannot compare", why, "see `understudy status`"));
    }
    if global.json {
        output::line(&answer.to_string());
    } else {
        nodes.iter().for_each(|one| tell_diff(one, &one["diff"]));
    }
    let unknown = nodes.iter().find_map(|one| Some((one["node"].as_str()?, one["diff"]["error"].as_str()?)));
    match unknown {
        Some((name, why)) => Err(Failure::new(
            FailureKind::Failed,
            format!("cannot compare with {name}"),
            why,
            "see whether its daemon runs and can be reached",
        )),
        None => Ok(()),
    }
}

fn tell_diff(one: &Value, diff: &Value) {
    let name = one["node"].as_str().unwrap_or("?");
    match diff.as_str() {
        Some("") => output::line(&format!("{name}: no difference")),
        Some(text) => {
            output::line(&format!("{name}: differs (- here, + there)"));
            output::text(text);
        }
        None => {}
    }
}

fn push(args: &ConfigPushArgs, global: &Global) -> Outcome {
    let asked = json!({ "node": args.node, "dry_run": args.pace.dry_run });
    let answer = node::ask(global, "config-push", &asked, args.pace.timeout)?;
    if global.json {
        output::line(&answer.to_string());
        return Ok(());
    }
    for one in list(&answer["nodes"]) {
        if args.pace.dry_run {
            tell_diff(&one, &one["answer"]);
            continue;
        }
        let name = one["node"].as_str().unwrap_or("?");
        let changes = list(&one["answer"]["changes"]);
        output::line(&format!(
            "{name}: has the configuration of this node now{}",
            if changes.is_empty() { ", and had it before" } else { "" }
        ));
        changes.iter().for_each(|change| output::line(&format!("  {}", super::reload::words(change))));
    }
    Ok(())
}

impl Report {
    fn mistakes(&self) -> usize {
        self.problems.len() + self.errors().count()
    }

    fn errors(&self) -> impl Iterator<Item = &Finding> {
        self.findings.iter().filter(|finding| finding.severity == Severity::Error)
    }

    /// The first mistake stands for all in the one line of the failure.
    fn failure(&self) -> Option<Failure> {
        let first = self.problems.first().map(Problem::to_string).or_else(|| self.errors().next().map(words))?;
        let why = match self.mistakes() {
            1 => first,
            count => format!("{first} (and {} more)", count - 1),
        };
        let cure = "correct it, then run `understudy config check` again";
        Some(Failure::new(FailureKind::Usage, "the configuration has mistakes", why, cure))
    }
}

/// A finding without its severity and its cure: the failure has its own.
fn words(finding: &Finding) -> String {
    format!("{}: {}", finding.subject, finding.text)
}

/// Everything in a configuration directory, and this machine if it is one of the nodes.
fn directory(dir: &Path, args: &ConfigCheckArgs) -> Result<Report, Failure> {
    let mut report = Report::default();
    let (cluster, modules) = match load_all(dir) {
        Ok(all) => all,
        Err(problems) => return Ok(Report { problems, ..report }),
    };
    let mut sound: Vec<Module> = Vec::new();
    for (_, module) in modules {
        match module {
            Ok(module) => sound.push(module),
            Err(problems) => report.problems.extend(problems),
        }
    }
    report.modules = sound.len();
    report.findings = machine(&cluster, &sound, args)?;
    Ok(report)
}

fn machine(cluster: &Cluster, modules: &[Module], args: &ConfigCheckArgs) -> Result<Vec<Finding>, Failure> {
    if let Some(name) = &args.node {
        let node = cluster.node(name).ok_or_else(|| {
            let known: Vec<&str> = cluster.nodes.iter().map(|node| node.name.as_str()).collect();
            let why = format!("the cluster has no node {name}");
            Failure::new(FailureKind::Usage, "cannot check", why, format!("name one of {}", known.join(", ")))
        })?;
        return Ok(check_local(cluster, modules, node));
    }
    Ok(match nodes_here(cluster).as_slice() {
        [node] => check_local(cluster, modules, node),
        here => {
            let text = match here.len() {
                0 => "this machine has none of the nodes' addresses: only the files were checked".into(),
                count => format!("this machine has the addresses of {count} nodes: only the files were checked"),
            };
            let cure = "name the node with --node to check the machine as well".into();
            vec![Finding { severity: Severity::Note, subject: "cluster".into(), text, cure }]
        }
    })
}

/// Single files, each judged by itself: a module by the cluster that it lies below, else by the node's.
fn files(files: &[PathBuf], config: &Path) -> Result<Report, Failure> {
    let mut report = Report::default();
    for file in files {
        match file.file_name().and_then(|name| name.to_str()) {
            Some(MODULE_FILE) => match load_cluster_file(&cluster_of(file, config)) {
                Ok(cluster) => report.problems.extend(load_module_file(file, &cluster).err().unwrap_or_default()),
                Err(problems) => report.problems.extend(problems),
            },
            Some(name) if name.ends_with(".toml") => report.problems.extend(load_cluster_file(file).err().unwrap_or_default()),
            _ => {
                let why = format!("{} is neither a {CLUSTER_FILE} nor a {MODULE_FILE}", file.display());
                return Err(Failure::new(FailureKind::Usage, "cannot check", why, "name configuration files, or none for all of them"));
            }
        }
    }
    report.problems.dedup();
    Ok(report)
}

/// `DIR/cluster.toml` for `DIR/modules/NAME/module.toml`, if it is there.
fn cluster_of(file: &Path, config: &Path) -> PathBuf {
    let absolute = std::path::absolute(file).unwrap_or_else(|_| file.into());
    let above = absolute.ancestors().nth(3).map(|dir| dir.join(CLUSTER_FILE));
    above.filter(|cluster| cluster.is_file()).unwrap_or_else(|| config.join(CLUSTER_FILE))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLUSTER: &str = "schema = 1\nname = \"c\"\nkey_file = \"k\"\n[[node]]\nname = \"a\"\naddresses = [\"203.0.113.1\"]\n";
    const MODULE: &str = "schema = 1\nkind = \"service\"\nnodes = [\"a\"]\n";

    fn folder(cluster: &str, module: &str) -> tempfile::TempDir {
        let dir = tempfile::tempdir().expect("a directory");
        std::fs::create_dir_all(dir.path().join("modules/m")).expect("made");
        std::fs::write(dir.path().join("cluster.toml"), cluster).expect("written");
        std::fs::write(dir.path().join("modules/m/module.toml"), module).expect("written");
        dir
    }

    fn none() -> ConfigCheckArgs {
        ConfigCheckArgs { files: Vec::new(), node: None }
    }

    #[test]
    fn a_sound_directory_of_another_machine() {
        let dir = folder(CLUSTER, MODULE);
        let report = directory(dir.path(), &none()).expect("checked");
        assert_eq!((report.mistakes(), report.modules), (0, 1));
        assert!(report.findings[0].text.contains("none of the nodes' addresses"));
        assert!(report.failure().is_none());
        let named = ConfigCheckArgs { node: Some("a".into()), ..none() };
        let failure = directory(dir.path(), &named).expect("checked").failure().expect("the address is elsewhere");
        assert_eq!(failure.kind.exit_code(), 2);
        let unknown = ConfigCheckArgs { node: Some("b".into()), ..none() };
        assert!(directory(dir.path(), &unknown).err().expect("refused").to_string().contains("no node b; name one of a"));
    }

    #[test]
    fn the_failure_names_the_first_of_all_mistakes() {
        let dir = folder(CLUSTER, &MODULE.replace("kind", "boot = 1\nx = 1\nkind"));
        let report = directory(dir.path(), &none()).expect("checked");
        assert_eq!(report.problems.len(), 2);
        let failure = report.failure().expect("mistakes");
        assert_eq!(failure.kind.exit_code(), 2);
        let told = failure.to_string();
        assert!(told.contains("module.toml:2: boot: found 1, expected on, off or last (and 1 more)"), "{told}");
    }

    #[test]
    fn single_files() {
        let dir = folder(CLUSTER, MODULE);
        let (cluster, module) = (dir.path().join("cluster.toml"), dir.path().join("modules/m/module.toml"));
        let nowhere = Path::new("/nowhere");
        assert_eq!(files(&[cluster, module.clone()], nowhere).expect("checked").mistakes(), 0);
        std::fs::write(dir.path().join("cluster.toml"), "").expect("written");
        assert_eq!(files(&[module], nowhere).expect("checked").problems.len(), 4, "a module is judged by its cluster");
        assert!(files(&[dir.path().join("start")], nowhere).is_err());
    }
}
