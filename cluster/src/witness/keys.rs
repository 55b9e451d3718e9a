//! Which clusters a witness votes for: a file of keys each, in one directory that is looked at again and again, so that a cluster is added,
//! rotated or removed without a restart.

use super::record::{Cluster, KeyId, RecordError, SUFFIX};
use crate::net::limits;
use fsrepl::wire::{Auth, KeyRing};
use std::collections::{BTreeMap, HashMap};
use std::ffi::OsString;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What tells that a file has changed.
type Print = (u64, u64, i64, i64, i64, i64, u32);

/// Clusters, found by their keys.
pub struct Directory {
    folder: PathBuf,
    state: PathBuf,
    /// Everything that has a record, with a key or without: a cluster has one record in memory, ever.
    clusters: Vec<Arc<Cluster>>,
    by_key: HashMap<KeyId, Arc<Cluster>>,
    ring: Option<KeyRing>,
    prints: Option<BTreeMap<OsString, Print>>,
}

impl Directory {
    /// With all records of before. A damaged one is put aside: its cluster begins with an empty memory, which refuses.
    pub fn open(folder: &Path, state: &Path) -> Result<Directory, RecordError> {
        let mut clusters = Vec::new();
        for entry in std::fs::read_dir(state)? {
            let path = entry?.path();
            if path.extension().is_none_or(|end| end != SUFFIX) {
                continue;
            }
            match Cluster::load(&path) {
                Ok(cluster) => clusters.push(Arc::new(cluster)),
                Err(RecordError::Damaged(why)) => put_aside(&path, &why)?,
                Err(RecordError::Newer(schema)) => return Err(RecordError::Newer(schema)),
                Err(RecordError::Io(why)) => {
                    return Err(io::Error::new(why.kind(), format!("{}: {why}", path.display())).into());
                }
            }
        }
        let by_key = HashMap::new();
        Ok(Directory { folder: folder.into(), state: state.into(), clusters, by_key, ring: None, prints: None })
    }

    /// The cluster that has this key now.
    pub fn cluster(&self, key: &KeyId) -> Option<Arc<Cluster>> {
        self.by_key.get(key).cloned()
    }

    /// All keys, for a handshake; none without any.
    pub fn auth(&self) -> Option<Auth> {
        self.ring.clone().map(Auth::Keys)
    }

    /// Reads the keys again if a file has changed. What is wrong with one file concerns its cluster only.
    pub fn look(&mut self) -> io::Result<()> {
        let prints = fingerprints(&self.folder)?;
        if self.prints.as_ref() == Some(&prints) {
            return Ok(());
        }
        let (mut by_key, mut rings, mut complete) = (HashMap::new(), Vec::new(), true);
        for name in prints.keys().take(limits::CLUSTERS) {
            match self.read(&self.folder.join(name), &by_key) {
                Ok((ring, cluster)) => {
                    by_key.extend(ring.iter().map(|key| (key.id, cluster.clone())));
                    if !self.clusters.iter().any(|known| Arc::ptr_eq(known, &cluster)) {
                        self.clusters.push(cluster);
                    }
                    rings.push(ring);
                }
                Err(Unusable::Now(why)) => {
                    complete = false;
                    tracing::error!("{}: this cluster gets no votes: {why}", name.display());
                }
                Err(Unusable::File(why)) => tracing::error!("{}: this cluster gets no votes: {why}", name.display()),
            }
        }
        if prints.len() > limits::CLUSTERS {
            tracing::error!("{}: more than {} files: the others are not used", self.folder.display(), limits::CLUSTERS);
        }
        tracing::info!(clusters = rings.len(), "votes for the keys in {}", self.folder.display());
        self.ring = KeyRing::union(&rings);
        self.by_key = by_key;
        // What failed for the disk's sake is tried again at the next look.
        self.prints = complete.then_some(prints);
        Ok(())
    }

    fn read(&self, path: &Path, taken: &HashMap<KeyId, Arc<Cluster>>) -> Result<(KeyRing, Arc<Cluster>), Unusable> {
        let ring = KeyRing::load(path).map_err(|why| Unusable::File(why.to_string()))?;
        if ring.iter().any(|key| taken.contains_key(&key.id)) {
            return Err(Unusable::File("another file in this directory has one of its keys".into()));
        }
        let mut known = self.clusters.iter().filter(|cluster| cluster.has_any(&ring));
        let now = |why: io::Error| Unusable::Now(format!("its record cannot be written: {why}"));
        match (known.next(), known.next()) {
            (Some(cluster), None) => {
                cluster.note_keys(&ring).map_err(now)?;
                Ok((ring, cluster.clone()))
            }
            (None, _) => Ok((ring.clone(), Arc::new(Cluster::blank(&self.state, &ring).map_err(now)?))),
            (Some(one), Some(other)) => Err(Unusable::File(format!(
                "its keys belonged to two clusters ({} and {}): give each cluster a file of its own",
                one.path().display(),
                other.path().display()
            ))),
        }
    }
}

enum Unusable {
    /// Until the file is changed.
    File(String),
    /// Perhaps not at the next look.
    Now(String),
}

fn put_aside(path: &Path, why: &str) -> io::Result<()> {
    let mut aside = path.as_os_str().to_owned();
    aside.push(".damaged");
    tracing::error!("{}: {why}: put aside; its cluster has to register anew", path.display());
    std::fs::rename(path, aside)
}

fn fingerprints(folder: &Path) -> io::Result<BTreeMap<OsString, Print>> {
    let mut prints = BTreeMap::new();
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        // Editors and copies in progress.
        if name.as_encoded_bytes().starts_with(b".") || name.as_encoded_bytes().ends_with(b"~") {
            continue;
        }
        // A file that has gone meanwhile is seen at the next look.
        let Ok(found) = std::fs::metadata(entry.path()) else { continue };
        if found.is_file() {
            prints.insert(
                name,
                (found.ino(), found.size(), found.mtime(), found.mtime_nsec(), found.ctime(), found.ctime_nsec(), found.mode()),
            );
        }
    }
    Ok(prints)
}
