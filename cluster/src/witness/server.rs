//! The process: one port, a thread for each connection, and one that looks for keys.

use super::keys::Directory;
use super::protocol::{self, Question};
use super::record::{Cluster, RecordError};
use crate::net::secure::{Kind, Secure, SecureError};
use crate::net::{Acceptor, Quiet, limits};
use crate::net::{Arrival, Room};
use crate::quorum::witness::Reply;
use crossbeam::channel::{RecvTimeoutError, Sender, bounded};
use fsrepl::report::{Failure, FailureKind};
use fsrepl::wire::Channel;
use parking_lot::RwLock;
use rustix::fs::{FlockOperation, flock};
use std::fs::{File, OpenOptions};
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Instant;

/// Held while a witness uses the state directory.
const LOCK: &str = "lock";

/// Votes until it is dropped.
pub struct Server {
    acceptor: Option<Acceptor>,
    stop: Option<Sender<()>>,
    looking: Option<JoinHandle<()>>,
    _lock: File,
}

struct Desk {
    directory: RwLock<Directory>,
    refused: Quiet,
    failed: Quiet,
}

fn failure(kind: FailureKind, why: impl std::fmt::Display, cure: &str) -> Failure {
    Failure::new(kind, "cannot run the witness", why.to_string(), cure)
}

impl Server {
    /// `keys`: a directory with one key file for each cluster; `state`: a directory for the records, made if it is missing.
    pub fn start(listen: SocketAddr, keys: &Path, state: &Path) -> Result<Server, Failure> {
        let lock = lock(state)?;
        let mut directory = Directory::open(keys, state).map_err(|why| match why {
            RecordError::Newer(_) => failure(FailureKind::Refused, format!("{}: a record: {why}", state.display()), "start the newer one"),
            why => failure(FailureKind::Failed, format!("{}: {why}", state.display()), "make the state directory readable"),
        })?;
        directory.look().map_err(|why| {
            let cure = "name a directory with --keys, and put each cluster's witness key into a file there";
            failure(FailureKind::Usage, format!("{}: {why}", keys.display()), cure)
        })?;
        if directory.auth().is_none() {
            tracing::warn!("{} holds no keys: nobody gets votes before it does", keys.display());
        }
        let desk = Arc::new(Desk { directory: RwLock::new(directory), refused: Quiet::default(), failed: Quiet::default() });
        let room = Room { strangers: limits::STRANGERS, connections: limits::WITNESS_CONNECTIONS };
        let taking = desk.clone();
        let acceptor = Acceptor::start("witness", &[listen], room, Arc::new(move |arrival| taking.take(arrival)))
            .map_err(|why| failure(FailureKind::Failed, why, "name an address of this host and a free port with --listen"))?;
        let (stop, stopped) = bounded::<()>(0);
        let looking = std::thread::Builder::new()
            .name("keys".into())
            .spawn(move || {
                while stopped.recv_timeout(limits::KEYS_LOOK) == Err(RecvTimeoutError::Timeout) {
                    desk.look();
                }
            })
            .map_err(|why| failure(FailureKind::Failed, why, "free memory and threads"))?;
        Ok(Server { acceptor: Some(acceptor), stop: Some(stop), looking: Some(looking), _lock: lock })
    }

    /// Where it listens.
    pub fn address(&self) -> Option<SocketAddr> {
        self.acceptor.as_ref()?.addresses().first().copied()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop = None;
        self.acceptor = None;
        if let Some(looking) = self.looking.take() {
            let _ = looking.join();
        }
    }
}

/// One witness for one memory: two would grant twice.
fn lock(state: &Path) -> Result<File, Failure> {
    let told = |why: io::Error| {
        failure(FailureKind::Failed, format!("{}: {why}", state.display()), "name a directory that this user can write with --state")
    };
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(state).map_err(told)?;
    let file = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(state.join(LOCK)).map_err(told)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => {
            let why = format!("another witness uses {}", state.display());
            Err(failure(FailureKind::Refused, why, "stop it, or name another directory with --state"))
        }
        Err(why) => Err(told(why.into())),
    }
}

impl Desk {
    fn look(&self) {
        if let Err(error) = self.directory.write().look()
            && let Some(unsaid) = self.failed.say()
        {
            tracing::error!(%error, unsaid, "the directory of keys cannot be read: the keys of before are used");
        }
    }

    fn take(&self, arrival: Arrival) {
        let (stream, from, mut place) = arrival.split();
        let refuse = |why: &dyn std::fmt::Display| {
            if let Some(unsaid) = self.refused.say() {
                tracing::warn!(%from, unsaid, "a connection was refused: {why}");
            }
        };
        let Some(auth) = self.directory.read().auth() else { return refuse(&"there are no keys") };
        // A check of the port, or who raced and won elsewhere, says nothing.
        if stream.set_read_timeout(Some(limits::PREFACE_TIMEOUT)).is_err() || !matches!(stream.peek(&mut [0]), Ok(1)) {
            return;
        }
        let deadline = Instant::now() + limits::HANDSHAKE_TIMEOUT;
        let mut secure = match Secure::accept(stream, &auth, Channel::Witness, deadline, |_| Ok(Vec::new())) {
            Ok((secure, _)) => secure,
            Err(why) => return refuse(&why),
        };
        let key = secure.key_id();
        let Some(cluster) = self.directory.read().cluster(&key) else { return refuse(&"its key was removed") };
        let Some(_entered) = cluster.enter() else { return refuse(&"its cluster has too many connections") };
        if !place.promote(secure.stream()) {
            return refuse(&"too many connections at once");
        }
        let ended = loop {
            if let Err(why) = self.answer(&mut secure, &key, &cluster) {
                break why;
            }
        };
        tracing::debug!(%from, %ended, "a connection has ended");
    }

    fn answer(&self, secure: &mut Secure, key: &[u8; 16], cluster: &Arc<Cluster>) -> Result<(), SecureError> {
        secure.wait(Instant::now() + limits::SERVER_IDLE)?;
        let message = secure.recv(Instant::now() + limits::REQUEST_TIMEOUT)?;
        let still = self.directory.read().cluster(key).is_some_and(|now| Arc::ptr_eq(&now, cluster));
        if !still {
            return Err(SecureError::Malformed("its key was removed"));
        }
        let (kind, answer) = match message.kind {
            Kind::Ping => (Kind::Pong, Vec::new()),
            Kind::Request => (Kind::Answer, protocol::encode_reply(&self.vote(cluster, &message.bytes)?)),
            Kind::Answer | Kind::Pong => return Err(SecureError::Malformed("an answer to nothing")),
        };
        secure.send(kind, message.number, &answer, Instant::now() + limits::ANSWER_TIMEOUT)
    }

    fn vote(&self, cluster: &Cluster, bytes: &[u8]) -> Result<Reply, SecureError> {
        let Some(Question { module, request }) = Question::decode(bytes) else { return Ok(Reply::Malformed) };
        cluster.handle(module, &request).map_err(|error| {
            if let Some(unsaid) = self.failed.say() {
                tracing::error!(%error, unsaid, "{} cannot be written: nothing is granted", cluster.path().display());
            }
            SecureError::from(error)
        })
    }
}
