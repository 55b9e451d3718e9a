//! A whole tree as lines, made with nothing of the product: path, type, mode, owner, modification time to the nanosecond,
//! links, content by BLAKE3, target, device, extended attributes. Equal lines: equal trees.

use std::collections::HashMap;
use std::fs::{self, Metadata};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Of the product, invisible through its mount.
const HIDDEN: &str = ".understudy";
/// Longest list of names of extended attributes, and longest value.
const ATTRIBUTE: usize = 64 * 1024;

/// Writes the lines of the tree beneath `root`, sorted. Gives back how many.
pub fn write(root: &Path, out: &mut impl Write) -> io::Result<usize> {
    let mut paths = vec![root.to_owned()];
    collect(root, root, &mut paths)?;
    paths.sort_unstable();
    let lines = Mutex::new((0..paths.len()).map(|_| None).collect::<Vec<_>>());
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(2, usize::from) {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some(path) = paths.get(at) else { return };
                    let made = line(root, path);
                    if let Ok(mut lines) = lines.lock() {
                        lines[at] = Some(made);
                    }
                }
            });
        }
    });
    // A file of several names is told by the first of them.
    let mut first: HashMap<u64, usize> = HashMap::new();
    for (at, line) in lines.into_inner().unwrap_or_default().into_iter().enumerate() {
        let (inode, links, text) = line.unwrap_or_else(|| Err(io::ErrorKind::Other.into()))?;
        let same = if links > 1 { *first.entry(inode).or_insert(at) } else { at };
        writeln!(out, "{text} links={links}{}", if same == at { String::new() } else { format!(" same-as={}", paths[same].display()) })?;
    }
    Ok(paths.len())
}

fn collect(root: &Path, dir: &Path, paths: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if dir == root && entry.file_name() == HIDDEN {
            continue;
        }
        paths.push(entry.path());
        if entry.file_type()?.is_dir() {
            collect(root, &entry.path(), paths)?;
        }
    }
    Ok(())
}

/// Inode, links (of what is no directory), and the line.
fn line(root: &Path, path: &Path) -> io::Result<(u64, u64, String)> {
    let meta = fs::symlink_metadata(path)?;
    let kind = meta.file_type();
    let what = if kind.is_dir() {
        "dir".into()
    } else if kind.is_symlink() {
        format!("link {}", escaped(fs::read_link(path)?.as_os_str().as_bytes()))
    } else if kind.is_file() {
        format!("file {} {}", meta.size(), content(path)?)
    } else if kind.is_block_device() || kind.is_char_device() {
        format!("device {}", meta.rdev())
    } else {
        "other".into()
    };
    let name = escaped(path.strip_prefix(root).unwrap_or(path).as_os_str().as_bytes());
    let links = if kind.is_dir() { 1 } else { meta.nlink() };
    Ok((meta.ino(), links, format!("/{name} {what} {}{}", numbers(&meta), attributes(path)?)))
}

fn numbers(meta: &Metadata) -> String {
    format!("mode={:o} owner={}:{} time={}.{:09}", meta.mode(), meta.uid(), meta.gid(), meta.mtime(), meta.mtime_nsec())
}

fn content(path: &Path) -> io::Result<blake3::Hash> {
    let mut hasher = blake3::Hasher::new();
    io::copy(&mut fs::File::open(path)?, &mut hasher)?;
    Ok(hasher.finalize())
}

fn attributes(path: &Path) -> io::Result<String> {
    let mut names = vec![0; ATTRIBUTE];
    let length = match rustix::fs::llistxattr(path, &mut names) {
        Ok(length) => length,
        Err(rustix::io::Errno::NOTSUP) => 0,
        Err(why) => return Err(why.into()),
    };
    let mut sorted: Vec<&[u8]> = names[..length].split(|&byte| byte == 0).filter(|name| !name.is_empty()).collect();
    sorted.sort_unstable();
    let mut text = String::new();
    for name in sorted {
        let mut value = vec![0; ATTRIBUTE];
        let length = rustix::fs::lgetxattr(path, name, &mut value)?;
        text += &format!(" {}={}", escaped(name), blake3::hash(&value[..length]));
    }
    Ok(text)
}

fn escaped(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string().replace(' ', "\\x20")
}

/// The lines of what is replicated: `excluded` holds a module's patterns, of the forms `/name`, `/*end` and `/directory/**`.
pub fn without(text: &str, excluded: &[String]) -> String {
    let out = |path: &str| excluded.iter().any(|pattern| matches(pattern, path));
    let kept = text.lines().filter(|line| !out(line.split(' ').next().unwrap_or_default()));
    kept.flat_map(|line| [line, "\n"]).collect()
}

fn matches(pattern: &str, path: &str) -> bool {
    if let Some(directory) = pattern.strip_suffix("**") {
        return path.len() > directory.len() && path.starts_with(directory);
    }
    match pattern.strip_prefix("/*") {
        Some(end) => path.strip_prefix('/').is_some_and(|name| !name.contains('/') && name.ends_with(end)),
        None => path == pattern,
    }
}

/// The first few paths whose lines differ.
pub fn differing(a: &str, b: &str, most: usize) -> Vec<String> {
    let lines = |text: &str| text.lines().map(str::to_owned).collect::<std::collections::BTreeSet<_>>();
    let (a, b) = (lines(a), lines(b));
    let names = a.symmetric_difference(&b).map(|line| line.split(' ').next().unwrap_or_default().to_owned());
    names.collect::<std::collections::BTreeSet<_>>().into_iter().take(most).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    fn of(root: &Path) -> String {
        let mut out = Vec::new();
        write(root, &mut out).expect("readable");
        String::from_utf8(out).expect("text")
    }

    fn tree() -> tempfile::TempDir {
        let tmp = tempfile::tempdir().expect("a directory");
        fs::create_dir(tmp.path().join("d")).expect("made");
        fs::write(tmp.path().join("d/a b"), "one").expect("written");
        fs::hard_link(tmp.path().join("d/a b"), tmp.path().join("d/c")).expect("linked");
        symlink("a b", tmp.path().join("d/s")).expect("linked");
        tmp
    }

    #[test]
    fn what_stays_local_is_left_out() {
        let text = "/a.pid file\n/d/a.pid file\n/tmp dir\n/tmp/x file\n/ibtmp1 file\n/ibtmp10 file\n";
        let excluded = ["/*.pid", "/tmp/**", "/ibtmp1"].map(str::to_owned);
        assert_eq!(without(text, &excluded), "/d/a.pid file\n/tmp dir\n/ibtmp10 file\n");
        assert_eq!(without(text, &[]), text);
    }

    #[test]
    fn control_every_difference_is_found() {
        let tmp = tree();
        let path = |name: &str| tmp.path().join(name);
        let before = of(tmp.path());
        assert_eq!(differing(&before, &of(tmp.path()), 5), Vec::<String>::new());
        assert!(before.contains("same-as=") && before.contains("/d/s link a\\x20b"), "{before}");
        let changes: [&dyn Fn(); 4] = [
            &|| fs::set_permissions(path("d/c"), fs::Permissions::from_mode(0o600)).expect("set"),
            &|| fs::File::options().write(true).open(path("d/c")).expect("there").set_modified(std::time::UNIX_EPOCH).expect("set"),
            &|| fs::write(path("d/c"), "two").expect("written"),
            &|| fs::remove_file(path("d/s")).expect("removed"),
        ];
        let mut last = before;
        for change in changes {
            change();
            let now = of(tmp.path());
            assert!(!differing(&last, &now, 5).is_empty(), "{now}");
            last = now;
        }
    }
}
