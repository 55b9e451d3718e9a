//! One thread of a storm.

use super::Shape;
use crate::files::pattern;
use crate::rng::Rng;
use rustix::fs::{
    AtFlags, CWD, FallocateFlags, FileType, IFlags, Mode, OFlags, RenameFlags, Timespec, Timestamps, XattrFlags, fallocate, ioctl_getflags,
    ioctl_setflags, lremovexattr, lsetxattr, mkdirat, mknodat, open, renameat_with, utimensat,
};
use rustix::io::Errno;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt, PermissionsExt, lchown, symlink};
use std::path::{Path, PathBuf};

/// What no plain directory answers.
const NEVER: &[Errno] = &[Errno::IO, Errno::STALE, Errno::NOTCONN, Errno::CONNABORTED, Errno::NOSYS, Errno::BADF];

/// Whether no plain directory answers this: the mount is gone or broken.
pub fn is_never(why: &io::Error) -> bool {
    why.raw_os_error().is_some_and(|errno| NEVER.contains(&Errno::from_raw_os_error(errno)))
}

/// Removes a tree in an order that is the same everywhere, up to the first thing that refuses.
fn remove_all(path: &Path) -> io::Result<()> {
    let mut names = fs::read_dir(path)?.map(|entry| Ok(entry?.file_name())).collect::<io::Result<Vec<_>>>()?;
    names.sort();
    for name in names {
        let path = path.join(name);
        if fs::symlink_metadata(&path)?.is_dir() { remove_all(&path)? } else { fs::remove_file(&path)? }
    }
    fs::remove_dir(path)
}

/// Opens what may be a FIFO. The mount refuses locked files at the first change only (docs/semantics.md): here they are
/// refused at once, so that it goes the same way everywhere.
fn writable(path: PathBuf) -> io::Result<File> {
    let file = OpenOptions::new().write(true).custom_flags(libc::O_NONBLOCK).open(path)?;
    if ioctl_getflags(&file).is_ok_and(|flags| flags.intersects(IFlags::IMMUTABLE | IFlags::APPEND)) {
        return Err(io::Error::from_raw_os_error(libc::EPERM));
    }
    Ok(file)
}

fn writable_new(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(true).custom_flags(libc::O_NONBLOCK).open(path)
}

/// Makes random changes below a directory. Two with the same seed make the same changes in equal trees.
pub struct Actor {
    root: PathBuf,
    shape: Shape,
    rng: Rng,
    data: Vec<u8>,
    /// The last path that was chosen.
    last: PathBuf,
    /// A file that stays open whatever becomes of its name.
    held: Option<File>,
}

impl Actor {
    /// An actor on the tree at `root`.
    pub fn new(root: PathBuf, shape: Shape, rng: Rng) -> Actor {
        Actor { root, shape, rng, data: pattern(256 * 1024), last: PathBuf::new(), held: None }
    }

    fn file(&mut self) -> PathBuf {
        self.last = self.shape.file(&mut self.rng);
        self.root.join(&self.last)
    }

    fn directory(&mut self) -> PathBuf {
        self.last = self.shape.directory(&mut self.rng);
        self.root.join(&self.last)
    }

    fn any(&mut self) -> PathBuf {
        if self.rng.one_in(3) { self.directory() } else { self.file() }
    }

    /// Makes one change, or fails in making it.
    pub(super) fn act(&mut self) {
        let (kind, done) = self.try_act();
        if let Err(why) = done {
            assert!(!is_never(&why), "change {kind}: {why}");
        }
    }

    /// Makes one change; gives its kind and what it came to.
    pub fn try_act(&mut self) -> (u64, io::Result<()>) {
        // How many choices a change makes depends on where it fails: the next one does not.
        let mut after = self.rng.clone();
        self.rng = Rng::new(after.number());
        let kind = self.rng.below(24);
        let done = self.change(kind);
        self.rng = after;
        (kind, done)
    }

    /// The last path that was chosen, from the root.
    pub fn last(&self) -> &Path {
        &self.last
    }

    /// The tree is elsewhere from now on, and nothing in it is open.
    pub fn move_to(&mut self, root: PathBuf) {
        self.root = root;
        self.held = None;
    }

    fn change(&mut self, kind: u64) -> io::Result<()> {
        match kind {
            0 | 1 => fs::rename(self.file(), self.file()),
            2 => fs::rename(self.directory(), self.directory()),
            3 => Ok(renameat_with(CWD, self.any(), CWD, self.any(), RenameFlags::EXCHANGE)?),
            4 => fs::rename(self.directory(), self.file()),
            5 | 6 => fs::remove_file(self.file()),
            7 => self.remove_directory(),
            8 | 9 => fs::hard_link(self.file(), self.file()),
            10 | 11 => self.create(),
            12 => Ok(mkdirat(CWD, self.any(), Mode::from_raw_mode(0o700 + self.rng.below(64) as u32))?),
            13 => {
                let file = self.file();
                writable(file)?.set_len(self.rng.below(200_000))
            }
            14 => self.layout(),
            15 => self.write(),
            16 => self.big(),
            17 => self.attributes(),
            18 => self.xattr(),
            19 => self.acl(),
            20 => self.flags(),
            21 => self.special(),
            22 => self.publish(),
            _ => self.hold(),
        }
    }

    fn remove_directory(&mut self) -> io::Result<()> {
        let dir = self.directory();
        if self.rng.one_in(30) {
            return remove_all(&dir);
        }
        fs::remove_dir(dir)
    }

    fn create(&mut self) -> io::Result<()> {
        let file = File::create_new(self.file())?;
        let size = self.rng.below(20_000) as usize;
        file.write_all_at(&self.data[..size], self.rng.below(3) * 40_000)
    }

    fn write(&mut self) -> io::Result<()> {
        let path = self.file();
        let file = writable(path)?;
        let size = 1 + self.rng.below(100_000) as usize;
        let from = self.rng.below((self.data.len() - size) as u64) as usize;
        file.write_all_at(&self.data[from..from + size], self.rng.below(100_000))
    }

    fn layout(&mut self) -> io::Result<()> {
        let path = if self.rng.one_in(4) { self.root.join("big") } else { self.file() };
        let file = writable(path)?;
        let (offset, length) = (self.rng.below(40) * 4096, (1 + self.rng.below(20)) * 4096);
        let flags = if self.shape.allocate {
            self.rng.pick(&[FallocateFlags::KEEP_SIZE, FallocateFlags::ZERO_RANGE, FallocateFlags::empty()])
        } else {
            FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE
        };
        Ok(fallocate(&file, flags, offset, length)?)
    }

    /// Changes in the middle of the big file.
    fn big(&mut self) -> io::Result<()> {
        let file = writable(self.root.join("big"))?;
        let size = file.metadata()?.len().max(1 << 20);
        let at = self.rng.below(size);
        let aligned = at & !0xfff;
        match self.rng.below(40) {
            0 => file.set_len(at),
            1 => file.set_len(self.shape.big),
            2..=9 => Ok(fallocate(&file, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, aligned, 200_000)?),
            _ => file.write_all_at(&self.data[..1 + self.rng.below(200_000) as usize], at),
        }
    }

    fn attributes(&mut self) -> io::Result<()> {
        let path = self.any();
        match self.rng.below(3) {
            0 => fs::set_permissions(path, PermissionsExt::from_mode(self.rng.below(0o10000) as u32)),
            1 => lchown(path, Some(self.rng.below(5) as u32), Some(self.rng.below(5) as u32)),
            _ => {
                let time = Timespec { tv_sec: self.rng.below(2_000_000_000) as i64, tv_nsec: self.rng.below(1_000_000_000) as i64 };
                let times = Timestamps { last_access: time, last_modification: time };
                Ok(utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW)?)
            }
        }
    }

    fn xattr(&mut self) -> io::Result<()> {
        let (path, name) = (self.any(), format!("user.x{}", self.rng.below(3)));
        if self.rng.one_in(3) {
            return Ok(lremovexattr(path, name)?);
        }
        let size = self.rng.below(200) as usize;
        Ok(lsetxattr(path, name, &self.data[..size], XattrFlags::empty())?)
    }

    fn acl(&mut self) -> io::Result<()> {
        let (path, name) = (self.any(), self.rng.pick(&["system.posix_acl_access", "system.posix_acl_default"]));
        if self.rng.one_in(3) {
            return Ok(lremovexattr(path, name)?);
        }
        let user = self.rng.below(5) as u32;
        // Owner, a user, group, mask, others.
        let entries = [(0x01, 7, u32::MAX), (0x02, 5, user), (0x04, 6, u32::MAX), (0x10, 7, u32::MAX), (0x20, 4, u32::MAX)];
        let mut value = 2_u32.to_le_bytes().to_vec();
        for (tag, rights, id) in entries {
            value.extend([u16::to_le_bytes(tag), u16::to_le_bytes(rights)].concat());
            value.extend(id.to_le_bytes());
        }
        Ok(lsetxattr(path, name, &value, XattrFlags::empty())?)
    }

    /// Flags for a moment or for longer.
    fn flags(&mut self) -> io::Result<()> {
        let path = self.any();
        // An engine that is being started at this moment must not inherit it: it would hold the mount.
        let fd = open(path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
        let before = ioctl_getflags(&fd)?;
        let flag = self.rng.pick(&[IFlags::NODUMP, IFlags::NOATIME, IFlags::IMMUTABLE, IFlags::APPEND]);
        ioctl_setflags(&fd, before ^ flag)?;
        if !self.rng.one_in(4) {
            ioctl_setflags(&fd, before - (IFlags::IMMUTABLE | IFlags::APPEND))?;
        }
        Ok(())
    }

    fn special(&mut self) -> io::Result<()> {
        let path = self.file();
        match self.rng.below(3) {
            0 => symlink(format!("to-{}", self.rng.below(3)), path),
            1 => Ok(mknodat(CWD, path, FileType::Fifo, Mode::from_raw_mode(0o600), 0)?),
            _ => Ok(mknodat(CWD, path, FileType::CharacterDevice, Mode::from_raw_mode(0o600), rustix::fs::makedev(1, 3))?),
        }
    }

    /// A new file takes an old one's place; the old one may have other names.
    fn publish(&mut self) -> io::Result<()> {
        let (new, old) = (self.file().with_extension("tmp"), self.file());
        writable_new(&new)?.write_all_at(&self.data[..self.rng.below(5000) as usize], 0)?;
        if self.rng.one_in(2) {
            fs::hard_link(&new, self.file())?;
        }
        fs::rename(new, old)
    }

    /// Writes through a descriptor that was opened long ago.
    fn hold(&mut self) -> io::Result<()> {
        if let Some(file) = &self.held {
            file.write_all_at(&self.data[..5000], self.rng.below(50_000))?;
        }
        if self.rng.one_in(3) {
            self.held = None;
            self.held = Some(writable(self.file())?);
        }
        Ok(())
    }
}
