//! From what an operator types to the directory and the name of a replica.

use fsrepl::report::{Failure, FailureKind};
use std::io;
use std::path::{Path, PathBuf};

/// The directory without symbolic links and dots.
pub fn directory(dir: &Path) -> Result<PathBuf, Failure> {
    canonical(dir).map_err(|error| {
        let cure = match error.kind() {
            io::ErrorKind::NotFound => "create the directory, or name the right one",
            _ => "name a directory that this user can reach",
        };
        Failure::new(FailureKind::Failed, format!("cannot use {}", dir.display()), error.to_string(), cure)
    })
}

/// Also for a directory below a mount whose process was killed: its parent is still there.
fn canonical(dir: &Path) -> io::Result<PathBuf> {
    match dir.canonicalize() {
        Err(error) if error.kind() == io::ErrorKind::NotConnected => {
            let absolute = std::path::absolute(dir)?;
            match (absolute.parent(), absolute.file_name()) {
                (Some(parent), Some(name)) => Ok(parent.canonicalize()?.join(name)),
                _ => Err(error),
            }
        }
        other => other,
    }
}

/// The name of a replica: the given one, else its directory.
pub fn replica(given: Option<&str>, dir: &Path) -> String {
    given.map_or_else(|| dir.to_string_lossy().into_owned(), str::to_owned)
}

/// A running replica by its name, or by its directory in whatever way it is written.
pub fn running(word: &str, running: &[String]) -> String {
    if running.iter().any(|name| name == word) {
        return word.into();
    }
    match canonical(Path::new(word)) {
        Ok(dir) if running.iter().any(|name| Path::new(name) == dir) => dir.to_string_lossy().into_owned(),
        _ => word.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_name_is_the_canonical_directory() {
        let tmp = tempfile::tempdir().expect("a directory");
        let real = tmp.path().canonicalize().expect("it exists");
        std::fs::create_dir(real.join("data")).expect("made");
        std::os::unix::fs::symlink("data", real.join("link")).expect("made");
        let dir = directory(&real.join("./link/../link")).expect("it exists");
        assert_eq!(dir, real.join("data"));
        assert_eq!(replica(None, &dir), dir.to_string_lossy());
        assert_eq!(replica(Some("db"), &dir), "db");
        let names = vec![dir.to_string_lossy().into_owned(), "db".to_owned()];
        assert_eq!(running(&real.join("link").to_string_lossy(), &names), names[0]);
        assert_eq!(running("db", &names), "db");
        assert_eq!(running("unknown", &names), "unknown");
    }

    #[test]
    fn a_missing_directory_is_named() {
        let failure = directory(Path::new("/nowhere/at/all")).expect_err("it is missing");
        assert_eq!(failure.kind.exit_code(), 1);
        assert!(failure.to_string().contains("/nowhere/at/all"));
    }
}
