//! The mount table as this thread sees it, and which mounts are stacked on a directory.

use crate::report::{Failure, FailureKind};
use rustix::fs::{AtFlags, CWD, StatxFlags, statx};
use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// One line of mountinfo.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// Id of this mount.
    pub id: u64,
    /// Id of the mount it is attached to.
    pub parent: u64,
    /// `major:minor` of the file system.
    pub device: String,
    /// Which directory of the file system is its root.
    pub root: PathBuf,
    /// Where it is attached.
    pub point: PathBuf,
    /// Per-mount options contain `ro`.
    pub read_only: bool,
    /// File system type, with subtype (`fuse.understudy`).
    pub kind: String,
}

/// The mounts of this thread's namespace. (Not `/proc/self`: that is the main thread's.)
pub fn list() -> io::Result<Vec<Mount>> {
    read(Path::new("/proc/thread-self/mountinfo"))
}

/// The mounts in a mountinfo file.
pub fn read(file: &Path) -> io::Result<Vec<Mount>> {
    let text = std::fs::read(file)?;
    Ok(text.split(|&byte| byte == b'\n').filter_map(parse).collect())
}

/// The same as [`list`], as a failure for operators.
pub fn listed() -> Result<Vec<Mount>, Failure> {
    list().map_err(|error| Failure::new(FailureKind::Failed, "cannot read the mount table", error.to_string(), "mount /proc"))
}

fn parse(line: &[u8]) -> Option<Mount> {
    let mut fields = line.split(|&byte| byte == b' ');
    let id = number(fields.next()?)?;
    let parent = number(fields.next()?)?;
    let device = String::from_utf8_lossy(fields.next()?).into_owned();
    let root = unescape(fields.next()?);
    let point = unescape(fields.next()?);
    let read_only = fields.next()?.split(|&byte| byte == b',').any(|option| option == b"ro");
    // Optional fields (propagation) end at a lone dash; the type follows it.
    fields.by_ref().find(|field| *field == b"-")?;
    let kind = String::from_utf8_lossy(fields.next()?).into_owned();
    Some(Mount { id, parent, device, root, point, read_only, kind })
}

fn number(field: &[u8]) -> Option<u64> {
    std::str::from_utf8(field).ok()?.parse().ok()
}

/// Undoes the kernel's `\ooo` for blanks, newlines and backslashes.
pub fn unescape(field: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&byte, tail)) = rest.split_first() {
        match (byte, tail.get(..3).and_then(octal)) {
            (b'\\', Some(value)) => {
                bytes.push(value);
                rest = &tail[3..];
            }
            _ => {
                bytes.push(byte);
                rest = tail;
            }
        }
    }
    PathBuf::from(OsString::from_vec(bytes))
}

fn octal(digits: &[u8]) -> Option<u8> {
    digits.iter().try_fold(0u8, |value, digit| match digit {
        b'0'..=b'7' => value.checked_mul(8)?.checked_add(digit - b'0'),
        _ => None,
    })
}

/// Id of the mount that a look-up of `path` ends in. Asks no file system for attributes, so a
/// FUSE daemon that hangs or died does not matter.
pub fn id_of(path: &Path) -> io::Result<u64> {
    let found = statx(CWD, path, AtFlags::STATX_DONT_SYNC, StatxFlags::MNT_ID)?;
    match StatxFlags::from_bits_retain(found.stx_mask).contains(StatxFlags::MNT_ID) {
        true => Ok(found.stx_mnt_id),
        false => Err(io::Error::new(io::ErrorKind::Unsupported, "the kernel is older than 5.8")),
    }
}

/// The mounts on exactly `dir` that a look-up passes through, lowest first. Found from the parent
/// directory's mount upwards, so mounts hidden elsewhere in the table do not count, and a dead
/// mount on `dir` is never asked.
pub fn stack<'a>(mounts: &'a [Mount], dir: &Path) -> io::Result<Vec<&'a Mount>> {
    let Some(parent) = dir.parent() else { return Ok(Vec::new()) };
    let mut at = id_of(parent)?;
    let mut stack: Vec<&Mount> = Vec::new();
    while let Some(next) = mounts.iter().find(|m| m.parent == at && m.point == dir && m.id != at) {
        at = next.id;
        stack.push(next);
    }
    Ok(stack)
}

/// Where `dir` lies in the file system that `mount` shows: the `root` a bind of it would have.
pub fn root_of(mount: &Mount, dir: &Path) -> Option<PathBuf> {
    let below = dir.strip_prefix(&mount.point).ok()?;
    Some(if below.as_os_str().is_empty() { mount.root.clone() } else { mount.root.join(below) })
}

/// `dir` without symbolic links, also when a dead FUSE mount lies on it.
pub fn resolve(dir: &Path) -> io::Result<PathBuf> {
    std::fs::canonicalize(dir).or_else(|error| {
        let gone = matches!(error.raw_os_error(), Some(libc::ENOTCONN | libc::EIO | libc::ECONNABORTED));
        match (gone, dir.parent(), dir.file_name()) {
            (true, Some(parent), Some(name)) => {
                let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
                Ok(std::fs::canonicalize(parent)?.join(name))
            }
            _ => Err(error),
        }
    })
}

/// Whether `path` is `dir` or below it.
pub fn within(path: &[u8], dir: &Path) -> bool {
    let dir = dir.as_os_str().as_bytes();
    match path.strip_prefix(dir) {
        Some(rest) => rest.is_empty() || rest[0] == b'/' || dir == b"/",
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_with_and_without_optional_fields_and_escapes() {
        let mount = parse(b"36 35 98:0 /mnt1 /a\\040b\\134 ro,noatime shared:1 master:2 - fuse.understudy src rw").unwrap();
        assert_eq!((mount.id, mount.parent, mount.read_only), (36, 35, true));
        assert_eq!(mount.point, Path::new("/a b\\"));
        assert_eq!((mount.root.as_path(), mount.kind.as_str()), (Path::new("/mnt1"), "fuse.understudy"));
        let plain = parse(b"1 0 0:1 / / rw - tmpfs none rw").unwrap();
        assert!(!plain.read_only);
        assert_eq!(parse(b"1 0 0:1"), None);
    }

    #[test]
    fn prefixes_end_at_a_component() {
        assert!(within(b"/a/b", Path::new("/a")));
        assert!(within(b"/a", Path::new("/a")));
        assert!(!within(b"/ab", Path::new("/a")));
        assert!(within(b"/x", Path::new("/")));
    }

    #[test]
    fn the_root_of_a_bind() {
        let mount = parse(b"1 0 0:1 /vol /mnt rw - ext4 none rw").unwrap();
        assert_eq!(root_of(&mount, Path::new("/mnt/d")).unwrap(), Path::new("/vol/d"));
        assert_eq!(root_of(&mount, Path::new("/mnt")).unwrap(), Path::new("/vol"));
        assert_eq!(root_of(&mount, Path::new("/other")), None);
    }
}
