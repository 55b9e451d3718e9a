//! Kinds of values, and what each accepts. What is refused here would be an error in the module that is written.

use serde::Deserialize;
use std::net::IpAddr;

/// Longest value: a line of a file, not a file.
const LONGEST: usize = 1000;

/// What a key accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ValueKind {
    /// A word of letters, digits and `. _ - @ :`.
    Name,
    /// Names, separated by commas; written as a list.
    Names,
    /// Patterns, separated by commas; written as a list. Anchored, so each begins with a slash.
    Patterns,
    /// An address with the length of its network's prefix.
    Address,
    /// An absolute path without `.`, `..` or a slash at its end.
    Directory,
    /// The same, of a file.
    File,
    /// 1 to 65535.
    Port,
    /// A whole number above 0.
    Number,
    /// `http://…` or `https://…`.
    Url,
    /// `yes` or `no`.
    YesNo,
    /// `client-ip` or `client-port`.
    Affinity,
    /// One line of anything.
    Text,
}

impl ValueKind {
    /// Whether a value is of this kind.
    pub fn accepts(self, value: &str) -> bool {
        if value.len() > LONGEST || value.chars().any(char::is_control) {
            return false;
        }
        match self {
            ValueKind::Name => is_name(value),
            ValueKind::Names => list(value).all(is_name) && !value.is_empty(),
            ValueKind::Patterns => list(value).all(|pattern| pattern.starts_with('/') && pattern.len() > 1),
            ValueKind::Address => is_address(value),
            ValueKind::Directory | ValueKind::File => is_path(value),
            ValueKind::Port => value.parse::<u16>().is_ok_and(|port| port > 0),
            ValueKind::Number => value.parse::<u32>().is_ok_and(|number| number > 0),
            ValueKind::Url => ["http://", "https://"].iter().any(|scheme| value.len() > scheme.len() && value.starts_with(scheme)),
            ValueKind::YesNo => matches!(value, "yes" | "no"),
            ValueKind::Affinity => matches!(value, "client-ip" | "client-port"),
            ValueKind::Text => true,
        }
    }

    /// What would be accepted, for a sentence.
    pub fn expected(self) -> &'static str {
        match self {
            ValueKind::Name => "a name (letters, digits and . _ - @ : /)",
            ValueKind::Names => "a list of names, separated by commas",
            ValueKind::Patterns => "a list of patterns that begin with /, separated by commas",
            ValueKind::Address => "an address with the length of its network's prefix",
            ValueKind::Directory => "an absolute directory (no '.', '..', or / at its end)",
            ValueKind::File => "an absolute file (no '.', '..', or / at its end)",
            ValueKind::Port => "a port (1 to 65535)",
            ValueKind::Number => "a whole number above 0",
            ValueKind::Url => "a URL (http:// or https://)",
            ValueKind::YesNo => "yes or no",
            ValueKind::Affinity => "client-ip or client-port",
            ValueKind::Text => "one line of at most 1000 bytes",
        }
    }

    /// As it is written between the quotes, or the brackets, of a TOML file.
    pub(super) fn written(self, value: &str) -> String {
        match self {
            ValueKind::Names | ValueKind::Patterns => {
                list(value).map(|item| format!("\"{}\"", escaped(item))).collect::<Vec<_>>().join(", ")
            }
            _ => escaped(value),
        }
    }
}

fn list(value: &str) -> impl Iterator<Item = &str> {
    value.split(',').map(str::trim).filter(move |_| !value.is_empty())
}

fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"")
}

fn is_name(value: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '@' | ':' | '/');
    !value.is_empty() && value.chars().all(fits) && !value.starts_with('-')
}

fn is_address(value: &str) -> bool {
    let Some((address, prefix)) = value.split_once('/') else { return false };
    let Ok(address) = address.parse::<IpAddr>() else { return false };
    let longest = if address.is_ipv4() { 32 } else { 128 };
    !address.is_unspecified() && !address.is_multicast() && prefix.parse::<u8>().is_ok_and(|length| (1..=longest).contains(&length))
}

fn is_path(value: &str) -> bool {
    let Some(relative) = value.strip_prefix('/') else { return false };
    relative.split('/').all(|part| !matches!(part, "" | "." | ".."))
}
