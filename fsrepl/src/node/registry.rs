//! Which replicas this node has, kept outside the data: so that a directory whose identity is
//! gone (its disk is not mounted) is recognised as missing and not taken for an empty one.

use crate::limits::IDENTITY_FILE;
use crate::report::{Failure, FailureKind};
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use uuid::Uuid;

const SCHEMA: u64 = 1;

/// One replica of this node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Form of the file.
    pub schema: u64,
    /// Name of the replica.
    pub name: String,
    /// Its directory, for reading; bytes that are no UTF-8 are replaced.
    pub dir: String,
    /// Set it belongs to.
    pub set: Uuid,
}

/// The records in a state directory.
#[derive(Clone, Debug)]
pub struct Registry {
    records: PathBuf,
}

impl Registry {
    /// The registry in the state directory `state`; nothing is made before something is remembered.
    pub fn new(state: &Path) -> Registry {
        Registry { records: state.join("replicas") }
    }

    /// File that holds the record of `dir`. `dir` is absolute and without symbolic links.
    pub fn path(&self, dir: &Path) -> PathBuf {
        let digest = blake3::hash(dir.as_os_str().as_bytes()).to_hex();
        self.records.join(format!("{}.json", &digest.as_str()[..32]))
    }

    /// Records durably that `dir` is a replica of `set`.
    pub fn remember(&self, name: &str, dir: &Path, set: Uuid) -> Result<(), Failure> {
        let record = Record { schema: SCHEMA, name: name.to_owned(), dir: dir.to_string_lossy().into_owned(), set };
        if matches!(self.expected(dir), Ok(Some(known)) if known == record) {
            return Ok(());
        }
        let bytes = serde_json::to_vec(&record).expect("plain data becomes JSON");
        self.write(&self.path(dir), &bytes).map_err(|error| self.failed("write", &error))
    }

    /// The record of `dir`.
    pub fn expected(&self, dir: &Path) -> Result<Option<Record>, Failure> {
        let path = self.path(dir);
        let bytes = match read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(self.failed("read", &error)),
        };
        match serde_json::from_slice::<Record>(&bytes) {
            Ok(record) if record.schema == SCHEMA => Ok(Some(record)),
            Ok(record) => Err(unreadable(&path, &format!("it has schema {}, not {SCHEMA}", record.schema))),
            Err(error) => Err(unreadable(&path, &error.to_string())),
        }
    }

    /// Forgets `dir`; it need not be known.
    pub fn forget(&self, dir: &Path) -> Result<(), Failure> {
        let removed = fs::remove_file(self.path(dir)).and_then(|()| File::open(&self.records)?.sync_all());
        match removed {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(self.failed("remove", &error)),
            _ => Ok(()),
        }
    }

    /// Refuses `dir` when a replica should be there and `found`, the set of the identity in it,
    /// is none.
    pub fn check(&self, dir: &Path, found: Option<Uuid>) -> Result<(), Failure> {
        let Some(record) = self.expected(dir)? else { return Ok(()) };
        if found.is_some() {
            return Ok(());
        }
        Err(Failure::new(
            FailureKind::Refused,
            format!("cannot use {}", dir.display()),
            format!("the replica `{}` should be there and its identity is missing", record.name),
            format!("mount the disk it is on; if the replica was deleted on purpose, remove {}", self.path(dir).display()),
        ))
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        fs::create_dir_all(&self.records)?;
        let new = path.with_extension("new");
        let mut file = File::create(&new)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&new, path)?;
        File::open(&self.records)?.sync_all()
    }

    fn failed(&self, verb: &str, error: &io::Error) -> Failure {
        let what = format!("cannot {verb} the record of a replica in {}", self.records.display());
        Failure::new(FailureKind::Failed, what, error.to_string(), "make the state directory writable, or name one with --state")
    }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(IDENTITY_FILE).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn unreadable(path: &Path, why: &str) -> Failure {
    Failure::new(
        FailureKind::Failed,
        format!("cannot use the record {}", path.display()),
        why,
        "make sure that the disk of the replica is mounted, then remove that file",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remembers_and_forgets() {
        let temp = tempfile::tempdir().unwrap();
        let registry = Registry::new(&temp.path().join("state"));
        let (dir, set) = (Path::new("/some/dir"), Uuid::new_v4());
        assert_eq!(registry.expected(dir).unwrap(), None);
        registry.forget(dir).unwrap();
        registry.remember("n", dir, set).unwrap();
        registry.remember("n", dir, set).unwrap();
        assert_eq!(registry.expected(dir).unwrap().unwrap().set, set);
        assert_eq!(registry.expected(Path::new("/some")).unwrap(), None);
        registry.forget(dir).unwrap();
        assert_eq!(registry.expected(dir).unwrap(), None);
    }

    #[test]
    fn a_missing_identity_is_refused_with_the_way_out() {
        let temp = tempfile::tempdir().unwrap();
        let registry = Registry::new(temp.path());
        let (dir, set) = (Path::new("/some/dir"), Uuid::new_v4());
        registry.check(dir, None).unwrap();
        registry.remember("n", dir, set).unwrap();
        registry.check(dir, Some(set)).unwrap();
        let failure = registry.check(dir, None).unwrap_err();
        assert_eq!(failure.kind, FailureKind::Refused);
        assert!(failure.cure.contains(registry.path(dir).to_str().unwrap()), "{failure}");
        fs::remove_file(registry.path(dir)).unwrap();
        registry.check(dir, None).unwrap();
    }

    #[test]
    fn a_damaged_record_is_no_absent_one() {
        let temp = tempfile::tempdir().unwrap();
        let registry = Registry::new(temp.path());
        let dir = Path::new("/some/dir");
        registry.remember("n", dir, Uuid::new_v4()).unwrap();
        fs::write(registry.path(dir), "{").unwrap();
        assert!(registry.check(dir, None).is_err());
    }
}
