//! What a daemon that starts anew must know of an application: a small file in the run directory.

use crate::module::limits;
use crate::module::process::Identity;
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

/// What was started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Of this file.
    pub schema: u32,
    /// The boot in which it was started: numbers of processes mean nothing in another one.
    pub boot: String,
    /// `scripts`, `run` or `unit`
    pub launch: String,
    /// The process that leads the session; none for a unit. The number is that of its process group as well.
    pub leader: Option<Identity>,
    /// The start has come to its end well.
    pub started: bool,
}

/// The only schema there is.
const SCHEMA: u32 = 1;

impl Record {
    /// Of this boot.
    pub fn new(launch: &str, leader: Option<Identity>, started: bool) -> Record {
        Record { schema: SCHEMA, boot: boot(), launch: launch.to_owned(), leader, started }
    }

    /// Written in one go: another daemon sees the old one or the new one.
    ///
    /// # Errors
    /// Of the file system.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        let text = serde_json::to_vec(self).map_err(io::Error::other)?;
        let fresh = path.with_extension("json.new");
        fs::write(&fresh, text)?;
        fs::rename(fresh, path)
    }

    /// What is recorded and means something now. A file that is not understood is an error: something may run.
    ///
    /// # Errors
    /// The file is there and cannot be read.
    pub fn read(path: &Path) -> io::Result<Option<Record>> {
        let file = match File::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file?,
        };
        let mut text = Vec::new();
        file.take(limits::RECORD).read_to_end(&mut text)?;
        let record: Record = serde_json::from_slice(&text).map_err(io::Error::other)?;
        if record.schema != SCHEMA {
            return Err(io::Error::other(format!("schema {} is not known", record.schema)));
        }
        Ok((record.boot == boot()).then_some(record))
    }

    /// Nothing runs any more.
    pub fn remove(path: &Path) {
        // Not there is as good.
        let _ = fs::remove_file(path);
    }
}

fn boot() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_come_back_of_this_boot_only() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("db.app.json");
        assert_eq!(Record::read(&path).unwrap(), None);
        let mut record = Record::new("run", Identity::of(std::process::id()), true);
        record.write(&path).unwrap();
        assert_eq!(Record::read(&path).unwrap(), Some(record.clone()));
        record.boot = "another".into();
        record.write(&path).unwrap();
        assert_eq!(Record::read(&path).unwrap(), None);
        fs::write(&path, "{torn").unwrap();
        assert!(Record::read(&path).is_err());
    }
}
