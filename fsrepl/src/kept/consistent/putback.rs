//! Putting the last consistent state back. What has to be is in the log; how the tree came to be what it is does not
//! matter. So this can be cut off anywhere and begun anew, until it is done.
//!
//! 1. Names: what is in the way is moved aside, directories that have to move are taken out of the tree, then everything
//!    gets its names. An object is found by its handle, wherever it is.
//! 2. Content and sizes. 3. Attributes: nothing changes a time after that.
//! 4. On the disk; what is left aside goes.

use super::log::{Attributes, Log, Object, Record};
use super::{CLONES, GONE, Stage, directory, home};
use crate::apply::{identity, own, read_xattrs};
use crate::id::Stamp;
use crate::objects::{Kind, flags, set_mtime};
use crate::op::Bytes;
use crate::resync::target::{PARKED, freely, names_in, open_plain, place_of, remove_tree};
use crate::sys::{self, Sys};
use rustc_hash::{FxHashMap, FxHashSet};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, Mode, OFlags, openat, statat};
use rustix::io::Errno;
use serde::Serialize;
use std::ffi::{CStr, CString};
use std::io;
use std::sync::atomic::AtomicBool;
use uuid::Uuid;

/// What is in the way, until the end.
const ASIDE: &CStr = c"aside";

/// What was put back.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Done {
    /// Generation of the data that is there again.
    pub generation: Uuid,
    /// Generation of the primary whose resync was cut off.
    pub follows: Uuid,
    /// Names that were changed back.
    pub names: u64,
    /// Objects whose attributes were compared with what they were.
    pub objects: u64,
    /// Bytes of content that were written back; shared blocks are not counted.
    pub bytes: u64,
}

/// A name as it has to be.
struct Named {
    dir: Object,
    name: CString,
    was: Option<(Object, bool)>,
}

#[derive(Default)]
struct Wanted {
    names: Vec<Named>,
    attributes: Vec<Attributes>,
    /// By inode number, in the order of the log.
    content: FxHashMap<u64, Vec<Piece>>,
}

enum Piece {
    Data { offset: u64, at: u64, length: u64 },
    Hole { offset: u64, length: u64 },
    Clone,
}

impl Wanted {
    fn see(&mut self, record: Record, (at, length): (u64, u64)) {
        let mut piece = |inode, piece| self.content.entry(inode).or_default().push(piece);
        match record {
            Record::Flushed(_) => {}
            Record::Attributes(attributes) => self.attributes.push(attributes),
            Record::Name { dir, name, was } => {
                if let Ok(name) = CString::new(name.into_vec()) {
                    self.names.push(Named { dir, name, was });
                }
            }
            Record::Data { inode, offset } => piece(inode, Piece::Data { offset, at, length }),
            Record::Hole { inode, offset, length } => piece(inode, Piece::Hole { offset, length }),
            Record::Clone { inode } => piece(inode, Piece::Clone),
        }
    }

    /// A directory has one place: the one it had when it was moved first. It may be noted at a later one as well, in a
    /// directory that was made since, by a session that did not know that.
    fn one_place_each(&mut self) {
        let mut placed = FxHashSet::default();
        self.names.retain(|named| match &named.was {
            Some((object, true)) => placed.insert(object.inode),
            _ => true,
        });
    }
}

/// Makes the tree at `root` what it was. Nobody else may change it meanwhile. What is in the log stays until
/// [`super::discard`]: record first what the data is now.
pub fn put_back(root: BorrowedFd<'_>, hidden: &OwnedFd) -> io::Result<Done> {
    identity::as_root();
    let missing = || io::Error::new(io::ErrorKind::NotFound, "no consistent state is kept");
    let home = home(hidden)?.ok_or_else(missing)?;
    let mut wanted = Wanted::default();
    let log = Log::open(&home, |record, payload| wanted.see(record, payload))?.ok_or_else(missing)?;
    match &log.header().stage {
        Stage::Keeping => {}
        Stage::Prepared => return Err(missing()),
        Stage::GivenUp(why) => return Err(io::Error::new(io::ErrorKind::NotFound, format!("the consistent state was given up: {why}"))),
    }
    log.check()?;
    wanted.one_place_each();
    let aside = directory(&home, ASIDE)?;
    let number = names_in(&aside)?.iter().filter_map(|name| name.to_str().ok()?.strip_prefix('x')?.parse().ok()).max().unwrap_or(0);
    let mut back = Back { root, home: &home, aside, number, done: Done::default() };
    (back.done.generation, back.done.follows) = (log.header().generation, log.header().follows);
    back.unlock(&wanted.attributes)?;
    back.names(&wanted.names)?;
    back.content(&wanted, &log)?;
    back.attributes(&wanted.attributes)?;
    sys::syncfs(root)?;
    back.clear(hidden)?;
    sys::syncfs(root)?;
    Ok(back.done)
}

struct Back<'a> {
    root: BorrowedFd<'a>,
    home: &'a OwnedFd,
    aside: OwnedFd,
    number: u64,
    done: Done,
}

impl Back<'_> {
    /// None: it is gone, so it was made since.
    fn open(&self, object: &Object, flags: libc::c_int) -> Sys<Option<OwnedFd>> {
        let handle = object.handle().ok_or(Errno::INVAL)?;
        match sys::open_by_handle(self.root, &handle, flags | libc::O_NOFOLLOW) {
            Ok(fd) => Ok(Some(fd)),
            Err(Errno::STALE | Errno::NOENT) => Ok(None),
            Err(why) => Err(why),
        }
    }

    fn plain(&self, attributes: &Attributes) -> Sys<Option<OwnedFd>> {
        let flags = match Kind::of(attributes.mode) {
            Kind::File => libc::O_RDONLY | libc::O_NONBLOCK,
            Kind::Directory => libc::O_RDONLY | libc::O_DIRECTORY,
            Kind::Symlink | Kind::Special => libc::O_PATH,
        };
        self.open(&attributes.object, flags)
    }

    /// What is immutable or append-only cannot be put back; its flags come last.
    fn unlock(&self, all: &[Attributes]) -> Sys<()> {
        for attributes in all.iter().filter(|attributes| matches!(Kind::of(attributes.mode), Kind::File | Kind::Directory)) {
            if let Some(fd) = self.plain(attributes)?
                && let Some(present) = flags::of(fd.as_fd())
                && present & flags::LOCKING != 0
            {
                flags::change(fd.as_fd(), present & !flags::LOCKING);
            }
        }
        Ok(())
    }

    fn names(&mut self, names: &[Named]) -> io::Result<()> {
        let mut missing = Vec::new();
        for named in names {
            let Some(dir) = self.open(&named.dir, libc::O_RDONLY | libc::O_DIRECTORY)? else { continue };
            match statat(&dir, &*named.name, AtFlags::SYMLINK_NOFOLLOW) {
                Err(Errno::NOENT) => {}
                Err(why) => return Err(why.into()),
                Ok(stat) => {
                    let there = Object::new(stat.st_ino, &sys::name_to_handle(dir.as_fd(), &named.name)?);
                    if named.was.as_ref().is_some_and(|(was, _)| *was == there) {
                        continue;
                    }
                    self.set_aside(&dir, &named.name)?;
                    self.done.names += 1;
                }
            }
            if let Some((was, directory)) = &named.was {
                missing.push((named, was, *directory));
            }
        }
        // Out of the tree first: one may be below where another has to go.
        for (_, was, _) in missing.iter().filter(|(_, _, directory)| *directory) {
            let it = self.needed(was, libc::O_RDONLY | libc::O_DIRECTORY)?;
            let place = moving(was);
            if statat(&self.aside, &*place, AtFlags::SYMLINK_NOFOLLOW).is_ok() {
                continue;
            }
            let (above, name) = place_of(&it)?;
            freely(&[it.as_fd(), above.as_fd()], || rustix::fs::renameat(&above, &*name, &self.aside, &*place))?;
        }
        for (named, was, directory) in missing {
            let dir = self.needed(&named.dir, libc::O_RDONLY | libc::O_DIRECTORY)?;
            if directory {
                let it = self.needed(was, libc::O_RDONLY | libc::O_DIRECTORY)?;
                freely(&[it.as_fd(), dir.as_fd()], || rustix::fs::renameat(&self.aside, &*moving(was), &dir, &*named.name))?;
            } else {
                let it = self.needed(was, libc::O_PATH)?;
                let plain = sys::reopen(it.as_fd(), libc::O_RDONLY | libc::O_NONBLOCK).ok();
                let fds: Vec<_> = plain.iter().map(AsFd::as_fd).chain([dir.as_fd()]).collect();
                freely(&fds, || rustix::fs::linkat(&it, c"", &dir, &*named.name, AtFlags::EMPTY_PATH))?;
            }
            self.done.names += 1;
        }
        Ok(())
    }

    fn needed(&self, object: &Object, flags: libc::c_int) -> io::Result<OwnedFd> {
        let gone = || io::Error::other(format!("an object of the kept state is not there any more (inode {})", object.inode));
        self.open(object, flags)?.ok_or_else(gone)
    }

    fn set_aside(&mut self, dir: &OwnedFd, name: &CStr) -> Sys<()> {
        self.number += 1;
        let place = CString::new(format!("x{}", self.number)).expect("no NUL in it");
        let it = open_plain(dir.as_fd(), name)?;
        let fds: Vec<_> = it.iter().map(AsFd::as_fd).chain([dir.as_fd()]).collect();
        freely(&fds, || rustix::fs::renameat(dir, name, &self.aside, &*place))?;
        // Two names of one inode: renaming one onto the other does nothing.
        match freely(&fds, || rustix::fs::unlinkat(dir, name, AtFlags::empty())) {
            Err(Errno::NOENT) => Ok(()),
            other => other,
        }
    }

    fn content(&mut self, wanted: &Wanted, log: &Log) -> io::Result<()> {
        let clones = directory(self.home, CLONES)?;
        for attributes in wanted.attributes.iter().filter(|attributes| Kind::of(attributes.mode) == Kind::File) {
            let pieces = wanted.content.get(&attributes.object.inode).map_or(&[][..], Vec::as_slice);
            let present = self.plain(attributes)?.map(|fd| rustix::fs::fstat(&fd)).transpose()?;
            let Some(present) = present else { continue };
            if pieces.is_empty() && present.st_size as u64 == attributes.size {
                continue;
            }
            let Some(file) = self.open(&attributes.object, libc::O_RDWR | libc::O_NONBLOCK)? else { continue };
            if pieces.iter().any(|piece| matches!(piece, Piece::Clone)) {
                let name = CString::new(attributes.object.inode.to_string()).expect("digits");
                let clone = openat(&clones, &*name, OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
                rustix::fs::ftruncate(&file, attributes.size)?;
                rustix::fs::ioctl_ficlone(&file, &clone)?;
            }
            rustix::fs::ftruncate(&file, attributes.size)?;
            for piece in pieces {
                self.piece(&file, piece, log)?;
            }
        }
        Ok(())
    }

    fn piece(&mut self, file: &OwnedFd, piece: &Piece, log: &Log) -> io::Result<()> {
        match piece {
            Piece::Clone => {}
            Piece::Hole { offset, length } => {
                sys::fallocate(file.as_fd(), libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE, *offset, *length)?;
            }
            Piece::Data { offset, at, length } => {
                let mut data = vec![0; *length as usize];
                log.payload(*at, &mut data)?;
                let mut done = 0;
                while done < data.len() {
                    match rustix::io::pwrite(file, &data[done..], offset + done as u64) {
                        Ok(0) => return Err(Errno::IO.into()),
                        Ok(written) => done += written,
                        Err(Errno::INTR) => {}
                        Err(why) => return Err(why.into()),
                    }
                }
                self.done.bytes += length;
            }
        }
        Ok(())
    }

    fn attributes(&mut self, all: &[Attributes]) -> io::Result<()> {
        for attributes in all {
            let Some(fd) = self.plain(attributes)? else { continue };
            restore(fd.as_fd(), attributes)?;
            self.done.objects += 1;
        }
        Ok(())
    }

    /// Everything that belongs to the old state has its names: the rest goes. What shares blocks stays for another time.
    fn clear(&self, hidden: &OwnedFd) -> Sys<()> {
        let never = AtomicBool::new(false);
        for (place, name) in [(self.home, GONE), (self.home, ASIDE), (hidden, PARKED)] {
            remove_tree(place, name, &never)?;
        }
        Ok(())
    }
}

/// The name of a directory that has to move.
fn moving(object: &Object) -> CString {
    CString::new(format!("d{}", object.inode)).expect("no NUL in it")
}

fn restore(fd: BorrowedFd<'_>, wanted: &Attributes) -> Sys<()> {
    let stat = || statat(fd, c"", AtFlags::EMPTY_PATH);
    own(fd, &stat()?, wanted.uid, wanted.gid, wanted.mode)?;
    let present = read_xattrs(fd)?;
    for (name, _) in present.iter().filter(|(name, _)| !wanted.xattrs.iter().any(|(wanted, _)| wanted == name)) {
        sys::remove_xattr(fd, &text(name)?)?;
    }
    for xattr in wanted.xattrs.iter().filter(|xattr| !present.contains(xattr)) {
        sys::set_xattr(fd, &text(&xattr.0)?, &xattr.1, 0)?;
    }
    // An ACL changes the mode and a set-id bit may have gone with the owner.
    own(fd, &stat()?, wanted.uid, wanted.gid, wanted.mode)?;
    set_mtime(fd, Stamp { sec: wanted.mtime.0, nsec: wanted.mtime.1 })?;
    if let Some(wanted) = wanted.flags {
        flags::change(fd, wanted);
    }
    Ok(())
}

fn text(name: &Bytes) -> Sys<CString> {
    CString::new(name.to_vec()).map_err(|_| Errno::INVAL)
}
