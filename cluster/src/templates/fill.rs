//! Values in their places. A place is `{{key}}` or `{{key|default}}`. A line that begins with `{{?key}}` (once or more)
//! is written as a comment, with the key's example, when one of these keys has no value: so a module shows what else
//! it could have.

use super::{Key, Values};

/// `text` with all places filled. Values have been checked; required ones are there.
pub(super) fn fill(text: &str, keys: &[Key], values: &Values) -> String {
    let mut filled = String::with_capacity(text.len());
    for line in text.lines() {
        let (conditions, rest) = conditions(line);
        if conditions.iter().any(|name| value(keys, values, name).is_none()) {
            filled.push_str("# ");
        }
        filled.push_str(&fill_line(rest, keys, values));
        filled.push('\n');
    }
    filled
}

/// The keys a line depends on, and the line without them.
fn conditions(mut line: &str) -> (Vec<&str>, &str) {
    let mut names = Vec::new();
    while let Some((name, rest)) = line.strip_prefix("{{?").and_then(|rest| rest.split_once("}}")) {
        names.push(name);
        line = rest;
    }
    (names, line)
}

fn fill_line(mut line: &str, keys: &[Key], values: &Values) -> String {
    let mut filled = String::with_capacity(line.len());
    while let Some((before, rest)) = line.split_once("{{") {
        let Some((place, after)) = rest.split_once("}}") else { break };
        filled.push_str(before);
        filled.push_str(&fill_place(place, keys, values));
        line = after;
    }
    filled.push_str(line);
    filled
}

fn fill_place(place: &str, keys: &[Key], values: &Values) -> String {
    let (name, default) = place.split_once('|').map_or((place, None), |(name, default)| (name, Some(default)));
    let Some(key) = find(keys, name) else { return String::new() };
    let value = value(keys, values, name).or(default).unwrap_or(&key.example);
    key.kind.written(value)
}

fn find<'a>(keys: &'a [Key], name: &str) -> Option<&'a Key> {
    keys.iter().find(|key| key.name == name)
}

fn value<'a>(keys: &'a [Key], values: &'a Values, name: &str) -> Option<&'a str> {
    let set = values.get(name).or_else(|| find(keys, name).and_then(|key| key.default.as_ref()));
    set.map(String::as_str)
}
