//! What both files have.

use crate::config::read::{Section, Value};
use std::net::IpAddr;
use std::path::{Component, Path, PathBuf};

/// The version of the format.
pub(super) fn schema(root: &Section<'_>) {
    if let Some(value) = root.need("schema", "schema = 1, the version of this format") {
        value.number(1u32, 1);
    }
}

/// A file, relative to `dir` unless absolute.
pub(super) fn file(value: &Value<'_>, dir: &Path) -> Option<PathBuf> {
    value.parsed("the path of a file", |text| (!text.is_empty() && !text.ends_with('/')).then(|| dir.join(text)))
}

/// A program and its arguments; the program is absolute, or lies in `dir`.
pub(super) fn command(value: &Value<'_>, dir: &Path) -> Option<Vec<String>> {
    let expected = "a list of a program and its arguments, such as [\"/usr/bin/thing\", \"--flag\"]";
    let values = value.list()?;
    let mut words: Vec<String> = values.iter().filter_map(|value| value.text(expected)).map(str::to_owned).collect();
    match words.first_mut() {
        Some(program) if !program.is_empty() => *program = dir.join(&*program).to_string_lossy().into_owned(),
        _ => {
            value.wrong("no program", expected);
            return None;
        }
    }
    Some(words)
}

/// The address of one host.
pub(super) fn host(value: &Value<'_>) -> Option<IpAddr> {
    let address: IpAddr = value.read("an IP address, such as \"10.0.0.1\" or \"fd00::1\" (names are not looked up)")?;
    if address.is_unspecified() || address.is_multicast() {
        value.unlike("the address of one host");
        return None;
    }
    Some(address)
}

/// A URL that can be asked without TLS.
pub(super) fn url(value: &Value<'_>) -> Option<String> {
    let expected = "a URL that begins with http:// (https is not built)";
    let sound = |text: &str| {
        let host = text.strip_prefix("http://").and_then(|rest| rest.split('/').next());
        host.is_some_and(|host| !host.is_empty()) && !text.chars().any(|c| c.is_whitespace() || c.is_control())
    };
    value.checked(expected, sound)
}

/// A path that stays below the folder it is relative to.
pub(super) fn is_below(text: &str) -> bool {
    let path = Path::new(text);
    path.components().next().is_some() && path.components().all(|part| matches!(part, Component::Normal(_)))
}

/// A whole path, without `.` and `..`, that is not the root.
pub(super) fn is_whole(text: &str) -> bool {
    let path = Path::new(text);
    let mut parts = path.components();
    let clean = !text.split('/').any(|part| part == "." || part == "..");
    parts.next() == Some(Component::RootDir) && parts.next().is_some() && clean
}

/// Refuses a value that an earlier one had: `true` when it is the first.
pub(super) fn first<T: PartialEq>(value: &T, earlier: &[T], complain: impl FnOnce()) -> bool {
    let fresh = !earlier.contains(value);
    if !fresh {
        complain();
    }
    fresh
}
