//! One digest for a module's folder: equal on two nodes exactly when the folders do the same.

use crate::config::limits;
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The files of a folder, relative to it and in order; for each, whether its owner may execute it.
///
/// Hidden files and editors' copies (`name~`) are no part of a module: they come and go on one node alone. What is
/// neither file nor folder cannot be carried to other nodes, and is refused.
pub fn folder_files(folder: &Path) -> Result<Vec<(PathBuf, bool)>, String> {
    let mut files = Vec::new();
    walk(folder, Path::new(""), 0, &mut files)?;
    files.sort();
    Ok(files)
}

fn walk(folder: &Path, below: &Path, depth: usize, files: &mut Vec<(PathBuf, bool)>) -> Result<(), String> {
    let at = folder.join(below);
    let cannot = |error: io::Error| format!("{}, which cannot be read ({error})", at.display());
    if depth > limits::DEPTH {
        return Err(format!("{}, more than {} folders deep", at.display(), limits::DEPTH));
    }
    for entry in std::fs::read_dir(&at).map_err(cannot)? {
        let entry = entry.map_err(cannot)?;
        let name = entry.file_name();
        let shown = name.to_string_lossy();
        if shown.starts_with('.') || shown.ends_with('~') {
            continue;
        }
        let metadata = entry.metadata().map_err(cannot)?;
        let path = below.join(&name);
        if metadata.is_dir() {
            walk(folder, &path, depth + 1, files)?;
        } else if metadata.is_file() {
            files.push((path, metadata.mode() & 0o100 != 0));
        } else {
            return Err(format!("{}, which is neither a regular file nor a folder", entry.path().display()));
        }
        if files.len() > limits::FOLDER_FILES {
            return Err(format!("more than {} files in {}", limits::FOLDER_FILES, folder.display()));
        }
    }
    Ok(())
}

/// Digest over the names, the executable bits and the content of a folder's files.
pub fn folder_digest(folder: &Path) -> Result<String, String> {
    let mut all = blake3::Hasher::new();
    for (path, executable) in folder_files(folder)? {
        let name = path.as_os_str().as_encoded_bytes();
        let mut content = blake3::Hasher::new();
        let file = File::open(folder.join(&path)).and_then(|file| content.update_reader(file).map(drop));
        file.map_err(|error| format!("{}, which cannot be read ({error})", folder.join(&path).display()))?;
        // The length keeps a name from running into what follows it.
        all.update(&(name.len() as u64).to_le_bytes()).update(name).update(&[u8::from(executable)]);
        all.update(content.finalize().as_bytes());
    }
    Ok(all.finalize().to_hex().to_string())
}
