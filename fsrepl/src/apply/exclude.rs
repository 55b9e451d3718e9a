//! Paths that stay local: anchored patterns, `*` within a name, `**` across directories.

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use rustix::fd::BorrowedFd;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// The patterns of one replica.
#[derive(Clone, Debug, Default)]
pub struct Exclude {
    set: GlobSet,
    patterns: Vec<String>,
}

impl Exclude {
    /// Compiles patterns; each begins with `/`, which stands for the replicated directory.
    pub fn new(patterns: &[String]) -> Result<Exclude, String> {
        let mut set = GlobSetBuilder::new();
        for pattern in patterns {
            let anchored = pattern
                .strip_prefix('/')
                .ok_or_else(|| format!("`{pattern}` must begin with `/`, which stands for the replicated directory"))?;
            let glob = GlobBuilder::new(anchored).literal_separator(true).build();
            set.add(glob.map_err(|why| format!("`{pattern}`: {}", why.kind()))?);
        }
        let set = set.build().map_err(|why| why.to_string())?;
        Ok(Exclude { set, patterns: patterns.to_vec() })
    }

    /// Nothing is excluded.
    pub fn is_empty(&self) -> bool {
        self.patterns.is_empty()
    }

    /// As configured: the secondary needs them too.
    pub fn patterns(&self) -> &[String] {
        &self.patterns
    }

    /// Whether `name` in the directory `dir` (on the private mount) is excluded by name. What lies below an
    /// excluded directory is excluded with it, which the caller knows.
    pub fn matches(&self, dir: BorrowedFd<'_>, name: &OsStr) -> bool {
        !self.is_empty() && self.matches_path(&path_of(dir).join(name))
    }

    /// Whether this path from the top of the directory, or one above it, is excluded.
    pub fn covers(&self, path: &str) -> bool {
        !self.is_empty() && Path::new(path.trim_start_matches('/')).ancestors().any(|above| self.matches_path(above))
    }

    fn matches_path(&self, path: &Path) -> bool {
        self.set.is_match(path)
    }
}

/// Path of a directory relative to the root of the private mount, as the kernel sees it.
fn path_of(dir: BorrowedFd<'_>) -> PathBuf {
    use rustix::fd::AsRawFd;
    let link = format!("/proc/self/fd/{}", dir.as_raw_fd());
    let path = std::fs::read_link(link).unwrap_or_default();
    let bytes = path.as_os_str().as_bytes();
    let bytes = bytes.strip_prefix(b"/").unwrap_or(bytes);
    PathBuf::from(OsStr::from_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_anchored() {
        let exclude = Exclude::new(&["/postmaster.pid".into(), "/pg_stat_tmp/**".into(), "/a/*.tmp".into()]).unwrap();
        for (path, expected) in [
            ("postmaster.pid", true),
            ("base/postmaster.pid", false),
            ("pg_stat_tmp", false),
            ("pg_stat_tmp/x", true),
            ("pg_stat_tmp/x/y", true),
            ("a/x.tmp", true),
            ("a/b/x.tmp", false),
        ] {
            assert_eq!(exclude.matches_path(Path::new(path)), expected, "{path}");
        }
    }

    #[test]
    fn a_relative_pattern_is_refused_with_its_cure() {
        assert!(Exclude::new(&["x".into()]).unwrap_err().contains("must begin with `/`"));
    }
}
