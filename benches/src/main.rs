//! Measures understudy against the plain directory, the floor and its peers; see README.md.

mod columns;
mod echo;
mod engines;
mod hosts;
mod loads;
mod options;
mod peers;
mod proc;
mod regime;
mod relay;
mod report;
mod run;
mod sandbox;
mod server;
mod stats;

use anyhow::{Context, Result, bail};
use clap::Parser;
use columns::Setting;
use loads::Load;
use options::Options;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

fn main() -> ExitCode {
    match start() {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("benches: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The same program is the outer process, the inner one that measures, the echo server, and what acts inside hosts.
fn start() -> Result<u8> {
    let args: Vec<String> = std::env::args().collect();
    match args.get(1).map(String::as_str) {
        Some(echo::ECHO) => echo::serve(&args[2..]).map(|()| 0),
        // Of the hosts with daemons: see `tests::hand`.
        Some("init" | "till") => {
            tests::hand::run(&args[1..].iter().map(String::as_str).collect::<Vec<_>>());
            Ok(0)
        }
        Some(sandbox::INNER) => {
            let data = args.get(2).context("the inner process wants its data directory")?;
            let options = Options::parse_from(args.iter().take(1).chain(args.iter().skip(3)));
            inner(Path::new(data), options)
        }
        _ => outer(Options::parse()),
    }
}

fn outer(options: Options) -> Result<u8> {
    if options.names.iter().any(|name| name == "list") {
        return list().map(|()| 0);
    }
    let loads = chosen(&options.names)?;
    let needs_engine = loads
        .iter()
        .filter(|(_, load)| !load.needs().no_engines || load.needs().daemons)
        .any(|(_, load)| load.columns().iter().any(|column| column.needs_engine() && options.wants(*column)));
    let binary = binary(&options)?;
    if needs_engine && !binary.exists() {
        bail!("{} is not there: `cargo build --release`, or leave out its columns by --columns", binary.display());
    }
    let dir = match &options.dir {
        Some(dir) => dir.clone(),
        None => beside("../bench-data")?,
    };
    sandbox::run_inside(&dir, &std::path::absolute(binary)?)
}

fn inner(data: &Path, mut options: Options) -> Result<u8> {
    options.json = options.json.map(std::path::absolute).transpose()?;
    let binary = std::path::absolute(binary(&options)?)?;
    let exe = std::env::current_exe()?;
    let mut needed = vec![binary.as_path(), exe.as_path()];
    needed.extend(options.json.as_deref());
    let base = sandbox::enter(data, &needed)?;
    let machine = report::Machine::new(); // counts the processors before they are restricted
    let _held = regime::enter(options.regime)?;
    measure_all(&machine, &Setting { base, options, binary })
}

fn measure_all(machine: &report::Machine, setting: &Setting) -> Result<u8> {
    report::show(&machine.heading(setting))?;
    let mut benches = Vec::new();
    let mut code = 0;
    for (name, mut load) in chosen(&setting.options.names)? {
        if run::columns(load.as_ref(), setting).is_empty() {
            eprintln!("{name}: has none of the chosen columns");
            continue;
        }
        match run::measure(name, load.as_mut(), setting) {
            Ok(series) => {
                report::show(&report::table(name, load.as_ref(), &series, setting))?;
                benches.push(report::bench_json(name, load.as_ref(), &series, setting));
            }
            Err(error) => {
                eprintln!("benches: {error:#}");
                code = 1;
            }
        }
    }
    if let Some(path) = &setting.options.json {
        let text = serde_json::to_string_pretty(&machine.json(setting, benches))?;
        std::fs::write(path, text + "\n").with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(code)
}

/// The benches that were named, in the order of `all`.
fn chosen(names: &[String]) -> Result<Vec<(&'static str, Box<dyn Load>)>> {
    let loads = loads::all();
    for name in names {
        if name != "all" && !loads.iter().any(|(known, _)| known == name) {
            bail!("no bench is called `{name}`: `list` shows them");
        }
    }
    let wanted = |known: &str| names.iter().any(|name| name == known || name == "all");
    Ok(loads.into_iter().filter(|(known, _)| wanted(known)).collect())
}

fn list() -> Result<()> {
    loads::all().iter().try_for_each(|(name, load)| report::show(&format!("{name:<12} {}\n", load.about())))
}

fn binary(options: &Options) -> Result<PathBuf> {
    options.binary.clone().map_or_else(|| beside("understudy"), Ok)
}

/// A path relative to this program's own directory.
fn beside(path: &str) -> Result<PathBuf> {
    let exe = std::env::current_exe()?;
    Ok(exe.parent().context("this program lies in no directory")?.join(path))
}
