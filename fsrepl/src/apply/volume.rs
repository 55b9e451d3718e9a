//! The primary's side of a replicated directory: every change an application asks for, applied locally
//! under the object's lock, and its outcome handed on in the same order.

use super::Exclude;
use crate::id::{ObjectId, Seq};
use crate::journal::{self, Journal};
use crate::objects::{Kind, Objects};
use crate::op::Op;
use crate::resync::Scope;
use crate::sys::{self, Sys};
use parking_lot::{Mutex, MutexGuard, RwLock};
use rustc_hash::FxHashMap;
use rustix::fd::{AsFd, BorrowedFd};
use rustix::fs::{AtFlags, Mode, OFlags};
use std::ffi::OsStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

/// Who asks.
#[derive(Clone, Copy, Debug)]
pub struct Caller {
    /// File system uid.
    pub uid: u32,
    /// File system gid.
    pub gid: u32,
    /// Thread id, for its supplementary groups.
    pub pid: u32,
}

/// What ends a request: called once, when the outcome is where the `ack` mode wants it, or with the error
/// the application must see.
pub type Done = Box<dyn FnOnce(Sys<()>) + Send>;

/// Where outcomes go.
pub trait Outlet: Send + Sync {
    /// Gives the operation its place in the order and sends it as the state of replication demands. `make`
    /// is told the sync session while a resync is running (see [`Volume`]), and may then answer that the
    /// secondary need not know.
    /// Returns the operation's sequence number, or the highest one given so far where it got none.
    fn submit<'a>(&self, done: Done, make: &dyn Fn(Option<u32>) -> Option<Op<'a>>) -> Seq;
    /// Lets this thread complete everybody's acknowledgements until none is expected.
    fn help(&self);
    /// Whether an acknowledgement means stable storage.
    fn stable(&self) -> bool;
}

/// One replicated directory on the node where the application runs.
pub struct Volume {
    /// Its objects.
    pub objects: Objects,
    /// What stays local.
    pub exclude: Exclude,
    /// The write-ahead dirty set; none without replication.
    pub journal: Option<Arc<Journal>>,
    /// Replication; none without it.
    pub outlet: Option<Arc<dyn Outlet>>,
    /// Objects that came from directories the resync has not reached into ones that it has: it must look
    /// after them.
    pub arrivals: Mutex<Vec<ObjectId>>,
    /// How far the resync has come in files that it sends in pieces.
    pub cursors: Cursors,
    /// What the secondary may not have, while a resync runs.
    pub ongoing: Ongoing,
}

/// The resync that runs, if one does.
#[derive(Default)]
pub struct Ongoing {
    scope: RwLock<Option<Arc<Scope>>>,
    /// Held by whatever moves a directory to another one, and by the resync while it lists one: who holds it can
    /// say where in the tree a directory is. Taken before objects' locks.
    moves: Mutex<()>,
}

impl Ongoing {
    /// A resync begins, or learns more; until the first call of a session its secondary knows nothing.
    pub fn begin(&self, scope: Scope) -> Arc<Scope> {
        let scope = Arc::new(scope);
        *self.scope.write() = Some(scope.clone());
        scope
    }

    /// The resync is over.
    pub fn end(&self) {
        *self.scope.write() = None;
    }

    /// Asks the scope of session `epoch`, if there is one.
    fn ask<T>(&self, epoch: u32, ask: impl FnOnce(&Scope) -> T) -> Option<T> {
        self.scope.read().as_ref().filter(|scope| scope.epoch == epoch).map(|scope| ask(scope))
    }

    /// Nothing moves directories until this is dropped.
    pub fn still(&self) -> MutexGuard<'_, ()> {
        self.moves.lock()
    }
}

/// Files of which a resync has sent the beginning: writes before the cursor are sent, later ones are not yet.
#[derive(Default)]
pub struct Cursors {
    any: AtomicBool,
    files: Mutex<FxHashMap<u64, Cursor>>,
}

#[derive(Clone, Copy, Default)]
struct Cursor {
    at: u64,
    /// What the secondary said about the rest no longer holds.
    blind: bool,
}

impl Cursors {
    /// The resync has sent everything before `at`; `None` when it is done with the file.
    pub fn set(&self, id: ObjectId, at: Option<u64>) {
        let mut files = self.files.lock();
        match at {
            Some(at) => files.entry(id.0).or_default().at = at,
            None => drop(files.remove(&id.0)),
        }
        self.any.store(!files.is_empty(), SeqCst);
    }

    /// No resync is in any file.
    pub fn clear(&self) {
        let mut files = self.files.lock();
        files.clear();
        self.any.store(false, SeqCst);
    }

    /// Where the resync is in the file, if it is in it.
    pub fn get(&self, id: ObjectId) -> Option<u64> {
        if !self.any.load(SeqCst) {
            return None;
        }
        self.files.lock().get(&id.0).map(|cursor| cursor.at)
    }

    /// The file's layout changed: what was compared before does not count.
    pub fn disturb(&self, id: ObjectId) {
        if let Some(cursor) = self.files.lock().get_mut(&id.0) {
            cursor.blind = true;
        }
    }

    /// Whether what was compared before still counts.
    pub fn is_blind(&self, id: ObjectId) -> bool {
        self.files.lock().get(&id.0).is_some_and(|cursor| cursor.blind)
    }
}

/// The marks of one operation, made before the system call and kept until it has its number.
pub(super) struct Tracked<'a>(Option<journal::Op<'a>>);

impl Tracked<'_> {
    fn mark(&self, mark: impl FnOnce(&journal::Op<'_>) -> std::io::Result<()>) -> Sys<()> {
        let Some(op) = &self.0 else { return Ok(()) };
        mark(op).map_err(|why| {
            tracing::error!(%why, "change tracking cannot be written: the change is refused");
            rustix::io::Errno::IO
        })
    }

    pub(super) fn extent(&self, id: ObjectId, offset: u64, length: u64) -> Sys<()> {
        self.mark(|op| op.mark_extent(id, offset, length))
    }

    pub(super) fn entries(&self, directory: ObjectId) -> Sys<()> {
        self.mark(|op| op.mark_entries(directory))
    }

    pub(super) fn attrs(&self, id: ObjectId) -> Sys<()> {
        self.mark(|op| op.mark_attrs(id))
    }

    /// The system call failed. Mostly it changed nothing; after an error of the disk nobody knows, and what is
    /// marked now stays marked in this run.
    pub(super) fn failed(&self, why: rustix::io::Errno) {
        if why == rustix::io::Errno::IO
            && let Some(op) = &self.0
        {
            op.doubt();
        }
    }

    /// The change is made and has this number.
    pub(super) fn finish(self, seq: Seq) {
        if let Some(op) = self.0 {
            op.finish(seq);
        }
    }
}

impl Volume {
    /// Begins an operation.
    pub(super) fn track(&self) -> Tracked<'_> {
        Tracked(self.journal.as_ref().map(|journal| journal.begin()))
    }

    /// The disk refused to keep something: whatever is marked now stays marked in this run.
    pub(super) fn doubt(&self) {
        self.track().failed(rustix::io::Errno::IO);
    }

    /// Hands the outcome of a local change on. The caller holds the locks of the objects concerned.
    pub(super) fn send(&self, local: bool, done: Done, make: impl Fn(Option<u32>) -> Option<Op<'static>>) -> Seq {
        self.send_data(local, done, &make)
    }

    /// As [`Volume::send`], for operations that carry borrowed data.
    pub(super) fn send_data<'a>(&self, local: bool, done: Done, make: &dyn Fn(Option<u32>) -> Option<Op<'a>>) -> Seq {
        match &self.outlet {
            Some(outlet) if !local => outlet.submit(done, make),
            _ => {
                done(Ok(()));
                0
            }
        }
    }

    /// To be called by a request's thread when it holds no lock any more.
    pub(super) fn help(&self) {
        if let Some(outlet) = &self.outlet {
            outlet.help();
        }
    }

    /// Whether changes of this object stay on this node: excluded, or without a name.
    pub(super) fn stays(&self, id: ObjectId) -> bool {
        self.objects.table.is_local(id) || self.objects.is_orphan(id)
    }

    /// Whether a name is (to be) excluded.
    pub(super) fn name_stays(&self, parent: ObjectId, dir: BorrowedFd<'_>, name: &OsStr) -> bool {
        self.objects.table.is_local(parent) || self.exclude.matches(dir, name)
    }

    /// Whether the secondary of sync session `epoch` knows the names in `dir`.
    pub(crate) fn names_known(&self, dir: ObjectId, epoch: u32) -> bool {
        match self.objects.table.look(dir, |entry| entry.names_epoch == epoch) {
            Some(true) => true,
            Some(false) => self.ongoing.ask(epoch, |scope| !scope.names(dir)).unwrap_or(false),
            None => false,
        }
    }

    /// Whether the secondary of sync session `epoch` has the content and the attributes of `id`.
    pub(crate) fn content_known(&self, id: ObjectId, epoch: u32) -> bool {
        match self.objects.table.look(id, |entry| (entry.content_epoch == epoch, entry.kind)) {
            Some((true, _)) => true,
            Some((false, kind)) => self.ongoing.ask(epoch, |scope| !scope.content(id, kind)).unwrap_or(false),
            None => false,
        }
    }

    /// Whether the secondary of sync session `epoch` has the file `id`, and changes of its data can be applied
    /// there although marked parts of it differ.
    pub(crate) fn data_known(&self, id: ObjectId, epoch: u32) -> bool {
        self.content_known(id, epoch) || self.ongoing.ask(epoch, |scope| !scope.unknown(id)).unwrap_or(false)
    }

    /// A change that shifts data makes worthless what is known of a file in parts: it is compared from the
    /// beginning.
    pub(super) fn shifted(&self, id: ObjectId, epoch: u32) {
        self.ongoing.ask(epoch, |scope| scope.doubt(id));
        self.cursors.set(id, None);
        self.arrivals.lock().push(id);
    }

    /// The directory that holds `dir` now; the one in the table may be older.
    pub(crate) fn parent_of(&self, dir: ObjectId) -> Sys<ObjectId> {
        let live = self.objects.live(dir)?;
        super::identity::as_root();
        let handle = sys::name_to_handle(live.as_fd(), c"..")?;
        let hint = self.objects.table.look(dir, |entry| entry.parent).unwrap_or(ObjectId::ROOT);
        if self.objects.table.look(hint, |entry| entry.handle == handle) == Some(true) {
            return Ok(hint);
        }
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let above = rustix::fs::openat(&*live, c"..", flags, Mode::empty())?;
        let stat = rustix::fs::statat(&above, c"", AtFlags::EMPTY_PATH)?;
        let parent = self.objects.identify(above.as_fd(), ObjectId::ROOT, c"", &stat)?;
        self.objects.table.change(dir, |entry| entry.parent = parent);
        Ok(parent)
    }

    /// The directories from `dir` up to the root, `dir` first. The caller keeps them [`Ongoing::still`].
    pub(crate) fn chain(&self, dir: ObjectId) -> Sys<Vec<ObjectId>> {
        let mut chain = vec![dir];
        let mut at = dir;
        while at != ObjectId::ROOT {
            at = self.parent_of(at)?;
            if chain.contains(&at) {
                return Err(rustix::io::Errno::LOOP);
            }
            chain.push(at);
        }
        Ok(chain)
    }

    /// The nearest directory from `dir` upwards whose own place the secondary of the running resync does not
    /// know: there it may be anywhere, even below what is about to be moved into `dir`.
    pub(super) fn loose(&self, dir: ObjectId) -> Option<ObjectId> {
        let scope = self.ongoing.scope.read().clone().filter(|scope| !scope.everything)?;
        let chain = self.chain(dir).ok()?;
        chain.windows(2).find(|pair| !self.names_known(pair[1], scope.epoch)).map(|pair| pair[0])
    }

    /// Whether this object is a directory.
    pub(super) fn is_directory(&self, id: ObjectId) -> bool {
        self.objects.table.look(id, |entry| entry.kind) == Some(Kind::Directory)
    }
}
