//! The secondary's side of a resync: park → place → purge. Objects that are in the wrong place are parked in
//! the hidden directory, placed where the primary has them, and what nobody claimed is purged at the end.
//!
//! Objects are known by their ids: what the table has is moved, never made again. What had to be made, and what was
//! only found under the right name, is owed: the primary is told and sends its names or content.

mod attrs;
mod disk;
mod live;
mod owed;

pub(crate) use live::differs;
pub use owed::Owed;

use crate::apply::remote::{ApplyError, Incoming, component, make_new, told};
use crate::apply::{Exclude, HIDDEN, read_directory};
use crate::id::ObjectId;
use crate::journal::{Aspect, Journal, Key};
use crate::node::faults::point;
use crate::objects::{Entry, Kind, Live, Objects, flags};
use crate::op::{self, Create, Name, SyncNames, kind};
use crate::sys::{self, Sys};
use disk::open_directory;
pub(crate) use disk::{freely, names_in, open_plain, place_of, remove_tree};
use parking_lot::Mutex;
use rustc_hash::FxHashMap;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{Access, AtFlags, Mode, Stat};
use rustix::io::Errno;
use std::ffi::{CStr, CString};
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::JoinHandle;

pub(crate) const PARKED: &CStr = c"parked";
/// The parking directory that is about to take its place.
const NEXT: &CStr = c"parking";

/// State of one resync on the secondary.
pub struct Target {
    hidden: OwnedFd,
    parked: OwnedFd,
    counter: u64,
    /// Names of the directory that is being compared, not yet mentioned by the primary.
    unmentioned: FxHashMap<Vec<u8>, u64>,
    exclude: Exclude,
    journal: Option<Arc<Journal>>,
    /// What the primary still has to send.
    pub owed: Arc<Mutex<Owed>>,
    /// Operations that did not fit what is here.
    pub misfits: u64,
    purging: Purging,
    /// Flags that were taken off to act on an object, and are not there again.
    unlocked: Mutex<FxHashMap<u64, u32>>,
}

/// Removal of what nobody claimed, beside the stream: the application's operations do not wait for it.
#[derive(Default)]
pub struct Purging {
    stop: Arc<AtomicBool>,
    /// Each waits for the one before it.
    thread: Option<JoinHandle<Sys<()>>>,
    /// Names in the parking directory that are being removed.
    going: Vec<CString>,
}

impl Purging {
    /// Does `work` when what runs has ended.
    fn behind(&mut self, work: impl FnOnce(&AtomicBool) -> Sys<()> + Send + 'static) -> Result<(), ApplyError> {
        let (stop, before) = (self.stop.clone(), self.thread.take());
        let both = move || {
            before.map_or(Ok(()), |before| before.join().unwrap_or(Err(Errno::IO)))?;
            work(&stop)
        };
        let thread = std::thread::Builder::new().name("purge".into()).spawn(both);
        self.thread = Some(told("purge", thread.map_err(|_| Errno::AGAIN))?);
        Ok(())
    }

    /// Waits for the end.
    pub fn wait(mut self) -> Sys<()> {
        self.thread.take().map_or(Ok(()), |thread| thread.join().unwrap_or(Err(Errno::IO)))
    }
}

impl Drop for Purging {
    /// What is left goes at the end of the next resync.
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn nonsense<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> Result<T, ApplyError> {
    op::decode(bytes).map_err(ApplyError::Nonsense)
}

fn parked_name(id: ObjectId) -> CString {
    CString::new(format!("i{}", id.0)).expect("no NUL in it")
}

fn look(dir: impl AsFd, path: &CStr) -> Result<Option<Stat>, ApplyError> {
    match rustix::fs::statat(dir, path, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::NOENT) => Ok(None),
        Err(why) => told("resync", Err(why)),
    }
}

/// Which object the table takes this name for: inode numbers are used again, handles are not.
fn owner(objects: &Objects, dir: BorrowedFd<'_>, path: &CStr, inode: u64) -> Option<ObjectId> {
    let id = objects.table.by_inode(inode)?;
    let handle = sys::name_to_handle(dir, path).ok()?;
    objects.table.look(id, |entry| entry.handle == handle).unwrap_or(false).then_some(id)
}

impl Target {
    /// Begins a resync. What an earlier one left parked stays: it may belong somewhere.
    pub fn new(objects: &Objects, hidden: &OwnedFd, exclude: Exclude, journal: Option<Arc<Journal>>) -> Sys<Target> {
        match rustix::fs::mkdirat(hidden, PARKED, Mode::RWXU) {
            // It broke off between the two renames that make room for another.
            Ok(()) | Err(Errno::EXIST) if rustix::fs::accessat(hidden, NEXT, Access::EXISTS, AtFlags::empty()).is_ok() => {
                let parked = open_directory(hidden, PARKED)?;
                rustix::fs::renameat(hidden, NEXT, parked, c"x0")?;
            }
            Ok(()) | Err(Errno::EXIST) => {}
            Err(why) => return Err(why),
        }
        let hidden = rustix::io::dup(hidden)?;
        let parked = open_directory(&hidden, PARKED)?;
        objects.set_outside(&parked)?;
        let (unmentioned, owed, purging) = (FxHashMap::default(), Arc::default(), Purging::default());
        let mut target =
            Target { hidden, parked, counter: 0, unmentioned, exclude, journal, owed, misfits: 0, purging, unlocked: Mutex::default() };
        let found = names_in(&target.parked)?;
        let numbered = found.iter().filter_map(|name| name.to_str().ok()?.strip_prefix('x')?.parse::<u64>().ok());
        target.counter = numbered.max().unwrap_or(0);
        for name in found.iter().filter(|name| name.to_bytes().first() == Some(&b'i')) {
            let inode = rustix::fs::statat(&target.parked, &**name, AtFlags::SYMLINK_NOFOLLOW)?.st_ino;
            // Under the number of an object that is another one by now, or none.
            if owner(objects, target.parked.as_fd(), name, inode).is_none_or(|id| parked_name(id) != *name) {
                target.set_aside(name)?;
            }
        }
        Ok(target)
    }

    /// One of the steps of a resync, which are nobody's but its own.
    pub fn step(&mut self, objects: &Objects, op: &Incoming<'_>) -> Result<(), ApplyError> {
        crate::apply::identity::as_root();
        match op.kind {
            // A directory that is not here is in doubt like any other object: the primary sends it again, or knows
            // by then that it is gone there too.
            kind::SYNC_NAMES => self.in_known(objects, &[op.object], |target| target.names(objects, op)),
            kind::PARK => self.parked(objects, op),
            kind::PLACE => self.placed(objects, op),
            kind::SYNC_PURGE => {
                point("purge-before");
                self.purge(objects)?;
                point("purge-after");
                Ok(())
            }
            kind::SYNC_META => self.in_known(objects, &[op.object], |target| target.meta(objects, op)),
            other => Err(ApplyError::Nonsense(format!("{other} is no step of a resync"))),
        }
    }

    /// SYNC_DONE: nothing may be owed, and nothing may be left over. The purge may still run.
    pub fn done(mut self, objects: &Objects) -> Result<Purging, ApplyError> {
        self.purge(objects)?;
        self.lock_again(objects)?;
        let left = self.owed.lock().left();
        if !left.is_empty() {
            // What was surplus itself is gone with the rest of it.
            self.purging.thread.take().map_or(Ok(()), |thread| told("purge", thread.join().unwrap_or(Err(Errno::IO))))?;
        }
        let there = |id: &ObjectId| {
            let stat = objects.any_fd(*id).and_then(|fd| rustix::fs::statat(&*fd, c"", AtFlags::EMPTY_PATH));
            stat.is_ok_and(|stat| stat.st_nlink > 0)
        };
        if let Some(id) = left.iter().find(|id| there(id)) {
            return Err(ApplyError::Nonsense(format!("the resync is said to be over, but {id} was never sent")));
        }
        if self.misfits > 0 {
            tracing::info!(operations = self.misfits, "operations did not fit what was here and were compared instead");
        }
        Ok(std::mem::take(&mut self.purging))
    }

    /// One part of a directory.
    fn names(&mut self, objects: &Objects, op: &Incoming<'_>) -> Result<(), ApplyError> {
        let part: SyncNames = nonsense(op.body)?;
        let dir = told("resync", objects.live(op.object))?;
        if op.flags & op::FIRST != 0 {
            self.begin_directory(objects, op.object, &dir)?;
        }
        self.before_names(objects, &dir, &part.entries)?;
        let strangers = part.entries.iter().filter(|(id, _)| objects.table.look(*id, |_| ()).is_none());
        self.remember(strangers.map(|(id, create)| (*id, Kind::of(create.mode))))?;
        for (id, create) in &part.entries {
            self.unmentioned.remove(&create.name[..]);
            self.put(objects, &dir, *id, create, 0)?;
        }
        if op.flags & op::MORE == 0 {
            let surplus: Vec<CString> = self.unmentioned.keys().filter_map(|name| component(name).ok()).collect();
            told("keep", objects.before_names(&*dir, surplus.iter().map(CString::as_c_str)))?;
            for (name, _) in std::mem::take(&mut self.unmentioned) {
                let path = component(&name)?;
                // It may have been moved meanwhile, as another name's object.
                if let Some(stat) = look(&*dir, &path)? {
                    self.park(objects, &dir, &path, stat.st_ino)?;
                }
            }
            dir.changed();
            objects.times.set(op.object, op.mtime);
            self.owed.lock().settle(op.object);
        }
        Ok(())
    }

    /// Names that are not what the table takes them for will change: saved at once, they cost one flush.
    fn before_names(&self, objects: &Objects, dir: &Live, entries: &[(ObjectId, Create)]) -> Result<(), ApplyError> {
        if objects.keep().is_none() {
            return Ok(());
        }
        let mut changing = Vec::new();
        for (id, create) in entries {
            let path = component(&create.name)?;
            let present = look(dir, &path)?.map(|stat| stat.st_ino);
            if present.is_none() || objects.table.look(*id, |entry| entry.inode) != present {
                changing.push(path);
            }
        }
        told("keep", objects.before_names(dir, changing.iter().map(CString::as_c_str)))
    }

    fn begin_directory(&mut self, objects: &Objects, id: ObjectId, dir: &Live) -> Result<(), ApplyError> {
        if flags::get(dir).unwrap_or(0) & flags::LOCKING != 0 {
            self.unlock(objects, id)?;
        }
        let present = told("resync", read_directory(dir))?;
        self.unmentioned = present
            .into_iter()
            .filter(|entry| !(id == ObjectId::ROOT && entry.name == HIDDEN))
            .filter(|entry| !self.exclude.matches(dir.as_fd(), &entry.name))
            .map(|entry| (entry.name.as_bytes().to_vec(), entry.inode))
            .collect();
        Ok(())
    }

    /// Notes durably that these objects are not what both nodes had in common: a session that breaks off before
    /// it has sent them must not leave them for complete. Objects above the birth floor need no note.
    pub(super) fn remember(&self, objects: impl Iterator<Item = (ObjectId, Kind)>) -> Result<(), ApplyError> {
        let Some(journal) = &self.journal else { return Ok(()) };
        let aspect = |kind| match kind {
            Kind::File => Aspect::Content,
            Kind::Directory => Aspect::Entries,
            Kind::Symlink | Kind::Special => Aspect::Attrs,
        };
        let op = journal.begin();
        op.mark_keys(objects.map(|(id, kind)| Key::object(aspect(kind), id))).map_err(|why| {
            tracing::error!(%why, "change tracking cannot be written");
            ApplyError::System { what: "remember", why: Errno::from_io_error(&why).unwrap_or(Errno::IO) }
        })
    }

    /// Puts object `id` under its name in `dir`, whatever was there. `loose`: see [`Target::move_directory`].
    fn put(&mut self, objects: &Objects, dir: &Live, id: ObjectId, create: &Create, loose: u64) -> Result<(), ApplyError> {
        let path = component(&create.name)?;
        let present = look(dir, &path)?;
        let wanted = Kind::of(create.mode);
        if let Some(stat) = &present
            && owner(objects, dir.as_fd(), &path, stat.st_ino) == Some(id)
        {
            return Ok(());
        }
        if self.knows(objects, id, wanted)? {
            if let Some(stat) = present {
                self.park(objects, dir, &path, stat.st_ino)?;
            }
            return self.put_known(objects, dir, id, wanted, &path, loose);
        }
        self.remember(std::iter::once((id, wanted)))?;
        if let Some(stat) = present {
            if self.claim(objects, dir, id, create, &path, &stat)? {
                self.owed.lock().doubt(id);
                return Ok(());
            }
            self.park(objects, dir, &path, stat.st_ino)?;
        }
        self.owed.lock().made(id);
        make_new(objects, dir, id, create)
    }

    /// Whether the object is here, somewhere. An entry whose object is gone goes too.
    fn knows(&self, objects: &Objects, id: ObjectId, wanted: Kind) -> Result<bool, ApplyError> {
        let Some((kind, inode)) = objects.table.look(id, |entry| (entry.kind, entry.inode)) else { return Ok(false) };
        let stat = objects.any_fd(id).and_then(|fd| rustix::fs::statat(&*fd, c"", AtFlags::EMPTY_PATH));
        match stat {
            Ok(stat) if stat.st_nlink > 0 && kind == wanted => return Ok(true),
            Ok(_) | Err(Errno::STALE | Errno::NOENT) => {}
            Err(why) => return told("resync", Err(why)),
        }
        objects.removed(id, inode);
        Ok(false)
    }

    fn put_known(&mut self, objects: &Objects, dir: &Live, id: ObjectId, kind: Kind, path: &CStr, loose: u64) -> Result<(), ApplyError> {
        let place = parked_name(id);
        if kind == Kind::Directory {
            self.move_directory(objects, dir, id, path, loose)?;
        } else if let Some(stat) = look(&self.parked, &place)?
            && objects.table.look(id, |entry| entry.inode) == Some(stat.st_ino)
        {
            let it = told("place", open_plain(self.parked.as_fd(), &place))?;
            let fds: Vec<_> = it.iter().map(AsFd::as_fd).chain([dir.as_fd()]).collect();
            told("keep", objects.before_name(dir, path))?;
            told("keep", objects.before_unlocking(fds.iter().copied()))?;
            told("place", freely(&fds, || rustix::fs::renameat(&self.parked, &*place, dir, path)))?;
        } else {
            // Its other name goes when the directory that holds it is compared.
            let object = told("place", objects.any_fd(id))?;
            told("keep", objects.before_name(dir, path))?;
            let link = || rustix::fs::linkat(&*object, c"", dir, path, AtFlags::EMPTY_PATH);
            match link() {
                Err(Errno::PERM) => {
                    let live = told("place", objects.live(id))?;
                    told("keep", objects.before_unlocking([live.as_fd(), dir.as_fd()]))?;
                    told("place", freely(&[live.as_fd(), dir.as_fd()], link))?;
                }
                other => told("place", other)?,
            }
        }
        objects.table.change(id, |entry| entry.parent = dir.id);
        Ok(())
    }

    /// Renames a directory from wherever it is. Where `dir` is below it, `loose` (0: none) is a directory from
    /// `dir` upwards that is in a wrong place: parked, it leads there no more.
    fn move_directory(&mut self, objects: &Objects, dir: &Live, id: ObjectId, path: &CStr, loose: u64) -> Result<(), ApplyError> {
        match self.rename_directory(objects, id, dir.as_fd(), path) {
            Err(Errno::INVAL) if loose != 0 => {
                self.park_loose(objects, ObjectId(loose))?;
                told("place", self.rename_directory(objects, id, dir.as_fd(), path))
            }
            other => told("place", other),
        }
    }

    fn rename_directory(&self, objects: &Objects, id: ObjectId, dir: BorrowedFd<'_>, path: &CStr) -> Sys<()> {
        let live = objects.live(id)?;
        let (above, name) = place_of(&*live)?;
        objects.before_name(&above, &name)?;
        objects.before_name(dir, path)?;
        objects.before_unlocking([live.as_fd(), above.as_fd(), dir])?;
        freely(&[live.as_fd(), above.as_fd(), dir], || rustix::fs::renameat(&above, &*name, dir, path))
    }

    fn park_loose(&mut self, objects: &Objects, id: ObjectId) -> Result<(), ApplyError> {
        told("park", self.rename_directory(objects, id, self.parked.as_fd(), &parked_name(id)))
    }

    /// What is already there under the right name becomes object `id`, if it is of its kind and nobody's.
    fn claim(&self, objects: &Objects, dir: &Live, id: ObjectId, create: &Create, path: &CString, stat: &Stat) -> Result<bool, ApplyError> {
        let same_kind = stat.st_mode & libc::S_IFMT == create.mode & libc::S_IFMT;
        if !same_kind || stat.st_dev != objects.table.device() || owner(objects, dir.as_fd(), path, stat.st_ino).is_some() {
            return Ok(false);
        }
        let same_thing = match Kind::of(stat.st_mode) {
            Kind::Symlink => {
                let target = told("resync", rustix::fs::readlinkat(dir, &**path, Vec::new()))?;
                create.target.as_ref().is_some_and(|wanted| wanted[..] == *target.as_bytes())
            }
            Kind::Special => stat.st_rdev == create.rdev,
            Kind::File | Kind::Directory => true,
        };
        if same_thing {
            let handle = told("resync", sys::name_to_handle(dir.as_fd(), path))?;
            objects.table.insert(id, Entry::new(handle, stat, create.parent));
        }
        Ok(same_thing)
    }

    /// Takes a name out of `dir`: a known object keeps its id in the parking place.
    fn park(&mut self, objects: &Objects, dir: &Live, path: &CStr, inode: u64) -> Result<(), ApplyError> {
        let place = match owner(objects, dir.as_fd(), path, inode) {
            Some(id) => parked_name(id),
            None => self.another_name(),
        };
        self.park_as(objects, dir, path, &place)
    }

    fn another_name(&mut self) -> CString {
        self.counter += 1;
        CString::new(format!("x{}", self.counter)).expect("no NUL in it")
    }

    /// What holds a place in the parking directory that belongs to another object gets a name of its own.
    fn set_aside(&mut self, place: &CStr) -> Sys<()> {
        let other = self.another_name();
        let it = open_plain(self.parked.as_fd(), place)?;
        let fds: Vec<_> = it.iter().map(AsFd::as_fd).collect();
        freely(&fds, || rustix::fs::renameat(&self.parked, place, &self.parked, &*other))
    }

    fn park_as(&mut self, objects: &Objects, dir: &Live, path: &CStr, place: &CStr) -> Result<(), ApplyError> {
        let inode = told("park", rustix::fs::statat(dir, path, AtFlags::SYMLINK_NOFOLLOW))?.st_ino;
        if look(&self.parked, place)?.is_some_and(|stat| stat.st_ino != inode) {
            told("park", self.set_aside(place))?;
        }
        let it = told("park", open_plain(dir.as_fd(), path))?;
        let fds: Vec<_> = it.iter().map(AsFd::as_fd).chain([dir.as_fd()]).collect();
        told("keep", objects.before_name(dir, path))?;
        told("keep", objects.before_unlocking(fds.iter().copied()))?;
        told("park", freely(&fds, || rustix::fs::renameat(dir, path, &self.parked, place)))?;
        // Two names of one inode: renaming one onto the other does nothing.
        match freely(&fds, || rustix::fs::unlinkat(dir, path, AtFlags::empty())) {
            Err(Errno::NOENT) | Ok(()) => Ok(()),
            Err(why) => told("park", Err(why)),
        }
    }

    /// PARK: the primary moved a known object to a directory that is not known yet.
    fn parked(&mut self, objects: &Objects, op: &Incoming<'_>) -> Result<(), ApplyError> {
        let name: Name = nonsense(op.body)?;
        self.in_known(objects, &[name.parent], |target| {
            let dir = told("park", objects.live(name.parent))?;
            target.park_as(objects, &dir, &component(&name.name)?, &parked_name(op.object))?;
            dir.changed();
            objects.times.set(name.parent, name.parent_mtime);
            Ok(())
        })
    }

    /// PLACE: an object arrives in a known directory.
    fn placed(&mut self, objects: &Objects, op: &Incoming<'_>) -> Result<(), ApplyError> {
        let create: Create = nonsense(op.body)?;
        self.in_known(objects, &[create.parent], |target| {
            let dir = told("place", objects.live(create.parent))?;
            target.put(objects, &dir, op.object, &create, op.offset)?;
            dir.changed();
            objects.times.set(create.parent, create.parent_mtime);
            Ok(())
        })
    }

    /// Every name is in place: what is parked belongs to nobody.
    fn purge(&mut self, objects: &Objects) -> Result<(), ApplyError> {
        let mut names = told("purge", names_in(&self.parked))?;
        names.retain(|name| !self.purging.going.contains(name));
        if names.is_empty() {
            return Ok(());
        }
        for name in &names {
            let id = name.to_str().ok().and_then(|name| name.strip_prefix('i')?.parse().ok()).map(ObjectId);
            let stat = look(&self.parked, name)?;
            if let (Some(id), Some(stat)) = (id, stat)
                && (stat.st_nlink <= 1 || Kind::of(stat.st_mode) == Kind::Directory)
                && objects.table.look(id, |entry| entry.inode) == Some(stat.st_ino)
            {
                objects.removed(id, stat.st_ino);
            }
        }
        self.keep_parked(objects, &mut names)?;
        if names.is_empty() {
            return Ok(());
        }
        let aside = self.another_name();
        match self.renew(&aside) {
            // What is parked may be what the room is needed for.
            Err(Errno::NOSPC | Errno::DQUOT) => {
                let never = AtomicBool::new(false);
                return names.iter().try_for_each(|name| told("purge", remove_tree(&self.parked, name, &never)));
            }
            other => told("purge", other)?,
        }
        let parked = told("purge", rustix::io::dup(&self.parked))?;
        self.purging.going = vec![aside.clone()];
        self.purging.behind(move |stop| remove_tree(&parked, &aside, stop))
    }

    /// What belongs to the last consistent state is moved aside instead; the rest stays in `names`.
    fn keep_parked(&mut self, objects: &Objects, names: &mut Vec<CString>) -> Result<(), ApplyError> {
        let Some(keep) = objects.keep() else { return Ok(()) };
        let mut taken = Vec::new();
        while let Some(name) = names.pop() {
            match told("purge", objects.keep_tree(&self.parked, &name))? {
                Some(place) => taken.push(place),
                None => {
                    names.push(name);
                    break;
                }
            }
        }
        self.purging.behind(move |stop| keep.weigh(&taken, stop))
    }

    /// A new parking directory; the old one lies in it under the name `aside`.
    fn renew(&mut self, aside: &CStr) -> Sys<()> {
        rustix::fs::mkdirat(&self.hidden, NEXT, Mode::RWXU)?;
        let next = open_directory(&self.hidden, NEXT)?;
        rustix::fs::renameat(&self.hidden, PARKED, &next, aside)?;
        rustix::fs::renameat(&self.hidden, NEXT, &self.hidden, PARKED)?;
        self.parked = next;
        Ok(())
    }
}
