//! One cluster's record on disk. It is there, whole and flushed, before an answer that depends on it leaves.

use crate::durable;
use crate::net::limits;
use crate::quorum::witness::{Reply, Request, Witness};
use fsrepl::wire::KeyRing;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use uuid::Uuid;

/// Version of the file.
const SCHEMA: u32 = 1;
/// End of a file's name.
pub const SUFFIX: &str = "json";

/// Id of a key.
pub type KeyId = [u8; 16];

/// The first line of the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Content {
    schema: u32,
    /// Ids of all keys that the cluster's file held, as UUIDs: after a rotation the record is still found.
    keys: Vec<Uuid>,
    memory: Witness,
}

/// The second line.
#[derive(Serialize, Deserialize)]
struct Seal {
    blake3: String,
}

/// Why a record cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// Not what was written.
    #[error("it is damaged: {0}")]
    Damaged(String),
    /// Of a later program.
    #[error("its schema is {0} and this program knows {SCHEMA}: upgrade this program")]
    Newer(u32),
    /// Of the disk.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// A cluster and what is remembered of it.
pub struct Cluster {
    path: PathBuf,
    content: Mutex<Content>,
    connections: AtomicUsize,
}

impl Cluster {
    /// Of a file of before.
    pub fn load(path: &Path) -> Result<Cluster, RecordError> {
        let mut text = String::new();
        let read = File::open(path)?.take(limits::RECORD_FILE + 1).read_to_string(&mut text);
        match read {
            Ok(length) if length as u64 <= limits::RECORD_FILE => {}
            Ok(_) => return Err(RecordError::Damaged("it is too long".into())),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => return Err(RecordError::Damaged(error.to_string())),
            Err(error) => return Err(error.into()),
        }
        let content = decode(&text)?;
        Ok(Cluster { path: path.into(), content: Mutex::new(content), connections: AtomicUsize::new(0) })
    }

    /// Of a cluster that is not known here: a memory that refuses until a pair in sync registers. On disk when this returns.
    pub fn blank(state: &Path, ring: &KeyRing) -> io::Result<Cluster> {
        let keys = ids(ring);
        let path = state.join(format!("{}.{SUFFIX}", keys[0].simple()));
        let content = Content { schema: SCHEMA, keys, memory: Witness::blank(Uuid::new_v4()) };
        durable::replace(&path, encode(&content).as_bytes())?;
        Ok(Cluster { path, content: Mutex::new(content), connections: AtomicUsize::new(0) })
    }

    /// Whether this cluster has or had one of these keys.
    pub fn has_any(&self, ring: &KeyRing) -> bool {
        let content = self.content.lock();
        ring.iter().any(|key| content.keys.contains(&Uuid::from_bytes(key.id)))
    }

    /// Notes keys that came in a rotation, on disk.
    pub fn note_keys(&self, ring: &KeyRing) -> io::Result<()> {
        let mut content = self.content.lock();
        let keys = ids(ring);
        if content.keys == keys {
            return Ok(());
        }
        let next = Content { keys, ..content.clone() };
        durable::replace(&self.path, encode(&next).as_bytes())?;
        *content = next;
        Ok(())
    }

    /// Answers, with the record on disk if it changed.
    ///
    /// # Errors
    /// The record cannot be written: nothing was granted, and nothing may be answered.
    pub fn handle(&self, module: Uuid, request: &Request) -> io::Result<Reply> {
        let mut content = self.content.lock();
        if matches!(request, Request::Query) {
            return Ok(content.memory.handle(module, request).0);
        }
        let mut next = content.clone();
        let (reply, changed) = next.memory.handle(module, request);
        if changed {
            durable::replace(&self.path, encode(&next).as_bytes())?;
            *content = next;
        }
        Ok(reply)
    }

    /// Counts a connection; none when there are too many.
    pub fn enter(&self) -> Option<Entered<'_>> {
        let before = self.connections.fetch_add(1, Ordering::SeqCst);
        let entered = Entered(self);
        (before < limits::CLUSTER_CONNECTIONS).then_some(entered)
    }

    /// Where it is kept.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// A connection that is counted.
pub struct Entered<'a>(&'a Cluster);

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::SeqCst);
    }
}

fn ids(ring: &KeyRing) -> Vec<Uuid> {
    ring.iter().map(|key| Uuid::from_bytes(key.id)).collect()
}

fn encode(content: &Content) -> String {
    let mut text = serde_json::to_string(content).expect("plain data becomes JSON");
    text.push('\n');
    let seal = Seal { blake3: blake3::hash(text.as_bytes()).to_hex().to_string() };
    text.push_str(&serde_json::to_string(&seal).expect("plain data becomes JSON"));
    text.push('\n');
    text
}

fn decode(text: &str) -> Result<Content, RecordError> {
    let damaged = |what: &str| RecordError::Damaged(what.into());
    let at = text.find('\n').ok_or_else(|| damaged("it has no second line"))?;
    let (line, seal) = text.split_at(at + 1);
    let seal: Seal = serde_json::from_str(seal).map_err(|_| damaged("its second line holds no digest"))?;
    if blake3::hash(line.as_bytes()).to_hex().as_str() != seal.blake3 {
        return Err(damaged("its digest does not match"));
    }
    #[derive(Deserialize)]
    struct Schema {
        schema: u32,
    }
    let schema: Schema = serde_json::from_str(line).map_err(|why| RecordError::Damaged(why.to_string()))?;
    if schema.schema != SCHEMA {
        return Err(RecordError::Newer(schema.schema));
    }
    serde_json::from_str(line).map_err(|why| RecordError::Damaged(why.to_string()))
}
