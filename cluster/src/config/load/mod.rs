//! From files to validated values.
//!
//! Each function finds every mistake of the files it reads. [`load_all`] also finds those that lie between modules.

mod address;
mod application;
mod between;
mod checks;
mod cluster;
mod digest;
mod farm;
mod module;
mod parts;
mod replicate;

use super::problem::Problem;
use super::read::{self, Document, Section};
use super::{Cluster, Module, limits, words};
pub use digest::{folder_digest, folder_files};
use std::path::{Path, PathBuf};

/// The cluster's file in a configuration directory.
pub const CLUSTER_FILE: &str = "cluster.toml";
/// The folder of the modules' folders in a configuration directory.
pub const MODULES: &str = "modules";
/// A module's file in its folder.
pub const MODULE_FILE: &str = "module.toml";

/// Reads `DIR/cluster.toml`.
pub fn load_cluster(dir: &Path) -> Result<Cluster, Vec<Problem>> {
    load_cluster_file(&dir.join(CLUSTER_FILE))
}

/// Reads a `cluster.toml`; what it names relatively lies beside it.
pub fn load_cluster_file(file: &Path) -> Result<Cluster, Vec<Problem>> {
    let file = absolute(file);
    let text = read::text(&file).map_err(|problem| vec![problem])?;
    let dir = file.parent().unwrap_or(Path::new("/"));
    parse(&file, &text, |root| cluster::read(root, dir, blake3::hash(text.as_bytes()).to_hex().to_string()))
}

/// Reads `DIR/modules/NAME/module.toml`, and looks at the scripts beside it.
pub fn load_module(dir: &Path, name: &str, cluster: &Cluster) -> Result<Module, Vec<Problem>> {
    load_module_file(&dir.join(MODULES).join(name).join(MODULE_FILE), cluster)
}

/// Reads a `module.toml`; the module has the name of the folder it lies in.
pub fn load_module_file(file: &Path, cluster: &Cluster) -> Result<Module, Vec<Problem>> {
    let file = absolute(file);
    let folder = file.parent().unwrap_or(Path::new("/"));
    let name = folder.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let whole =
        |found: String, expected: &str| Problem { file: file.clone(), line: 0, key: String::new(), found, expected: expected.into() };
    if !words::is_name(&name) {
        return Err(vec![whole(format!("a folder named {}", words::quoted(&name)), &format!("a module's name: {}", words::NAME))]);
    }
    let text = read::text(&file).map_err(|problem| vec![problem])?;
    let digest = folder_digest(folder).map_err(|why| vec![whole(why, "a folder of regular files and folders")])?;
    parse(&file, &text, |root| module::read(root, folder, &name, cluster, digest))
}

/// Everything in a configuration directory, and whether it goes together. The modules come in the order of their
/// names. Without a sound `cluster.toml` no module can be judged, and none is returned.
#[expect(clippy::type_complexity, reason = "the cluster and each module fail by themselves")]
pub fn load_all(dir: &Path) -> Result<(Cluster, Vec<(String, Result<Module, Vec<Problem>>)>), Vec<Problem>> {
    let cluster = load_cluster(dir)?;
    let names = module_names(dir).map_err(|problem| vec![problem])?;
    let mut modules: Vec<_> = names.into_iter().map(|name| (load_module(dir, &name, &cluster), name)).map(|(m, n)| (n, m)).collect();
    for (name, problem) in between::problems(&modules) {
        let Some((_, outcome)) = modules.iter_mut().find(|(other, _)| *other == name) else { continue };
        match outcome {
            Ok(_) => *outcome = Err(vec![problem]),
            Err(problems) => problems.push(problem),
        }
    }
    Ok((cluster, modules))
}

/// The folders below `DIR/modules`, in order; hidden ones are none. No such folder: no modules.
pub fn module_names(dir: &Path) -> Result<Vec<String>, Problem> {
    let folder = absolute(dir).join(MODULES);
    let problem = |found: String| Problem {
        file: folder.clone(),
        line: 0,
        key: String::new(),
        found,
        expected: format!("at most {} folders with a module each", limits::MODULES),
    };
    let entries = match std::fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(problem(format!("nothing that can be read ({error})"))),
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|error| problem(format!("nothing that can be read ({error})")))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if !name.starts_with('.') && entry.path().is_dir() {
            names.push(name);
        }
        if names.len() > limits::MODULES {
            return Err(problem("more".into()));
        }
    }
    names.sort();
    Ok(names)
}

/// Reads a document with `read`, which may return a value only when it complained of nothing.
fn parse<T>(file: &Path, text: &str, read: impl FnOnce(&Section<'_>) -> Option<T>) -> Result<T, Vec<Problem>> {
    let document = Document::parse(file, text)?;
    let root = document.root();
    let value = read(&root);
    root.finish();
    match value {
        Some(value) if document.faults() == 0 => Ok(value),
        _ => Err(document.problems()),
    }
}

/// Daemons change their working directory.
fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.into())
}
