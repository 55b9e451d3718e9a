//! `[[replicate]]`: which directory, and what of it.

use super::module::Context;
use super::parts;
use crate::config::read::{Section, Value};
use crate::config::{Replicate, words};
use fsrepl::apply::Exclude;
use std::path::{Path, PathBuf};

pub(super) fn read(root: &Section<'_>, context: &Context<'_>) -> Vec<Replicate> {
    let sections = root.sections("replicate");
    if sections.is_empty() {
        root.missing("replicate", "[[replicate]] with the directory that is kept on both nodes");
    }
    for section in sections.iter().skip(1) {
        section.wrong(
            "a second [[replicate]]",
            "one: a directory is one consistency group today, so put both directories below one that is replicated",
        );
    }
    sections.iter().filter_map(|section| directory(section, context)).collect()
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
