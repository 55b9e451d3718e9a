//! Reads a TOML document value by value and collects every mistake on the way: one run tells the operator all of them.
//!
//! Whoever reads asks a [`Section`] for the keys it knows; what nobody asked for is unknown, and an error.

use super::limits;
use super::problem::Problem;
use super::words::{self, or, quoted};
use std::cell::RefCell;
use std::fmt::Display;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// The text of a file, or why there is none.
pub(super) fn text(file: &Path) -> Result<String, Problem> {
    let problem = |found: String| Problem {
        file: file.into(),
        line: 0,
        key: String::new(),
        found,
        expected: "a text file in TOML of at most 1 MiB".into(),
    };
    let cannot = |error: std::io::Error| problem(format!("nothing that can be read ({error})"));
    // Not blocking: a FIFO must be reported, not waited for.
    let opened = std::fs::File::options().read(true).custom_flags(libc::O_NONBLOCK).open(file).map_err(cannot)?;
    if !opened.metadata().map_err(cannot)?.is_file() {
        return Err(problem("something that is no regular file".into()));
    }
    let mut bytes = Vec::new();
    opened.take(limits::FILE + 1).read_to_end(&mut bytes).map_err(cannot)?;
    if bytes.len() as u64 > limits::FILE {
        return Err(problem("a larger file".into()));
    }
    String::from_utf8(bytes).map_err(|_| problem("bytes that are no UTF-8".into()))
}

/// A document and the mistakes found in it so far.
pub(super) struct Document<'t> {
    file: PathBuf,
    /// Where each line begins.
    lines: Vec<usize>,
    root: Spanned<DeTable<'t>>,
    problems: RefCell<Vec<Problem>>,
}

impl<'t> Document<'t> {
    /// Parses; every error of the syntax is a problem, and then nothing else is looked at.
    pub(super) fn parse(file: &Path, text: &'t str) -> Result<Document<'t>, Vec<Problem>> {
        let (root, errors) = DeTable::parse_recoverable(text);
        let lines = std::iter::once(0).chain(text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at + 1)).collect();
        let document = Document { file: file.into(), lines, root, problems: RefCell::default() };
        for error in errors {
            let line = document.line(error.span().map_or(0, |span| span.start));
            let (found, expected) = error.message().split_once(", expected ").unwrap_or((error.message(), "sound TOML"));
            document.problem(line, String::new(), found.into(), expected.into());
        }
        if document.problems.borrow().is_empty() { Ok(document) } else { Err(document.problems()) }
    }

    /// The whole document.
    pub(super) fn root(&self) -> Section<'_> {
        Section { document: self, table: self.root.get_ref(), key: String::new(), line: 1, asked: RefCell::default() }
    }

    /// How many mistakes were found so far.
    pub(super) fn faults(&self) -> usize {
        self.problems.borrow().len()
    }

    /// Every mistake, in the order of the file.
    pub(super) fn problems(self) -> Vec<Problem> {
        let mut problems = self.problems.into_inner();
        problems.sort_by_key(|problem| problem.line);
        problems.dedup();
        problems
    }

    fn problem(&self, line: usize, key: String, found: String, expected: String) {
        self.problems.borrow_mut().push(Problem { file: self.file.clone(), line, key, found, expected });
    }

    fn line(&self, at: usize) -> usize {
        self.lines.partition_point(|start| *start <= at)
    }
}

/// A table, and the keys that were asked for.
pub(super) struct Section<'d> {
    document: &'d Document<'d>,
    table: &'d DeTable<'d>,
    key: String,
    line: usize,
    asked: RefCell<Vec<&'static str>>,
}

impl<'d> Section<'d> {
    /// The value of a key that may be absent.
    pub(super) fn get(&self, key: &'static str) -> Option<Value<'d>> {
        self.asked.borrow_mut().push(key);
        self.table.get(key).map(|value| self.value(key, value))
    }

    /// The value of a key that must be there.
    pub(super) fn need(&self, key: &'static str, expected: &str) -> Option<Value<'d>> {
        let value = self.get(key);
        if value.is_none() {
            self.missing(key, expected);
        }
        value
    }

    /// Every key, where any name will do.
    pub(super) fn all(&self) -> impl Iterator<Item = (&'d str, Value<'d>)> {
        self.table.iter().map(|(key, value)| (&**key.get_ref(), self.value(key.get_ref(), value)))
    }

    /// A table that may be absent.
    pub(super) fn section(&self, key: &'static str) -> Option<Section<'d>> {
        self.get(key)?.section()
    }

    /// The tables of `[[key]]`; none when absent.
    pub(super) fn sections(&self, key: &'static str) -> Vec<Section<'d>> {
        let Some(value) = self.get(key) else { return Vec::new() };
        value.list().unwrap_or_default().iter().filter_map(Value::section).collect()
    }

    /// Refuses keys that are there but have no meaning here, with the reason.
    pub(super) fn refuse(&self, keys: &[&'static str], expected: &str) {
        for key in keys {
            if let Some(value) = self.get(key) {
                value.wrong("the key", expected);
            }
        }
    }

    /// A key that is not there.
    pub(super) fn missing(&self, key: &str, expected: &str) {
        self.document.problem(self.line, self.path(key), "nothing".into(), expected.into());
    }

    /// Something about the table as a whole.
    pub(super) fn wrong(&self, found: impl Into<String>, expected: impl Into<String>) {
        self.document.problem(self.line, self.key.clone(), found.into(), expected.into());
    }

    /// Every key that nobody asked for is unknown.
    pub(super) fn finish(&self) {
        let asked = self.asked.borrow();
        for (key, _) in self.table {
            let (word, at) = (&**key.get_ref(), key.span().start);
            if asked.contains(&word) {
                continue;
            }
            let expected = match words::nearest(word, asked.iter().copied()) {
                Some(near) => format!("`{near}`?"),
                None => {
                    let mut known: Vec<&str> = asked.clone();
                    known.sort_unstable();
                    known.dedup();
                    or(&known)
                }
            };
            let shown: String = word.chars().take(limits::NAME).flat_map(char::escape_debug).collect();
            self.document.problem(self.document.line(at), self.path(&shown), "an unknown key".into(), expected);
        }
    }

    fn path(&self, key: &str) -> String {
        if self.key.is_empty() { key.into() } else { format!("{}.{key}", self.key) }
    }

    fn value(&self, key: &str, value: &'d Spanned<DeValue<'d>>) -> Value<'d> {
        let line = self.document.line(value.span().start);
        Value { document: self.document, value: value.get_ref(), key: self.path(key), line }
    }
}

/// A value with its place.
pub(super) struct Value<'d> {
    document: &'d Document<'d>,
    value: &'d DeValue<'d>,
    key: String,
    line: usize,
}

impl<'d> Value<'d> {
    /// A mistake here.
    pub(super) fn wrong(&self, found: impl Into<String>, expected: impl Into<String>) {
        self.document.problem(self.line, self.key.clone(), found.into(), expected.into());
    }

    /// What is here is not what belongs here.
    pub(super) fn unlike(&self, expected: impl Into<String>) {
        self.wrong(self.found(), expected);
    }

    /// What is here, in words.
    pub(super) fn found(&self) -> String {
        match self.value {
            DeValue::String(text) => quoted(text),
            DeValue::Integer(number) => number.to_string(),
            DeValue::Float(number) => number.as_str().into(),
            DeValue::Boolean(yes) => yes.to_string(),
            DeValue::Datetime(_) => "a date or time".into(),
            DeValue::Array(_) => "a list".into(),
            DeValue::Table(_) => "a table".into(),
        }
    }

    /// Text, whatever it says; no NUL, which no program and no system call could be given.
    pub(super) fn text(&self, expected: &str) -> Option<&'d str> {
        match self.value {
            DeValue::String(text) if !text.contains('\0') => Some(text),
            _ => {
                self.unlike(expected);
                None
            }
        }
    }

    /// The same without complaining: the value is read, and judged, elsewhere.
    pub(super) fn quiet<T>(&self, parse: impl FnOnce(&str) -> Option<T>) -> Option<T> {
        self.value.as_str().and_then(parse)
    }

    /// Text that `parse` understands.
    pub(super) fn parsed<T>(&self, expected: &str, parse: impl FnOnce(&str) -> Option<T>) -> Option<T> {
        let parsed = parse(self.text(expected)?);
        if parsed.is_none() {
            self.unlike(expected);
        }
        parsed
    }

    /// Text that can be read as a `T`.
    pub(super) fn read<T: std::str::FromStr>(&self, expected: &str) -> Option<T> {
        self.parsed(expected, |text| text.parse().ok())
    }

    /// Text for which `sound` holds.
    pub(super) fn checked(&self, expected: &str, sound: impl FnOnce(&str) -> bool) -> Option<String> {
        self.parsed(expected, |text| sound(text).then(|| text.to_owned()))
    }

    /// One of a few words.
    pub(super) fn word<T: Copy>(&self, known: &[(&str, T)]) -> Option<T> {
        let expected = || {
            let all: Vec<&str> = known.iter().map(|(word, _)| *word).collect();
            let near = match self.value {
                DeValue::String(text) => words::nearest(text, all.iter().copied()),
                _ => None,
            };
            let near = near.map(|near| format!(" (`{near}`?)")).unwrap_or_default();
            format!("{}{near}", or(&all))
        };
        let found = match self.value {
            DeValue::String(text) => known.iter().find(|(word, _)| *word == &**text).map(|(_, value)| *value),
            _ => None,
        };
        if found.is_none() {
            self.unlike(expected());
        }
        found
    }

    /// A time; zero only where it makes sense.
    pub(super) fn duration(&self, zero: bool) -> Option<Duration> {
        let time = self.parsed(words::DURATION, words::duration)?;
        if time.is_zero() && !zero {
            self.unlike("a time of more than 0");
            return None;
        }
        Some(time)
    }

    /// `true` or `false`.
    pub(super) fn boolean(&self) -> Option<bool> {
        match self.value {
            DeValue::Boolean(yes) => Some(*yes),
            _ => {
                self.unlike("true or false, without quotes");
                None
            }
        }
    }

    /// A whole number within bounds.
    pub(super) fn number<T: TryFrom<u64> + PartialOrd + Display>(&self, least: T, most: T) -> Option<T> {
        let number = match self.value {
            DeValue::Integer(number) => u64::from_str_radix(number.as_str(), number.radix()).ok().and_then(|n| T::try_from(n).ok()),
            _ => None,
        };
        let number = number.filter(|number| *number >= least && *number <= most);
        if number.is_none() {
            self.unlike(if least == most { least.to_string() } else { format!("a whole number from {least} to {most}, without quotes") });
        }
        number
    }

    /// A list; each value keeps the list's key.
    pub(super) fn list(&self) -> Option<Vec<Value<'d>>> {
        let DeValue::Array(list) = self.value else {
            self.unlike("a list (for tables: [[double brackets]])");
            return None;
        };
        if list.len() > limits::LIST {
            self.wrong(format!("{} entries", list.len()), format!("at most {}", limits::LIST));
            return None;
        }
        let item = |value: &'d Spanned<DeValue<'d>>| Value {
            document: self.document,
            value: value.get_ref(),
            key: self.key.clone(),
            line: self.document.line(value.span().start),
        };
        Some(list.iter().map(item).collect())
    }

    /// A list of texts for which `sound` holds; the sound ones of it.
    pub(super) fn texts(&self, expected: &str, sound: impl Fn(&str) -> bool) -> Option<Vec<String>> {
        Some(self.list()?.iter().filter_map(|value| value.checked(expected, &sound)).collect())
    }

    /// Whether it is a table.
    pub(super) fn is_table(&self) -> bool {
        self.value.is_table()
    }

    /// A table.
    pub(super) fn section(&self) -> Option<Section<'d>> {
        let DeValue::Table(table) = self.value else {
            self.unlike("a table");
            return None;
        };
        Some(Section { document: self.document, table, key: self.key.clone(), line: self.line, asked: RefCell::default() })
    }
}
