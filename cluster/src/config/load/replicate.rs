//! `[[replicate]]`: which directory, and what of it.

use super::module::Context;
use super::parts;
use crate::config::read::{Section, Value};
use crate::config::{Replicate, limits, words};
use fsrepl::apply::Exclude;
use std::path::{Path, PathBuf};

pub(super) fn read(root: &Section<'_>, context: &Context<'_>) -> Vec<Replicate> {
    let sections = root.sections("replicate");
    if sections.is_empty() {
        root.missing("replicate", "[[replicate]] with the directory that is kept on both nodes");
    }
    if let Some(section) = sections.get(limits::DIRECTORIES) {
        section.wrong(
            format!("{} tables", sections.len()),
            format!("at most {} [[replicate]]: each directory has an engine of its own", limits::DIRECTORIES),
        );
    }
    let mut taken: Vec<Replicate> = Vec::new();
    for section in sections.iter().take(limits::DIRECTORIES) {
        let Some(replicate) = directory(section, context) else { continue };
        if apart(section, &replicate, &taken) {
            taken.push(replicate);
        }
    }
    taken
}

/// Directories of a module share neither files nor names.
fn apart(section: &Section<'_>, replicate: &Replicate, taken: &[Replicate]) -> bool {
    let own = &replicate.directory;
    if let Some(other) = taken.iter().find(|other| own.starts_with(&other.directory) || other.directory.starts_with(own)) {
        section.wrong(
            format!("directory = \"{}\"", own.display()),
            format!(
                "a directory neither above nor below {}, which is replicated already: one table for the upper one does",
                other.directory.display()
            ),
        );
        return false;
    }
    if taken.iter().any(|other| other.name == replicate.name) {
        section.wrong(format!("name = \"{}\"", replicate.name), "another name for each directory of the module: set `name`");
        return false;
    }
    // The first one's engine has the module's name; those of the others are told apart by theirs.
    if !taken.is_empty() && (replicate.name.contains('/') || replicate.name.len() > limits::DIRECTORY_NAME) {
        let most = limits::DIRECTORY_NAME;
        section.wrong(format!("name = \"{}\"", replicate.name), format!("a name of at most {most} bytes without `/`: set `name`"));
        return false;
    }
    true
}

fn directory(section: &Section<'_>, context: &Context<'_>) -> Option<Replicate> {
    let directory = section.need("directory", "an absolute path").and_then(|value| {
        let whole = value.checked("an absolute path without `.` and `..` that is not the root directory", parts::is_whole)?;
        let directory: PathBuf = Path::new(&whole).components().collect();
        apart_from_configuration(&value, &directory, context);
        Some(directory)
    });
    let name = section.get("name").map(|value| value.checked(words::LABEL, words::is_label));
    let exclude = section.get("exclude").map(|value| patterns(&value)).unwrap_or_default();
    let below = "a path relative to the directory, such as \"PG_VERSION\"";
    let require = section.get("require").and_then(|value| value.texts(below, parts::is_below)).unwrap_or_default();
    section.finish();
    let directory = directory?;
    let default = || directory.file_name().map(|name| name.to_string_lossy().into_owned());
    let name = match name {
        Some(given) => given?,
        None => default()?,
    };
    Some(Replicate { name, directory, exclude, require: require.into_iter().map(PathBuf::from).collect() })
}

/// A node must be able to read its configuration before it mounts anything.
fn apart_from_configuration(value: &Value<'_>, directory: &Path, context: &Context<'_>) {
    let Some(configuration) = context.folder.parent().and_then(Path::parent) else { return };
    if configuration.starts_with(directory) || directory.starts_with(configuration) {
        value.unlike(format!("a directory apart from the configuration's, {}", configuration.display()));
    }
}

fn patterns(value: &Value<'_>) -> Vec<String> {
    let mut patterns = Vec::new();
    for item in value.list().unwrap_or_default() {
        let Some(text) = item.text("a pattern such as \"/cache/**\"") else { continue };
        match Exclude::new(&[text.to_owned()]) {
            Err(why) => item.unlike(format!("a pattern such as \"/cache/**\" ({why})")),
            Ok(_) if text == "/" => item.unlike("a pattern that leaves something to replicate"),
            Ok(_) => patterns.push(text.to_owned()),
        }
    }
    patterns
}
