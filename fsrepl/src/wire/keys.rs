//! The keys that nodes of one pair share.
//!
//! A key file is readable by its owner only, holds a version line and one key a line. The first
//! key is used for new connections, all are accepted: a key is rotated by adding it at the end on
//! both nodes, then moving it to the front, then removing the old one.

use crate::limits;
use aws_lc_rs::rand;
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use zeroize::Zeroizing;

/// First line of a key file.
const VERSION: &str = "understudy-keys 1";
/// Permission bits that make a key file unacceptable.
const OTHERS: u32 = 0o077;

/// How a connection is protected.
#[derive(Clone, Debug)]
pub enum Auth {
    /// Framing only: anybody who reaches the port is believed.
    Insecure,
    /// Both ends prove that they hold one of these.
    Keys(KeyRing),
}

/// A secret and the public name it is chosen by.
#[derive(Clone, PartialEq, Eq)]
pub struct Key {
    /// Travels in the clear.
    pub id: [u8; 16],
    secret: Zeroizing<[u8; 32]>,
}

impl Key {
    /// A key from its parts.
    pub fn new(id: [u8; 16], secret: [u8; 32]) -> Self {
        Key { id, secret: Zeroizing::new(secret) }
    }

    /// A new random key.
    pub fn generate() -> Result<Self, KeyError> {
        let mut key = Key { id: [0; 16], secret: Zeroizing::new([0; 32]) };
        rand::fill(&mut key.id).map_err(|_| KeyError::Random)?;
        rand::fill(key.secret.as_mut()).map_err(|_| KeyError::Random)?;
        Ok(key)
    }

    pub(super) fn secret(&self) -> &[u8; 32] {
        &self.secret
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({})", Hex(&self.id))
    }
}

/// Why there are no keys.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    #[error("{}: cannot {what} the key file: {source}", .path.display())]
    Io { path: PathBuf, what: &'static str, source: io::Error },
    #[error("{}: a key file is there already: remove it first, or choose another name", .0.display())]
    Exists(PathBuf),
    #[error("{}: not a regular file: expected a key file made by `understudy keygen`", .0.display())]
    Kind(PathBuf),
    #[error("{}: mode {mode:04o} lets others use the key: expected 0600 (chmod 600 {})", .path.display(), .path.display())]
    Mode { path: PathBuf, mode: u32 },
    #[error("{}: {size} bytes is no key file: expected at most {}", .path.display(), limits::KEY_FILE)]
    Size { path: PathBuf, size: u64 },
    #[error("{}:{line}: {found}: expected {expected}", .path.display())]
    Line { path: PathBuf, line: usize, found: &'static str, expected: String },
    #[error("the system gave no random bytes")]
    Random,
}

/// One to `limits::KEYS` keys, the first for new connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRing(Arc<[Key]>);

impl KeyRing {
    /// The keys in order; `None` without any, with too many, or when two share an id.
    pub fn new(keys: Vec<Key>) -> Option<Self> {
        let distinct = keys.iter().enumerate().all(|(i, k)| keys[..i].iter().all(|other| other.id != k.id));
        ((1..=limits::KEYS).contains(&keys.len()) && distinct).then(|| KeyRing(keys.into()))
    }

    /// All keys of several files, each id once: for who serves many clusters. `None` without any, or when two share an id.
    pub fn union<'a>(rings: impl IntoIterator<Item = &'a KeyRing>) -> Option<Self> {
        let keys: Vec<Key> = rings.into_iter().flat_map(KeyRing::iter).cloned().collect();
        let mut ids: Vec<[u8; 16]> = keys.iter().map(|key| key.id).collect();
        ids.sort_unstable();
        (!keys.is_empty() && ids.windows(2).all(|pair| pair[0] != pair[1])).then(|| KeyRing(keys.into()))
    }

    /// The key for new connections.
    pub fn first(&self) -> &Key {
        &self.0[0]
    }

    /// The key of this id.
    pub fn find(&self, id: &[u8; 16]) -> Option<&Key> {
        self.0.iter().find(|k| k.id == *id)
    }

    /// All keys in the order of the file.
    pub fn iter(&self) -> impl Iterator<Item = &Key> {
        self.0.iter()
    }

    /// Writes a new key file of mode 0600 with one random key; never replaces anything.
    pub fn generate_file(path: &Path) -> Result<Self, KeyError> {
        let key = Key::generate()?;
        let text = Zeroizing::new(format!(
            "{VERSION}\n# ID SECRET: one key a line, the first is used for new connections. Keep this file private.\n{} {}\n",
            Hex(&key.id),
            Hex(key.secret())
        ));
        let mut file = match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                return Err(KeyError::Exists(path.into()));
            }
            Err(e) => return Err(failed(path, "create")(e)),
        };
        let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
        if let Err(e) = written {
            // Half a key file would only be found out when it is needed.
            let _ = std::fs::remove_file(path);
            return Err(failed(path, "write")(e));
        }
        Ok(KeyRing([key].into()))
    }

    /// Reads a key file; refuses one that others could have read or written.
    pub fn load(path: &Path) -> Result<Self, KeyError> {
        // Not blocking: a FIFO must be reported, not waited for.
        let nonblock = libc::O_NONBLOCK;
        let file = OpenOptions::new().read(true).custom_flags(nonblock).open(path).map_err(failed(path, "open"))?;
        check(&file, path)?;
        let mut text = Zeroizing::new(String::with_capacity(limits::KEY_FILE as usize + 1));
        match file.take(limits::KEY_FILE + 1).read_to_string(&mut text) {
            Ok(size) if size as u64 > limits::KEY_FILE => Err(KeyError::Size { path: path.into(), size: size as u64 }),
            Ok(_) => parse(&text, path),
            Err(e) => Err(failed(path, "read")(e)),
        }
    }
}

fn failed(path: &Path, what: &'static str) -> impl FnOnce(io::Error) -> KeyError {
    move |source| KeyError::Io { path: path.into(), what, source }
}

fn check(file: &File, path: &Path) -> Result<(), KeyError> {
    let metadata = file.metadata().map_err(failed(path, "examine"))?;
    if !metadata.is_file() {
        return Err(KeyError::Kind(path.into()));
    }
    if metadata.mode() & OTHERS != 0 {
        return Err(KeyError::Mode { path: path.into(), mode: metadata.mode() & 0o7777 });
    }
    if metadata.len() > limits::KEY_FILE {
        return Err(KeyError::Size { path: path.into(), size: metadata.len() });
    }
    Ok(())
}

fn parse(text: &str, path: &Path) -> Result<KeyRing, KeyError> {
    let wrong = |line: usize, found, expected: &str| KeyError::Line { path: path.into(), line, found, expected: expected.into() };
    let mut lines = text.lines().enumerate().map(|(i, l)| (i + 1, l.trim())).filter(|(_, l)| !l.is_empty() && !l.starts_with('#'));
    match lines.next() {
        Some((_, VERSION)) => {}
        first => {
            let line = first.map_or(1, |(line, _)| line);
            return Err(wrong(line, "no version this program knows", &format!("`{VERSION}`")));
        }
    }
    let mut keys: Vec<Key> = Vec::new();
    let mut last = 1;
    for (line, text) in lines {
        last = line;
        let key = parse_key(text)
            .ok_or_else(|| wrong(line, "not a key", "an id of 32 hexadecimal digits, a blank, a secret of 64 hexadecimal digits"))?;
        if keys.iter().any(|k| k.id == key.id) {
            return Err(wrong(line, "an id for the second time", "every id once"));
        }
        if keys.len() == limits::KEYS {
            return Err(wrong(line, "too many keys", &format!("at most {}", limits::KEYS)));
        }
        keys.push(key);
    }
    KeyRing::new(keys).ok_or_else(|| wrong(last, "no key", "a line with an id and a secret"))
}

fn parse_key(line: &str) -> Option<Key> {
    let mut words = line.split_ascii_whitespace();
    let mut key = Key { id: [0; 16], secret: Zeroizing::new([0; 32]) };
    unhex(words.next()?, &mut key.id)?;
    unhex(words.next()?, key.secret.as_mut())?;
    words.next().is_none().then_some(key)
}

fn unhex(text: &str, out: &mut [u8]) -> Option<()> {
    if text.len() != 2 * out.len() {
        return None;
    }
    let digit = |b: u8| char::from(b).to_digit(16).map(|d| d as u8);
    for (byte, pair) in out.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(())
}

/// Bytes as hexadecimal digits.
pub(super) struct Hex<'a>(pub &'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|b| write!(f, "{b:02x}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{Permissions, read_to_string, set_permissions, write};
    use std::os::unix::fs::PermissionsExt;

    fn file(text: &str) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("pair.key");
        write(&path, text).expect("written");
        set_permissions(&path, Permissions::from_mode(0o600)).expect("private");
        (dir, path)
    }

    fn complaint(text: &str) -> String {
        let (_dir, path) = file(text);
        let told = KeyRing::load(&path).expect_err("refused").to_string();
        told.replace(&format!("{}", path.display()), "F")
    }

    #[test]
    fn a_generated_file_is_private_loads_and_stays() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("pair.key");
        let made = KeyRing::generate_file(&path).expect("made");
        assert_eq!(path.metadata().expect("there").mode() & 0o7777, 0o600);
        assert_eq!(KeyRing::load(&path).expect("loads"), made);
        let before = read_to_string(&path).expect("text");
        assert!(matches!(KeyRing::generate_file(&path), Err(KeyError::Exists(_))));
        assert_eq!(read_to_string(&path).expect("text"), before);
    }

    #[test]
    fn two_generated_keys_differ() {
        let (a, b) = (Key::generate().expect("a"), Key::generate().expect("b"));
        assert!(a.id != b.id && a.secret != b.secret);
    }

    #[test]
    fn others_bits_are_refused_with_the_cure() {
        for mode in [0o640, 0o604, 0o620, 0o660, 0o644] {
            let (_dir, path) = file("irrelevant");
            set_permissions(&path, Permissions::from_mode(mode)).expect("mode");
            let told = KeyRing::load(&path).expect_err("refused").to_string();
            assert!(told.contains(&format!("{mode:04o}")) && told.contains("chmod 600"), "{told}");
        }
    }

    #[test]
    fn order_comments_and_blank_lines() {
        let (a, b) = ("0a".repeat(16), "0B".repeat(16));
        let text = format!("# ours\n{VERSION}\n\n{a} {}\n  # old\n {b}\t{}\n", "01".repeat(32), "ff".repeat(32));
        let (_dir, path) = file(&text);
        let ring = KeyRing::load(&path).expect("loads");
        assert_eq!(ring.first(), &Key::new([0x0a; 16], [1; 32]));
        assert_eq!(ring.find(&[0x0b; 16]), Some(&Key::new([0x0b; 16], [0xff; 32])));
        assert_eq!(ring.find(&[0; 16]), None);
        assert_eq!(ring.iter().count(), 2);
    }

    #[test]
    fn errors_name_the_line_and_what_was_expected() {
        let key = format!("{} {}", "0a".repeat(16), "01".repeat(32));
        assert!(complaint("").starts_with("F:1: no version"));
        assert!(complaint("understudy-keys 2\n").contains("expected `understudy-keys 1`"));
        assert!(complaint(&format!("{VERSION}\n")).starts_with("F:1: no key"));
        assert!(complaint(&format!("{VERSION}\n{key}\n{key}\n")).starts_with("F:3: an id for the second time"));
        let short = &key[..key.len() - 1];
        for bad in ["xx", short, &format!("{key} more"), &key.replace("0a", "+a"), &key.replace("01", "é")] {
            assert!(complaint(&format!("{VERSION}\n#\n{bad}\n")).starts_with("F:3: not a key: expected an id"), "{bad}");
        }
        let many: String = (0..=limits::KEYS).map(|i| format!("{i:032x} {}\n", "01".repeat(32))).collect();
        assert!(complaint(&format!("{VERSION}\n{many}")).contains("too many keys"));
    }

    #[test]
    fn what_is_no_key_file_is_refused() {
        let dir = tempfile::tempdir().expect("a directory");
        assert!(matches!(KeyRing::load(dir.path()), Err(KeyError::Kind(_))));
        let missing = KeyRing::load(&dir.path().join("none")).expect_err("refused").to_string();
        assert!(missing.contains("none: cannot open"), "{missing}");
        assert!(complaint(&"#".repeat(limits::KEY_FILE as usize + 1)).contains("no key file"));
    }

    #[test]
    fn the_secret_is_never_printed() {
        let auth = Auth::Keys(KeyRing::new(vec![Key::new([0xab; 16], [0xcd; 32])]).expect("a ring"));
        let told = format!("{auth:?}");
        assert!(told.contains("abab") && !told.contains("cdcd") && !told.contains("205"), "{told}");
    }
}
