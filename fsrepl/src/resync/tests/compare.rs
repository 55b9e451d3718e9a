//! What is in a tree, read as anybody would read it.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

/// Everything that must be equal of one name.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    kind: &'static str,
    mode: u32,
    owner: (u32, u32),
    mtime: (i64, i64),
    device: u64,
    links: u64,
    /// The first name of the same object.
    first: PathBuf,
    content: Vec<u8>,
    xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
}

fn xattrs(path: &Path) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut names = vec![0; 4096];
    let length = rustix::fs::llistxattr(path, &mut names).unwrap_or(0);
    let names = names[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty());
    names
        .map(|name| {
            let mut value = vec![0; 4096];
            let length = rustix::fs::lgetxattr(path, name, &mut value).unwrap();
            (name.to_vec(), value[..length].to_vec())
        })
        .collect()
}

fn scan(root: &Path) -> BTreeMap<PathBuf, Seen> {
    let mut seen = BTreeMap::new();
    let mut firsts: BTreeMap<u64, PathBuf> = BTreeMap::new();
    let mut left = vec![root.to_owned()];
    while let Some(path) = left.pop() {
        let name = path.strip_prefix(root).unwrap().to_owned();
        let meta = fs::symlink_metadata(&path).unwrap();
        let kind = meta.file_type();
        let (kind, content) = if kind.is_dir() {
            let mut inside: Vec<PathBuf> = fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()).collect();
            inside.retain(|inner| *inner != root.join(".understudy"));
            inside.sort();
            left.extend(inside.into_iter().rev());
            ("directory", Vec::new())
        } else if kind.is_symlink() {
            ("link", fs::read_link(&path).unwrap().as_os_str().as_bytes().to_vec())
        } else if kind.is_fifo() {
            ("fifo", Vec::new())
        } else {
            ("file", fs::read(&path).unwrap())
        };
        let directory = kind == "directory";
        let first = if directory { name.clone() } else { firsts.entry(meta.ino()).or_insert_with(|| name.clone()).clone() };
        let here = Seen {
            kind,
            mode: meta.mode(),
            owner: (meta.uid(), meta.gid()),
            mtime: (meta.mtime(), meta.mtime_nsec()),
            device: meta.rdev(),
            // The hidden directory is one of the root's.
            links: if name.as_os_str().is_empty() { 0 } else { meta.nlink() },
            first,
            content,
            xattrs: xattrs(&path),
        };
        seen.insert(name, here);
    }
    seen
}

/// What differs, a line each.
pub fn differences(left: &Path, right: &Path) -> Vec<String> {
    let (left, right) = (scan(left), scan(right));
    let mut lines: Vec<String> = right.keys().filter(|name| !left.contains_key(*name)).map(|name| format!("{name:?} is surplus")).collect();
    for (name, here) in &left {
        match right.get(name) {
            None => lines.push(format!("{name:?} is missing")),
            Some(there) if there.content != here.content => {
                let at = here.content.iter().zip(&there.content).position(|(here, there)| here != there);
                let around = |seen: &Seen| at.map(|at| seen.content[at.saturating_sub(2)..].iter().take(8).copied().collect::<Vec<u8>>());
                eprintln!("{:?} {:?}", around(here), around(there));
                let blocks: Vec<usize> = here
                    .content
                    .chunks(4096)
                    .zip(there.content.chunks(4096))
                    .enumerate()
                    .filter(|(_, (a, b))| a != b)
                    .map(|(n, _)| n)
                    .collect();
                eprintln!("{blocks:?}");
                lines.push(format!("{name:?}: content differs: {} and {} bytes, at {at:?}", here.content.len(), there.content.len()));
            }
            Some(there) if there != here => {
                let brief = |seen: &Seen| {
                    format!(
                        "{} {:o} {:?} {:?} {} {:?} {:?}",
                        seen.kind, seen.mode, seen.owner, seen.mtime, seen.links, seen.first, seen.xattrs
                    )
                };
                lines.push(format!("{name:?}: {} | {}", brief(here), brief(there)));
            }
            Some(_) => {}
        }
    }
    lines
}
