//! Ready modules for known applications: what `understudy module templates` lists and `understudy module create` writes.
//!
//! The folders of `modules/` are compiled in. A template's `module.toml` has places for values; its `template.toml` says
//! what each value means, so that a value can be checked before anything is written. Scripts have no such places: they
//! read the module's `[variables]`, so what was tested is what is written, byte for byte.
//!
//! Pure: nothing here touches a file system.

mod fill;
mod listing;
#[cfg(test)]
mod tests;
mod value;

use serde::Deserialize;
use std::collections::BTreeMap;
use std::sync::LazyLock;
pub use value::ValueKind;

/// Values by key, as `--set KEY=VALUE` gives them.
pub type Values = BTreeMap<String, String>;

/// One template.
#[derive(Clone, Debug)]
pub struct Template {
    /// What `--from` takes.
    pub name: &'static str,
    /// `mirror`, `farm` or `service`.
    pub kind: String,
    /// One line for people.
    pub summary: String,
    /// Its scripts were run against the real application.
    pub proven: bool,
    /// On which version; empty when unproven.
    pub proven_on: String,
    /// What `--set` takes, in the order in which it is shown.
    pub keys: Vec<Key>,
    module: &'static str,
    files: &'static [listing::Text],
}

/// A value that a template takes.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Key {
    /// What `--set` calls it.
    pub name: String,
    /// What is accepted.
    pub kind: ValueKind,
    /// What it says.
    pub meaning: String,
    /// Taken when it is not set; without one the lines that need it are written as comments.
    pub default: Option<String>,
    /// It has to be set.
    pub required: bool,
    /// A value that would be accepted.
    pub example: String,
}

/// One file to write into the new module's folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rendered {
    /// Its path, relative to the folder.
    pub path: String,
    /// Its content.
    pub bytes: Vec<u8>,
    /// Mode 0755 instead of 0644.
    pub executable: bool,
}

/// Why no module can be made. Each sentence says what is expected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// No template is called that.
    #[error("there is no template '{name}': there are {known}")]
    NoTemplate {
        /// What was asked for.
        name: String,
        /// The names of all templates.
        known: String,
    },
    /// A value for a key that the template does not have.
    #[error("template '{template}' takes no key '{key}': it takes {known}")]
    UnknownKey {
        /// The template.
        template: &'static str,
        /// What was set.
        key: String,
        /// The names of its keys.
        known: String,
    },
    /// Required keys that were not set.
    #[error("template '{template}' needs {missing}")]
    MissingKeys {
        /// The template.
        template: &'static str,
        /// Each with its meaning and how to set it.
        missing: String,
    },
    /// A value that its kind does not accept.
    #[error("{key} = '{value}' is not {expected}: {key} is the {meaning}, for example {key}={example}")]
    BadValue {
        /// The key.
        key: String,
        /// What was set.
        value: String,
        /// What would be accepted.
        expected: &'static str,
        /// The key's meaning.
        meaning: String,
        /// A value that would be accepted.
        example: String,
    },
}

/// What `template.toml` holds.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Description {
    schema: u32,
    kind: String,
    summary: String,
    proven: bool,
    proven_on: String,
    files: Vec<String>,
    shared: Vec<String>,
    #[serde(default, rename = "key")]
    keys: Vec<Key>,
}

/// The version of `template.toml` that is read here.
const SCHEMA: u32 = 1;

/// All templates, in the order in which they are shown.
pub fn templates() -> &'static [Template] {
    static TEMPLATES: LazyLock<Vec<Template>> = LazyLock::new(|| listing::SOURCES.iter().map(read).collect());
    &TEMPLATES
}

/// The template of that name.
///
/// # Errors
/// `NoTemplate`, with the names there are.
pub fn find(name: &str) -> Result<&'static Template, Error> {
    templates().iter().find(|template| template.name == name).ok_or_else(|| {
        let known: Vec<_> = templates().iter().map(|template| template.name).collect();
        Error::NoTemplate { name: name.to_owned(), known: known.join(", ") }
    })
}

/// The files of a new module: `module.toml` with the values in place, README.md, scripts.
///
/// # Errors
/// A key the template does not take, a required one that is not set, a value its kind does not accept.
pub fn render(template: &Template, values: &Values) -> Result<Vec<Rendered>, Error> {
    check(template, values)?;
    let module = fill::fill(template.module, &template.keys, values);
    let mut files = vec![Rendered { path: "module.toml".to_owned(), bytes: module.into_bytes(), executable: false }];
    files.extend(template.files.iter().map(|&(name, text)| Rendered {
        path: name.to_owned(),
        bytes: text.as_bytes().to_vec(),
        executable: is_executable(name),
    }));
    Ok(files)
}

/// Files that are run have no dot in their names; libraries and documents have one.
fn is_executable(name: &str) -> bool {
    !name.contains('.')
}

fn check(template: &Template, values: &Values) -> Result<(), Error> {
    for (key, value) in values {
        let Some(known) = template.keys.iter().find(|k| k.name == *key) else {
            let known: Vec<_> = template.keys.iter().map(|k| k.name.as_str()).collect();
            return Err(Error::UnknownKey { template: template.name, key: key.clone(), known: known.join(", ") });
        };
        // A default may be empty where no other value may.
        if known.default.as_ref() != Some(value) && !known.kind.accepts(value) {
            return Err(Error::BadValue {
                key: key.clone(),
                value: value.clone(),
                expected: known.kind.expected(),
                meaning: known.meaning.clone(),
                example: known.example.clone(),
            });
        }
    }
    let missing: Vec<_> = template.keys.iter().filter(|key| key.required && !values.contains_key(&key.name)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let say = |key: &&Key| format!("'{}', the {} (--set {}={})", key.name, key.meaning, key.name, quoted(&key.example));
    Err(Error::MissingKeys { template: template.name, missing: missing.iter().map(say).collect::<Vec<_>>().join("; ") })
}

/// As a shell takes it.
fn quoted(word: &str) -> String {
    if word.contains([' ', '*', '$', '"', '(']) { format!("'{word}'") } else { word.to_owned() }
}

fn read(source: &listing::Source) -> Template {
    let description: Description = toml::from_str(source.description).expect("a test reads every template.toml that is compiled in");
    debug_assert_eq!(description.schema, SCHEMA);
    debug_assert_eq!(description.files.len() + description.shared.len() + 1, source.files.len());
    Template {
        name: source.name,
        kind: description.kind,
        summary: description.summary,
        proven: description.proven,
        proven_on: description.proven_on,
        keys: description.keys,
        module: source.module,
        files: source.files,
    }
}
