//! Reads everything but contents of one tree. Walks by descriptors, so that paths may be long.

use rustix::fs::{AtFlags, Dir, FileType, IFlags, Mode, OFlags, ioctl_getflags, lgetxattr, llistxattr, open, openat, readlinkat, statat};
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::ffi::{CStr, CString, OsStr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// The product's own directory at the root of a replica.
const HIDDEN: &[u8] = b".understudy";

/// Components from the root; empty for the root itself.
pub type Name = Vec<CString>;

/// Type of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    File,
    Directory,
    Symlink,
    Fifo,
    Socket,
    CharDevice,
    BlockDevice,
    Unknown,
}

/// One name and the object behind it.
#[derive(Debug)]
pub struct Entry {
    pub kind: Kind,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    /// Links of anything but directories (theirs count subdirectories on some file systems only).
    pub links: u64,
    /// Content size; 0 for directories.
    pub size: u64,
    pub rdev: u64,
    pub mtime: (i64, u64),
    pub inode: (u64, u64),
    pub flags: u32,
    pub target: Option<CString>,
    pub xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
}

/// A tree.
#[derive(Default)]
pub struct Tree {
    pub root: Option<OwnedFd>,
    pub entries: BTreeMap<Name, Entry>,
}

/// Reads the tree at `root`.
pub fn scan(root: &Path) -> Result<Tree, Errno> {
    let fd = open(root, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let mut tree = Tree { root: None, entries: BTreeMap::new() };
    tree.entries.insert(Name::new(), entry(fd.as_fd(), c".")?);
    walk(fd.as_fd(), &Name::new(), &mut tree)?;
    tree.root = Some(fd);
    Ok(tree)
}

fn walk(dir: BorrowedFd<'_>, name: &Name, tree: &mut Tree) -> Result<(), Errno> {
    for item in Dir::read_from(dir)? {
        let item = item?;
        let last = item.file_name();
        let bytes = last.to_bytes();
        if bytes == b"." || bytes == b".." || (name.is_empty() && bytes == HIDDEN) {
            continue;
        }
        let mut full = name.clone();
        full.push(last.to_owned());
        let entry = entry(dir, last)?;
        let deeper = entry.kind == Kind::Directory;
        tree.entries.insert(full.clone(), entry);
        if deeper {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            walk(openat(dir, last, flags, Mode::empty())?.as_fd(), &full, tree)?;
        }
    }
    Ok(())
}

fn entry(dir: BorrowedFd<'_>, name: &CStr) -> Result<Entry, Errno> {
    let stat = statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)?;
    let kind = kind(FileType::from_raw_mode(stat.st_mode));
    let directory = kind == Kind::Directory;
    let target = (kind == Kind::Symlink).then(|| readlinkat(dir, name, Vec::new())).transpose()?;
    Ok(Entry {
        kind,
        mode: stat.st_mode & 0o7777,
        uid: stat.st_uid,
        gid: stat.st_gid,
        links: if directory { 0 } else { stat.st_nlink as u64 },
        size: if directory { 0 } else { stat.st_size as u64 },
        rdev: if matches!(kind, Kind::CharDevice | Kind::BlockDevice) { stat.st_rdev } else { 0 },
        mtime: (stat.st_mtime, stat.st_mtime_nsec as u64),
        inode: (stat.st_dev, stat.st_ino),
        flags: if directory || kind == Kind::File { flags(dir, name) } else { 0 },
        target,
        xattrs: xattrs(dir, name)?,
    })
}

fn kind(kind: FileType) -> Kind {
    match kind {
        FileType::RegularFile => Kind::File,
        FileType::Directory => Kind::Directory,
        FileType::Symlink => Kind::Symlink,
        FileType::Fifo => Kind::Fifo,
        FileType::Socket => Kind::Socket,
        FileType::CharacterDevice => Kind::CharDevice,
        FileType::BlockDevice => Kind::BlockDevice,
        FileType::Unknown => Kind::Unknown,
    }
}

/// Flags that users set (`chattr`); the others tell how the file system stores the file.
fn flags(dir: BorrowedFd<'_>, name: &CStr) -> u32 {
    let user = IFlags::IMMUTABLE | IFlags::APPEND | IFlags::NODUMP | IFlags::NOATIME | IFlags::DIRSYNC;
    let open = openat(dir, name, OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty());
    open.and_then(ioctl_getflags).map_or(0, |flags| (flags & user).bits())
}

fn xattrs(dir: BorrowedFd<'_>, name: &CStr) -> Result<BTreeMap<Vec<u8>, Vec<u8>>, Errno> {
    // There is no call relative to a descriptor; this path stays short whatever the depth.
    let mut path = format!("/proc/self/fd/{}/", dir.as_raw_fd()).into_bytes();
    path.extend_from_slice(name.to_bytes());
    let path = Path::new(OsStr::from_bytes(&path));
    let mut names = vec![0_u8; 64 * 1024];
    let length = match llistxattr(path, &mut names) {
        Err(Errno::NOTSUP) => 0,
        other => other?,
    };
    let mut all = BTreeMap::new();
    for name in names[..length].split(|&b| b == 0).filter(|name| !name.is_empty()) {
        let mut value = vec![0_u8; 64 * 1024];
        // xfs shows each ACL a second time, by its own name for it.
        if name.starts_with(b"trusted.SGI_ACL_") {
            continue;
        }
        let length = lgetxattr(path, name, &mut value)?;
        value.truncate(length);
        all.insert(name.to_vec(), value);
    }
    Ok(all)
}

/// Opens a file of the tree for reading.
pub fn open_file(tree: &Tree, name: &Name) -> Result<OwnedFd, Errno> {
    let root = tree.root.as_ref().expect("a scanned tree has a root");
    let (last, parents) = name.split_last().expect("the root is no file");
    let mut dir = openat(root, c".", OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    for parent in parents {
        dir = openat(&dir, parent.as_c_str(), OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
    }
    openat(&dir, last.as_c_str(), OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
}

/// A name for people.
pub fn show(name: &Name) -> String {
    if name.is_empty() {
        return ".".to_owned();
    }
    name.iter().map(|part| part.to_string_lossy().escape_debug().to_string()).collect::<Vec<_>>().join("/")
}
