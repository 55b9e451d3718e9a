//! The configuration on its way to another node: `cluster.toml` and the modules' folders, without any key.
//!
//! What arrives replaces the former configuration as a whole or not at all: a new folder is made beside it, judged as
//! any configuration is, and exchanged for it. What never travels (keys, certificates, whatever else lies there) stays.

use super::load::{self, CLUSTER_FILE, MODULES, folder_files, module_names};
use super::{Problem, limits, words};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs::{self, DirBuilder, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Component, Path, PathBuf};

/// How a file with keys of ours begins, whatever its version.
const KEYS: &[u8] = b"understudy-keys ";
/// What PEM calls a key.
const PRIVATE: &[u8] = b"PRIVATE KEY-----";

/// One file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileImage {
    /// Relative to the configuration directory.
    pub path: String,
    /// Permission bits: 0755 for what is executable, else 0644.
    pub mode: u32,
    /// Content.
    #[serde(with = "serde_bytes")]
    pub bytes: Vec<u8>,
}

/// Why a configuration cannot be sent or taken.
#[derive(Debug, thiserror::Error)]
pub enum PushError {
    /// The system refused.
    #[error("cannot {what} {}: {source}", .path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// With which file.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// Something that does not travel.
    #[error("{path}: {why}")]
    Refused {
        /// What.
        path: String,
        /// Why, and what would do.
        why: String,
    },
    /// What arrived is no sound configuration.
    #[error("what was sent is no sound configuration: {}{}", .0[0], more(.0.len()))]
    Unsound(Vec<Problem>),
}

fn more(count: usize) -> String {
    if count > 1 { format!(" (and {} more)", count - 1) } else { String::new() }
}

fn io(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> PushError {
    move |source| PushError::Io { what, path: path.into(), source }
}

fn refused(path: impl AsRef<Path>, why: impl Into<String>) -> PushError {
    PushError::Refused { path: path.as_ref().display().to_string(), why: why.into() }
}

/// What travels of a configuration directory, in order. Hidden files, editors' copies and files with private keys do
/// not.
pub fn pack(dir: &Path) -> Result<Vec<FileImage>, PushError> {
    let mut images = vec![image(dir, Path::new(CLUSTER_FILE), false)?];
    for name in module_names(dir).map_err(|problem| PushError::Unsound(vec![problem]))? {
        let folder = Path::new(MODULES).join(name);
        for (path, executable) in folder_files(&dir.join(&folder)).map_err(|why| refused(&folder, why))? {
            images.push(image(dir, &folder.join(path), executable)?);
        }
    }
    images.retain(|image| !is_secret(&image.bytes));
    images.sort_by(|a, b| a.path.cmp(&b.path));
    bounded(&images)?;
    Ok(images)
}

fn image(dir: &Path, path: &Path, executable: bool) -> Result<FileImage, PushError> {
    let name = path.to_str().ok_or_else(|| refused(path, "a name that is no UTF-8: rename the file"))?;
    let mut bytes = Vec::new();
    let file = File::open(dir.join(path)).map_err(io("open", path))?;
    file.take(limits::PUSH_FILE + 1).read_to_end(&mut bytes).map_err(io("read", path))?;
    Ok(FileImage { path: name.into(), mode: if executable { 0o755 } else { 0o644 }, bytes })
}

fn is_secret(bytes: &[u8]) -> bool {
    let first = bytes.split(|byte| *byte == b'\n').find(|line| !line.is_empty() && line[0] != b'#').unwrap_or_default();
    first.starts_with(KEYS) || first.windows(PRIVATE.len()).any(|window| window == PRIVATE)
}

fn bounded(images: &[FileImage]) -> Result<(), PushError> {
    if let Some(large) = images.iter().find(|image| image.bytes.len() as u64 > limits::PUSH_FILE) {
        return Err(refused(&large.path, "larger than 1 MiB: keep what is no configuration outside the module's folder"));
    }
    if images.iter().map(|image| image.bytes.len() as u64).sum::<u64>() > limits::PUSH_ALL {
        return Err(refused(MODULES, "more than 16 MiB in all: keep what is no configuration outside the modules' folders"));
    }
    if images.len() > limits::MODULES + limits::FOLDER_FILES {
        return Err(refused(MODULES, "too many files: keep what is no configuration outside the modules' folders"));
    }
    Ok(())
}

/// Makes `dir` hold exactly these files, beside what never travels. The former directory is kept beside it, as
/// `NAME.previous`, in place of the one before. Nothing is changed when anything fails.
pub fn unpack(dir: &Path, images: &[FileImage]) -> Result<(), PushError> {
    bounded(images)?;
    judge(images)?;
    let dir = dir.canonicalize().map_err(io("find", dir))?;
    let (Some(parent), Some(name)) = (dir.parent(), dir.file_name()) else {
        return Err(refused(&dir, "the root directory cannot be exchanged: use a configuration directory of its own"));
    };
    let beside = |before: &str, after: &str| {
        let mut word = OsString::from(before);
        word.push(name);
        word.push(after);
        parent.join(word)
    };
    let (next, previous) = (beside(".", ".next"), beside("", ".previous"));
    remove(&next)?;
    let made = build(&dir, &next, images).and_then(|()| sound(&dir, &next)).and_then(|()| {
        let exchanged = renameat_with(CWD, &next, CWD, &dir, RenameFlags::EXCHANGE);
        exchanged.map_err(|error| io("exchange (a mount point cannot be)", &dir)(error.into()))
    });
    if let Err(error) = made {
        let _ = fs::remove_dir_all(&next);
        return Err(error);
    }
    flush(parent)?;
    remove(&previous)?;
    fs::rename(&next, &previous).map_err(io("keep the former configuration as", &previous))?;
    flush(parent)
}

/// Only paths that [`pack`] makes, each once.
fn judge(images: &[FileImage]) -> Result<(), PushError> {
    let mut paths = BTreeSet::new();
    for image in images {
        if !is_ours(&image.path) {
            return Err(refused(&image.path, "neither cluster.toml nor a file in a module's folder"));
        }
        if !paths.insert(Path::new(&image.path)) {
            return Err(refused(&image.path, "sent twice"));
        }
    }
    for path in &paths {
        if path.ancestors().skip(1).any(|above| paths.contains(above)) {
            return Err(refused(path, "below something that is a file"));
        }
    }
    if !paths.contains(Path::new(CLUSTER_FILE)) {
        return Err(refused(CLUSTER_FILE, "not among what was sent"));
    }
    Ok(())
}

fn is_ours(path: &str) -> bool {
    if path == CLUSTER_FILE {
        return true;
    }
    // `components` forgives double and trailing slashes and dots within; what it makes of them must be what was sent.
    let parts: Option<Vec<&str>> = Path::new(path)
        .components()
        .map(|part| match part {
            Component::Normal(name) => name.to_str().filter(|name| !name.starts_with('.') && !name.contains('\0')),
            _ => None,
        })
        .collect();
    match parts.as_deref() {
        Some([first, module, rest @ ..]) => {
            let deep = (1..=limits::DEPTH + 1).contains(&rest.len());
            *first == MODULES && words::is_name(module) && deep && parts.as_deref().is_some_and(|parts| parts.join("/") == path)
        }
        _ => false,
    }
}

fn build(dir: &Path, next: &Path, images: &[FileImage]) -> Result<(), PushError> {
    let mode = fs::metadata(dir).map_err(io("examine", dir))?.permissions().mode() & 0o777;
    DirBuilder::new().mode(mode).create(next).map_err(io("make", next))?;
    folder(&next.join(MODULES))?;
    keep(dir, next, images)?;
    let mut folders = BTreeSet::from([next.to_owned(), next.join(MODULES)]);
    for image in images {
        let path = next.join(&image.path);
        if let Some(above) = path.parent() {
            folder(above)?;
            folders.extend(above.ancestors().take_while(|at| *at != next).map(Path::to_owned));
        }
        let mode = if image.mode & 0o100 != 0 { 0o755 } else { 0o644 };
        let mut file = File::options().write(true).create_new(true).mode(mode).open(&path).map_err(io("make", &path))?;
        // Whatever this process' umask is: nodes must end up alike.
        file.set_permissions(fs::Permissions::from_mode(mode)).map_err(io("set the mode of", &path))?;
        file.write_all(&image.bytes).and_then(|()| file.sync_all()).map_err(io("write", &path))?;
    }
    folders.iter().try_for_each(|folder| flush(folder))
}

fn folder(path: &Path) -> Result<(), PushError> {
    DirBuilder::new().mode(0o755).recursive(true).create(path).map_err(io("make", path))
}

/// Carries over what never travels, by links: owners, modes and content stay as they are. Of the modules' folders
/// these are the keys of modules that are still there.
fn keep(dir: &Path, next: &Path, images: &[FileImage]) -> Result<(), PushError> {
    for name in names(dir)? {
        if name != CLUSTER_FILE && name != MODULES {
            link(&dir.join(&name), &next.join(&name), false, 0)?;
        }
    }
    let (from, to) = (dir.join(MODULES), next.join(MODULES));
    if !from.is_dir() {
        return Ok(());
    }
    let stays = |module: &OsString| images.iter().any(|image| Path::new(&image.path).starts_with(Path::new(MODULES).join(module)));
    names(&from)?.iter().filter(|module| stays(module)).try_for_each(|module| link(&from.join(module), &to.join(module), true, 1))
}

fn names(folder: &Path) -> Result<Vec<OsString>, PushError> {
    let entries = fs::read_dir(folder).map_err(io("read", folder))?;
    entries.map(|entry| entry.map(|entry| entry.file_name()).map_err(io("read", folder))).collect()
}

fn link(from: &Path, to: &Path, only_secrets: bool, depth: usize) -> Result<(), PushError> {
    if depth > limits::DEPTH {
        return Err(refused(from, "too many folders deep: keep what is no configuration elsewhere"));
    }
    let metadata = fs::symlink_metadata(from).map_err(io("examine", from))?;
    if !metadata.is_dir() {
        if only_secrets && !(metadata.is_file() && holds_secret(from)?) {
            return Ok(());
        }
        if let Some(above) = to.parent() {
            folder(above)?;
        }
        return fs::hard_link(from, to).map_err(io("carry over", from));
    }
    if !only_secrets {
        DirBuilder::new().mode(metadata.permissions().mode() & 0o777).create(to).map_err(io("make", to))?;
        std::os::unix::fs::chown(to, Some(uid(&metadata)), Some(gid(&metadata))).map_err(io("set the owner of", to))?;
    }
    names(from)?.iter().try_for_each(|name| link(&from.join(name), &to.join(name), only_secrets, depth + 1))
}

fn uid(metadata: &fs::Metadata) -> u32 {
    std::os::unix::fs::MetadataExt::uid(metadata)
}

fn gid(metadata: &fs::Metadata) -> u32 {
    std::os::unix::fs::MetadataExt::gid(metadata)
}

fn holds_secret(path: &Path) -> Result<bool, PushError> {
    let mut head = Vec::new();
    let file = File::open(path).map_err(io("open", path))?;
    file.take(4096).read_to_end(&mut head).map_err(io("read", path))?;
    Ok(is_secret(&head))
}

/// What was sent must load here; its problems are told with the paths the files will have.
fn sound(dir: &Path, next: &Path) -> Result<(), PushError> {
    let problems: Vec<Problem> = match load::load_all(next) {
        Err(problems) => problems,
        Ok((_, modules)) => modules.into_iter().filter_map(|(_, module)| module.err()).flatten().collect(),
    };
    if problems.is_empty() {
        return Ok(());
    }
    let place = |mut problem: Problem| {
        if let Ok(path) = problem.file.strip_prefix(next) {
            problem.file = dir.join(path);
        }
        problem
    };
    Err(PushError::Unsound(problems.into_iter().map(place).collect()))
}

fn remove(path: &Path) -> Result<(), PushError> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(io("remove", path)(error)),
        _ => Ok(()),
    }
}

fn flush(folder: &Path) -> Result<(), PushError> {
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(io("flush", folder))
}

/// What `remote` has differently, in unified form; empty: nothing. Lines with `-` are here, lines with `+` there.
pub fn diff(local: &[FileImage], remote: &[FileImage]) -> String {
    let by_path = |images: &'_ [FileImage]| -> BTreeMap<String, FileImage> {
        images.iter().map(|image| (image.path.clone(), image.clone())).collect()
    };
    let (ours, theirs) = (by_path(local), by_path(remote));
    let paths: BTreeSet<&String> = ours.keys().chain(theirs.keys()).collect();
    paths.into_iter().map(|path| one(path, ours.get(path), theirs.get(path))).collect()
}

fn one(path: &str, ours: Option<&FileImage>, theirs: Option<&FileImage>) -> String {
    let mut text = String::new();
    let mode = |image: Option<&FileImage>| image.map(|image| image.mode & 0o100);
    if let (Some(ours), Some(theirs)) = (mode(ours), mode(theirs))
        && ours != theirs
    {
        let word = |executable| if executable == 0 { "not executable" } else { "executable" };
        text.push_str(&format!("{path}: {} here, {} there\n", word(ours), word(theirs)));
    }
    let bytes = |image: Option<&FileImage>| image.map(|image| image.bytes.clone()).unwrap_or_default();
    let (here, there) = (bytes(ours), bytes(theirs));
    let header = |image: Option<&FileImage>, side: &str| image.map_or("/dev/null".to_owned(), |_| format!("{side}/{path}"));
    if ours.is_some() == theirs.is_some() && here == there {
        return text;
    }
    let lines = |bytes: &[u8]| bytes.iter().filter(|byte| **byte == b'\n').count();
    let (Ok(old), Ok(new)) = (std::str::from_utf8(&here), std::str::from_utf8(&there)) else {
        return format!("{text}{path}: binary files differ\n");
    };
    if lines(&here).max(lines(&there)) > limits::DIFF_LINES {
        return format!("{text}{path}: large files differ\n");
    }
    let difference = similar::TextDiff::from_lines(old, new);
    let (old, new) = (header(ours, "here"), header(theirs, "there"));
    let unified = difference.unified_diff().context_radius(3).header(&old, &new).to_string();
    // An empty file that is on one side only has no lines to differ.
    text + &if unified.is_empty() { format!("--- {old}\n+++ {new}\n") } else { unified }
}

#[cfg(test)]
#[path = "tests/push.rs"]
mod tests;
