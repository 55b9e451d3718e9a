//! From words in a file to values, and back. Pure, and total: any text gets an answer.

use super::limits;
use std::time::Duration;

/// What a time looks like.
pub(super) const DURATION: &str = "a time with its unit, such as \"200ms\", \"5s\", \"1m30s\" or \"24h\", of at most a year";
/// What a rate looks like.
pub(super) const RATE: &str = "bytes per second with their unit, such as \"100MiB/s\" or \"50MB/s\"";
/// What a name looks like.
pub(super) const NAME: &str = "at most 64 letters, digits, `.`, `_` and `-`, not beginning with `.` or `-`";
/// What a printed name looks like.
pub(super) const LABEL: &str = "1 to 128 characters without control characters";
/// What an interface's name looks like.
pub(super) const INTERFACE: &str = "the name of an interface, such as \"eth0\"";

/// A name of a cluster, node or module. It becomes a folder, a part of unit names and of URLs.
pub fn is_name(word: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    !word.is_empty() && word.len() <= limits::NAME && word.chars().all(plain) && !word.starts_with(['.', '-'])
}

pub(super) fn is_label(word: &str) -> bool {
    !word.is_empty() && word.chars().count() <= limits::LABEL && !word.chars().any(char::is_control)
}

pub(super) fn is_interface(word: &str) -> bool {
    let plain = |c: char| !c.is_whitespace() && !c.is_control() && !matches!(c, '/' | ':');
    !word.is_empty() && word.len() <= limits::INTERFACE && word.chars().all(plain) && word != "." && word != ".."
}

/// A time of at most [`limits::LONGEST`].
pub(super) fn duration(word: &str) -> Option<Duration> {
    humantime::parse_duration(word).ok().filter(|time| *time <= limits::LONGEST)
}

/// Bytes per second.
pub(super) fn rate(word: &str) -> Option<u64> {
    size(word.trim().strip_suffix("/s")?)
}

/// What a budget is told as.
pub(super) const BUDGET: &str = "bytes with their unit, such as \"10GiB\", or \"0B\" for none";

/// Bytes that may be used; none of them with `0B`.
pub(super) fn budget(word: &str) -> Option<u64> {
    if word.trim() == "0B" { Some(0) } else { size(word) }
}

/// Bytes: a number and one of B, kB, MB, GB, TB (powers of 1000), KiB, MiB, GiB, TiB (powers of 1024).
fn size(word: &str) -> Option<u64> {
    let word = word.trim();
    let digits = word.find(|c: char| !c.is_ascii_digit()).unwrap_or(word.len());
    let (number, unit) = word.split_at(digits);
    let unit: u64 = match unit.trim() {
        "B" => 1,
        "kB" | "KB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "TB" => 1_000_000_000_000,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "TiB" => 1 << 40,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(unit).filter(|bytes| *bytes > 0)
}

/// The known word that a mistyped one resembles; none: it resembles none.
pub(super) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word: Vec<char> = word.to_lowercase().chars().take(limits::NAME).collect();
    let near = |known: &str| {
        let known: Vec<char> = known.chars().collect();
        let most = known.len().max(word.len()).div_ceil(3);
        Some(distance(&word, &known)).filter(|distance| *distance <= most)
    };
    known.into_iter().filter_map(|known| Some((near(known)?, known))).min_by_key(|(distance, _)| *distance).map(|(_, known)| known)
}

/// Characters to insert, remove, replace, or swap with their neighbour.
fn distance(a: &[char], b: &[char]) -> usize {
    let mut rows = vec![vec![0; b.len() + 1]; a.len() + 1];
    for i in 0..=a.len() {
        for j in 0..=b.len() {
            rows[i][j] = match (i, j) {
                (0, n) | (n, 0) => n,
                _ => {
                    let replaced = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
                    let mut least = replaced.min(rows[i - 1][j] + 1).min(rows[i][j - 1] + 1);
                    if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                        least = least.min(rows[i - 2][j - 2] + 1);
                    }
                    least
                }
            };
        }
    }
    rows[a.len()][b.len()]
}

/// `a, b or c`.
pub(super) fn or(words: &[&str]) -> String {
    match words {
        [] => "nothing".into(),
        [one] => (*one).into(),
        [first @ .., last] => format!("{} or {last}", first.join(", ")),
    }
}

/// Text as it would stand in a file, cut to what a line can bear.
pub(super) fn quoted(text: &str) -> String {
    let mut short: String = text.chars().take(limits::FOUND).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    format!("{short:?}")
}

/// Text as a basic string of TOML, whatever it holds.
pub(super) fn toml_string(text: &str) -> String {
    let escaped = |c: char| match c {
        '"' => "\\\"".into(),
        '\\' => "\\\\".into(),
        c if c.is_control() => format!("\\u{:04X}", u32::from(c)),
        c => c.to_string(),
    };
    format!("\"{}\"", text.chars().map(escaped).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        for (word, expected) in
            [("5s", Some(5_000)), ("1m30s", Some(90_000)), ("200ms", Some(200)), ("0s", Some(0)), ("24h", Some(86_400_000))]
        {
            assert_eq!(duration(word), expected.map(Duration::from_millis), "{word}");
        }
        for word in ["", "5", "s", "-1s", "5 parsecs", "400days", "99999999999999999999s"] {
            assert_eq!(duration(word), None, "{word}");
        }
    }

    #[test]
    fn rates() {
        for (word, expected) in [("100MiB/s", Some(100 << 20)), ("50 MB/s", Some(50_000_000)), ("1GiB/s", Some(1 << 30)), ("7B/s", Some(7))]
        {
            assert_eq!(rate(word), expected, "{word}");
        }
        for word in ["", "100", "100MiB", "MiB/s", "0MB/s", "1.5MB/s", "-1MB/s", "99999999999TiB/s", "5mb/s", "é/s"] {
            assert_eq!(rate(word), None, "{word}");
        }
    }

    #[test]
    fn budgets() {
        assert_eq!((budget("10GiB"), budget("0B"), budget("5 MB")), (Some(10 << 30), Some(0), Some(5_000_000)));
        assert!(["", "0", "10", "1GiB/s", "-1B"].iter().all(|word| budget(word).is_none()));
    }

    #[test]
    fn names() {
        for word in ["a", "db-1", "web.site_2", &"x".repeat(64)] {
            assert!(is_name(word), "{word}");
        }
        for word in ["", ".", "..", "-x", ".hidden", "a/b", "a b", "ä", &"x".repeat(65)] {
            assert!(!is_name(word), "{word}");
        }
    }

    #[test]
    fn the_nearest_word() {
        let known = ["address", "interval", "on_failure", "fall"];
        assert_eq!(nearest("adress", known), Some("address"));
        assert_eq!(nearest("intervall", known), Some("interval"));
        assert_eq!(nearest("onfailure", known), Some("on_failure"));
        assert_eq!(nearest("On_Failure", known), Some("on_failure"));
        assert_eq!(nearest("flal", known), Some("fall"));
        assert_eq!(nearest("colour", known), None);
    }
}
