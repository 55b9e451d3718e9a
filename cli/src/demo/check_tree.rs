//! Compares every file of a tree with the digest of what was written.

use super::check::Findings;
use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// `manifest`: a line `DIGEST PATH` for each file; nothing else may be beneath `root`.
pub fn compare(root: &Path, manifest: &Path, findings: &mut Findings) -> io::Result<()> {
    let manifest = fs::read_to_string(manifest)?;
    let wanted: Vec<(&str, &str)> = manifest.lines().filter_map(|line| line.split_once(' ')).collect();
    findings.files = wanted.len() as u64;
    let next = AtomicUsize::new(0);
    let differing = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(2, usize::from) {
            scope.spawn(|| {
                while let Some((digest, path)) = wanted.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let equal = fs::read(root.join(path)).is_ok_and(|content| blake3::hash(&content).to_hex().as_str() == *digest);
                    if !equal && let Ok(mut differing) = differing.lock() {
                        differing.push(*path);
                    }
                }
            });
        }
    });
    let differing = differing.into_inner().unwrap_or_default();
    findings.files_equal = findings.files - differing.len() as u64;
    for path in differing {
        findings.problem(|| format!("{path} differs from what was written"));
    }
    let known: HashSet<&Path> = wanted.iter().map(|(_, path)| Path::new(*path)).collect();
    unknown(root, root, &known, findings)
}

fn unknown(root: &Path, dir: &Path, known: &HashSet<&Path>, findings: &mut Findings) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let path = entry.path();
        if entry.file_type()?.is_dir() {
            unknown(root, &path, known, findings)?;
        } else if !path.strip_prefix(root).is_ok_and(|path| known.contains(path)) {
            findings.files_unknown += 1;
            findings.problem(|| format!("{} was never written", path.display()));
        }
    }
    Ok(())
}
