//! A tree of many files, and the digests of what was written.
//!
//! Contents depend on the file's number alone, sizes are those of mail and web content: small,
//! now and then a larger one.

use super::failed;
use fsrepl::report::Failure;
use serde::{Deserialize, Serialize};
use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

const FILES_PER_FOLDER: u32 = 100;
const FOLDERS_PER_FOLDER: u32 = 32;

/// What was built.
#[derive(Debug, Serialize, Deserialize)]
pub struct Built {
    pub files: u64,
    pub bytes: u64,
}

/// Writes `files` files beneath `root`, and a line `DIGEST PATH` for each into `manifest`.
pub fn build(root: &Path, files: u32, manifest: &Path) -> Result<Built, Failure> {
    let workers = std::thread::available_parallelism().map_or(2, |n| n.get() as u32);
    let bytes = AtomicU64::new(0);
    let parts: Vec<io::Result<String>> = std::thread::scope(|scope| {
        let started: Vec<_> = (0..workers)
            .map(|worker| {
                let bytes = &bytes;
                scope.spawn(move || build_share(root, files, worker, workers, bytes))
            })
            .collect();
        started.into_iter().map(|thread| thread.join().unwrap_or_else(|_| Err(io::ErrorKind::Other.into()))).collect()
    });
    let lines = parts.into_iter().collect::<io::Result<String>>().map_err(failed("cannot build the tree"))?;
    fs::write(manifest, lines).map_err(failed("cannot write the tree's digests"))?;
    Ok(Built { files: files.into(), bytes: bytes.into_inner() })
}

/// Every `workers`-th folder.
fn build_share(root: &Path, files: u32, worker: u32, workers: u32, bytes: &AtomicU64) -> io::Result<String> {
    let mut manifest = String::new();
    let mut content = Vec::new();
    for folder in (worker..files.div_ceil(FILES_PER_FOLDER)).step_by(workers as usize) {
        let below = PathBuf::from(format!("{:03}/{:02}", folder / FOLDERS_PER_FOLDER, folder % FOLDERS_PER_FOLDER));
        fs::create_dir_all(root.join(&below))?;
        let first = folder * FILES_PER_FOLDER;
        for number in first..(first + FILES_PER_FOLDER).min(files) {
            fill(number, &mut content);
            let path = below.join(format!("file-{number:07}"));
            fs::write(root.join(&path), &content)?;
            bytes.fetch_add(content.len() as u64, Ordering::Relaxed);
            let _ = writeln!(manifest, "{} {}", blake3::hash(&content), path.display());
        }
    }
    Ok(manifest)
}

fn fill(number: u32, content: &mut Vec<u8>) {
    let mut state = u64::from(number).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let size = if number % 1000 == 999 { 256 * 1024 } else { 64 + (mix(&mut state) % 2000) as usize };
    content.clear();
    while content.len() < size {
        content.extend_from_slice(&mix(&mut state).to_le_bytes());
    }
    content.truncate(size);
}

/// splitmix64: fast, and no two files alike.
fn mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}
