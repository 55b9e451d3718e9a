//! Who a replica is: which set it belongs to, which history its data is at, what it was doing.
//!
//! Kept inside the data (`.understudy/identity`), so that identity and data roll back together
//! and an unmounted disk is recognised as missing. The file's form is in `docs/formats.md`.

use crate::limits::{IDENTITY_FILE, IDENTITY_HISTORY, IDENTITY_TRIED};
use crate::report::{Data, Failure, FailureKind};
use rustix::fs::{Mode, OFlags, RenameFlags, fsync, mkdirat, openat, renameat, renameat_with};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use uuid::Uuid;

pub use super::verdict::{Local, Sender, Verdict, decide, has_data};

pub use crate::apply::HIDDEN;
const FILE: &str = "identity";
const NEW: &str = "identity.new";
const SCHEMA: u64 = 1;
/// The file's size: room for every history, so that a later identity needs no more than the one before.
const BLOCK: usize = 16 * 1024;

/// What this replica did last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Took writes of the application.
    Primary,
    /// Applied what it was sent.
    Secondary,
    /// Neither yet.
    #[default]
    None,
}

/// Who may begin the generation after the current one, in a cluster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Right {
    /// This node, without asking: the peer has recorded that it may not.
    Here,
    /// Whom the quorum grants it.
    Quorum,
    /// The peer; this node only with the peer's consent.
    #[default]
    Peer,
}

/// Identity of one replica of a set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The set: the same on both nodes, made once.
    pub set: Uuid,
    /// Name of the replica.
    pub name: String,
    /// This node's replica, and no other's.
    pub node: Uuid,
    /// Generation of the data: a new one is minted whenever one side goes on alone. Nil until the
    /// first copy is complete.
    pub current: Uuid,
    /// Generation since which this side's dirty log counts: the last one that both replicas had, when they were
    /// equal. Nil while they never were. (DRBD calls it the bitmap's.)
    #[serde(default)]
    pub base: Uuid,
    /// Former generations, newest first, at most [`IDENTITY_HISTORY`].
    pub history: Vec<Uuid>,
    /// Last role.
    pub role: Role,
    /// What is known of the data.
    pub data: Data,
    /// The peer is recorded as outdated: this side went on without it.
    pub peer_outdated: bool,
    /// The session is open and in sync, so a crash may have left operations in flight.
    pub in_sync_open: bool,
    /// Boot during which `in_sync_open` was set.
    pub boot_id: String,
    /// Counts the checkpoints that both disks took part in, and never goes back: a disk that was put back in time
    /// is behind its peer's count.
    pub checkpoint: u64,
    /// Number of the last session with the peer, noted by both before it began: a disk that was put back to a time
    /// before it does not know it.
    #[serde(default)]
    pub session: u64,
    /// When the pair was last in sync (RFC 3339).
    pub last_sync: Option<String>,
    /// This node went on without the peer: nobody else has what it acknowledged since. Ends before the peer may record
    /// that it has everything.
    #[serde(default)]
    pub alone: bool,
    /// Those of `history` in which this node was the primary.
    #[serde(default)]
    pub led: Vec<Uuid>,
    /// A generation that was asked for, before the answer.
    #[serde(default)]
    pub intent: Option<Uuid>,
    /// Generations that were asked for and given up.
    #[serde(default)]
    pub tried: Vec<Uuid>,
    /// The generation of the peer for which this node became outdated.
    #[serde(default)]
    pub yielded_to: Option<Uuid>,
    /// Who may begin the next generation.
    #[serde(default)]
    pub right: Right,
}

impl Identity {
    /// The first replica of a new set.
    pub fn create(name: &str) -> Identity {
        Identity {
            set: Uuid::new_v4(),
            name: name.to_owned(),
            node: Uuid::new_v4(),
            current: Uuid::new_v4(),
            base: Uuid::nil(),
            history: Vec::new(),
            role: Role::None,
            data: Data::Uptodate,
            peer_outdated: false,
            in_sync_open: false,
            boot_id: String::new(),
            checkpoint: 0,
            session: 0,
            last_sync: None,
            alone: true,
            led: Vec::new(),
            intent: None,
            tried: Vec::new(),
            yielded_to: None,
            right: Right::Here,
        }
    }

    /// The replica that `sender`'s data is copied into: same set, but the node's own id, and no
    /// generation (nil) until the copy is complete ([`Identity::adopt`]).
    pub fn join(sender: &Identity, name: &str) -> Identity {
        Identity {
            set: sender.set,
            name: name.to_owned(),
            current: Uuid::nil(),
            role: Role::Secondary,
            data: Data::Inconsistent,
            alone: false,
            right: Right::Peer,
            ..Identity::create(name)
        }
    }

    /// Both replicas are equal and on their disks, in boot `boot`: change tracking counts from here.
    pub fn now_in_sync(&mut self, boot: String) {
        self.base = self.current;
        self.data = Data::Uptodate;
        self.peer_outdated = false;
        self.in_sync_open = true;
        self.boot_id = boot;
    }

    /// The machine went down while the pair was in sync: what was acknowledged from memory may be missing here.
    /// `boot` is the boot of today.
    pub fn lost_power(&self, boot: &str) -> bool {
        self.in_sync_open && self.boot_id != boot
    }

    /// Wants to begin `next`. An intent that is there already stays: it may have been granted.
    pub fn intend(&mut self, next: Uuid) -> Uuid {
        *self.intent.get_or_insert(next)
    }

    /// Gives up an intent: whoever grants it later grants nothing.
    pub fn give_up(&mut self) {
        if let Some(intent) = self.intent.take() {
            self.tried.push(intent);
            let surplus = self.tried.len().saturating_sub(IDENTITY_TRIED);
            self.tried.drain(..surplus);
        }
    }

    /// The peer goes on as `next`, and this node does not.
    pub fn yield_to(&mut self, next: Uuid) {
        self.superseded();
        self.yielded_to = Some(next);
    }

    /// Another history has won, as the quorum or the peer says.
    pub fn superseded(&mut self) {
        self.give_up();
        self.right = Right::Peer;
        if self.data == Data::Uptodate {
            self.data = Data::Outdated;
        }
    }

    /// Begins `next` in boot `boot`: the peer does not follow any more. `superseded`: generations that were claimed and given
    /// up for it, so that nobody takes them for a rival's.
    pub fn begin(&mut self, next: Uuid, superseded: &[Uuid], boot: String) {
        let led = self.role == Role::Primary;
        let former = std::mem::replace(&mut self.current, next);
        let own = self.tried.iter().copied().chain(self.intent).filter(|&own| own != next);
        let mut history: Vec<Uuid> = superseded.iter().copied().chain(own).collect();
        if !former.is_nil() && former != next {
            history.push(former);
            if led {
                self.led.push(former);
            }
        }
        history.append(&mut self.history);
        history.truncate(IDENTITY_HISTORY);
        self.history = history;
        self.forget_led();
        self.role = Role::Primary;
        self.data = Data::Uptodate;
        self.right = Right::Here;
        self.alone = true;
        self.peer_outdated = true;
        self.in_sync_open = false;
        self.boot_id = boot;
        self.settle();
    }

    /// These generations of another history are past: an operator chose this one.
    pub fn outlive(&mut self, generations: &[Uuid]) {
        let new: Vec<Uuid> = generations.iter().copied().filter(|one| *one != self.current && !self.history.contains(one)).collect();
        self.history.splice(0..0, new);
        self.history.truncate(IDENTITY_HISTORY);
        self.forget_led();
    }

    /// The primary's half of getting in sync, before the secondary may record that it is: from here on the secondary may
    /// have what is acknowledged.
    pub fn close_in(&mut self, boot: String) {
        self.alone = false;
        self.right = Right::Here;
        self.in_sync_open = true;
        self.boot_id = boot;
    }

    /// The secondary did not come so far: it was never told that it has everything.
    pub fn open_again(&mut self) {
        self.alone = true;
        self.in_sync_open = false;
    }

    /// A session with a primary begins: until its end the data is torn.
    pub fn follow(&mut self, boot: String) {
        self.give_up();
        if self.role == Role::Primary && !self.current.is_nil() {
            self.led.push(self.current);
        }
        self.role = Role::Secondary;
        self.data = Data::Inconsistent;
        self.right = Right::Peer;
        self.alone = false;
        self.in_sync_open = false;
        self.boot_id = boot;
    }

    /// The state from before an unfinished resync from a primary at `follows` is there again: older than what that one
    /// has, and no dirty log reaches back to a point in which both were equal.
    pub fn put_back(&mut self, follows: Uuid) {
        self.data = Data::Outdated;
        self.base = Uuid::nil();
        self.yielded_to = Some(follows);
        self.right = Right::Peer;
        self.alone = false;
        self.in_sync_open = false;
    }

    /// Takes over the generation and the history of `sender`, whose data this node now has.
    pub fn adopt(&mut self, sender: &Identity) {
        self.set = sender.set;
        self.current = sender.current;
        self.history.clone_from(&sender.history);
        self.history.truncate(IDENTITY_HISTORY);
        self.forget_led();
        self.right = Right::Peer;
        self.alone = false;
        self.settle();
    }

    fn forget_led(&mut self) {
        let (history, current) = (&self.history, self.current);
        self.led.sort_unstable();
        self.led.dedup();
        self.led.retain(|generation| *generation == current || history.contains(generation));
    }

    fn settle(&mut self) {
        self.intent = None;
        self.tried.clear();
        self.yielded_to = None;
    }

    /// Reads the identity of the replica rooted at `root`; `None` when it has none.
    pub fn load(root: impl AsFd) -> Result<Option<Identity>, Failure> {
        match read(root.as_fd()) {
            Ok(bytes) => decode(&bytes).map(Some),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Failure::new(
                FailureKind::Failed,
                format!("cannot read {HIDDEN}/{FILE} of the replica"),
                error.to_string(),
                "check the file system of the directory",
            )),
        }
    }

    /// Writes it: after a return the new one is on stable storage, after a crash one of the two is
    /// there and whole. `root` must be open for reading (not `O_PATH`).
    pub fn store(&self, root: impl AsFd) -> Result<(), Failure> {
        write(root.as_fd(), &encode(self)).map_err(|error| {
            Failure::new(
                FailureKind::Failed,
                format!("cannot write {HIDDEN}/{FILE} of the replica"),
                error.to_string(),
                "the directory must be writable and have room",
            )
        })
    }
}

/// Names the boot the kernel is in: the page cache survived exactly if this did not change.
pub fn boot_id() -> io::Result<String> {
    if let Some(boot) = super::faults::boot_id() {
        return Ok(boot);
    }
    Ok(std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned())
}

/// Opens the hidden directory, made on demand, readable by root only.
pub fn hidden_directory(root: impl AsFd) -> io::Result<OwnedFd> {
    let root = root.as_fd();
    match mkdirat(root, HIDDEN, Mode::RWXU) {
        Ok(()) => fsync(openat(root, ".", OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?)?,
        Err(Errno::EXIST) => {}
        Err(error) => return Err(error.into()),
    }
    open_hidden(root)
}

fn open_hidden(root: impl AsFd) -> io::Result<OwnedFd> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(openat(root, HIDDEN, flags, Mode::empty())?)
}

fn read(root: impl AsFd) -> io::Result<Vec<u8>> {
    let hidden = open_hidden(root)?;
    let file = File::from(openat(&hidden, FILE, OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?);
    let mut bytes = Vec::new();
    file.take(IDENTITY_FILE + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Writes over the spare file, whose blocks are there already, and exchanges the two names: a full disk
/// must not keep a node from recording that it goes on alone.
fn write(root: impl AsFd, bytes: &[u8]) -> io::Result<()> {
    let hidden = hidden_directory(root)?;
    fill_spare(&hidden, bytes)?;
    super::faults::point("identity");
    match renameat_with(&hidden, NEW, &hidden, FILE, RenameFlags::EXCHANGE) {
        Ok(()) => {}
        // The first one of this replica, or a file system without exchange.
        Err(Errno::NOENT | Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
            renameat(&hidden, NEW, &hidden, FILE)?;
            // Without a spare the next one needs room; that is no reason to fail now.
            let _ = fill_spare(&hidden, &[]);
        }
        Err(why) => return Err(why.into()),
    }
    Ok(fsync(&hidden)?)
}

/// The spare file holds whole blocks, so that writing over it allocates nothing.
fn fill_spare(hidden: &OwnedFd, bytes: &[u8]) -> io::Result<()> {
    let mut padded = bytes.to_vec();
    padded.resize(bytes.len().max(1).next_multiple_of(BLOCK), b'\n');
    let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut file = File::from(openat(hidden, NEW, flags, Mode::RUSR | Mode::WUSR)?);
    file.write_all(&padded)?;
    file.set_len(padded.len() as u64)?;
    file.sync_all()
}

#[derive(Serialize)]
struct Written<'a> {
    schema: u64,
    #[serde(flatten)]
    identity: &'a Identity,
}

#[derive(Serialize, Deserialize)]
struct Seal {
    blake3: String,
}

#[derive(Deserialize)]
struct Version {
    schema: u64,
}

/// Two lines: the identity, and the digest of that line with its end.
fn encode(identity: &Identity) -> Vec<u8> {
    let mut line = serde_json::to_vec(&Written { schema: SCHEMA, identity }).expect("plain data becomes JSON");
    line.push(b'\n');
    let seal = Seal { blake3: blake3::hash(&line).to_hex().to_string() };
    line.extend(serde_json::to_vec(&seal).expect("plain data becomes JSON"));
    line.push(b'\n');
    line
}

fn decode(bytes: &[u8]) -> Result<Identity, Failure> {
    let damaged = |why: &str| {
        Failure::new(
            FailureKind::Failed,
            "cannot use the replica",
            format!("its {HIDDEN}/{FILE} is damaged ({why})"),
            format!(
                "put back that file from a backup of the directory, or, if the other node has the data, \
                 remove {HIDDEN} here and start `understudy receive` with --discard-local"
            ),
        )
    };
    if bytes.len() as u64 > IDENTITY_FILE {
        return Err(damaged("too long"));
    }
    let end = bytes.iter().position(|&byte| byte == b'\n').ok_or_else(|| damaged("no second line"))? + 1;
    let (line, seal) = bytes.split_at(end);
    let seal: Seal = serde_json::from_slice(seal).map_err(|_| damaged("its checksum line is unreadable"))?;
    if seal.blake3 != blake3::hash(line).to_hex().as_str() {
        return Err(damaged("its checksum does not match"));
    }
    let version: Version = serde_json::from_slice(line).map_err(|_| damaged("it names no schema"))?;
    if version.schema != SCHEMA {
        return Err(Failure::new(
            FailureKind::Refused,
            "cannot use the replica",
            format!("its {HIDDEN}/{FILE} has schema {} and this program knows {SCHEMA}", version.schema),
            "use the version of understudy that wrote it, or a newer one",
        ));
    }
    let mut identity: Identity = serde_json::from_slice(line).map_err(|error| damaged(&error.to_string()))?;
    identity.history.truncate(IDENTITY_HISTORY);
    Ok(identity)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root(temp: &tempfile::TempDir) -> File {
        File::open(temp.path()).unwrap()
    }

    #[test]
    fn comes_back_as_it_was_stored() {
        let temp = tempfile::tempdir().unwrap();
        let root = root(&temp);
        assert_eq!(Identity::load(&root).unwrap(), None);
        let mut identity = Identity::create("data of \u{e9}\n");
        identity.last_sync = Some("2026-01-02T03:04:05.6Z".into());
        identity.store(&root).unwrap();
        assert_eq!(Identity::load(&root).unwrap().as_ref(), Some(&identity));
        identity.begin(Uuid::new_v4(), &[], "a boot".into());
        identity.store(&root).unwrap();
        assert_eq!(Identity::load(&root).unwrap(), Some(identity));
        let spare = std::fs::metadata(temp.path().join(HIDDEN).join(NEW)).unwrap();
        assert_eq!(spare.len() % BLOCK as u64, 0, "the next one needs no room");
    }

    #[test]
    fn any_flipped_or_missing_byte_is_noticed() {
        let whole = encode(&Identity::create("n"));
        for at in 0..whole.len() - 1 {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            assert!(decode(&bytes).is_err(), "byte {at}");
            assert!(decode(&whole[..at]).is_err(), "cut at {at}");
        }
        let failure = decode(b"").unwrap_err();
        assert!(failure.to_string().contains("damaged"), "{failure}");
    }

    #[test]
    fn a_newer_schema_says_so_and_new_keys_do_no_harm() {
        let sealed = |schema: u64| {
            let mut value = serde_json::to_value(Identity::create("n")).unwrap();
            value["schema"] = schema.into();
            value["later"] = true.into();
            let line = format!("{value}\n");
            format!("{line}{{\"blake3\":\"{}\"}}\n", blake3::hash(line.as_bytes()).to_hex())
        };
        decode(sealed(1).as_bytes()).unwrap();
        let failure = decode(sealed(2).as_bytes()).unwrap_err();
        assert_eq!(failure.kind, FailureKind::Refused);
    }

    #[test]
    fn a_link_in_place_of_the_hidden_directory_is_not_followed() {
        let temp = tempfile::tempdir().unwrap();
        let elsewhere = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(elsewhere.path(), temp.path().join(HIDDEN)).unwrap();
        assert!(Identity::create("n").store(root(&temp)).is_err());
        assert_eq!(std::fs::read_dir(elsewhere.path()).unwrap().count(), 0);
    }

    #[test]
    fn history_is_bounded_and_newest_first() {
        let mut identity = Identity::create("n");
        let mut last = identity.current;
        for _ in 0..IDENTITY_HISTORY + 5 {
            last = identity.current;
            identity.begin(Uuid::new_v4(), &[], "a boot".into());
        }
        assert_eq!(identity.history.len(), IDENTITY_HISTORY);
        assert_eq!(identity.history[0], last);
    }

    #[test]
    fn a_joining_replica_has_its_own_node_and_the_senders_set() {
        let sender = Identity::create("a");
        let mut local = Identity::join(&sender, "b");
        assert_eq!(local.set, sender.set);
        assert_ne!(local.node, sender.node);
        assert_ne!(local.current, sender.current);
        local.adopt(&sender);
        assert_eq!(local.current, sender.current);
    }
}
