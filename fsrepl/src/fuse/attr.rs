//! Between the kernel's words and ours: attributes, errors, times.

use crate::id::{ObjectId, Stamp};
use fuser::{Errno as FuseErrno, FileAttr, FileType, INodeNo, TimeOrNow};
use rustix::fs::{Stat, Timespec, UTIME_NOW, UTIME_OMIT};
use rustix::io::Errno;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Errors pass through unchanged: the application sees what the file system beneath said.
pub fn errno(errno: Errno) -> FuseErrno {
    FuseErrno::from_i32(errno.raw_os_error())
}

fn time(sec: i64, nsec: i64) -> SystemTime {
    if sec >= 0 {
        UNIX_EPOCH + Duration::new(sec as u64, nsec as u32)
    } else {
        UNIX_EPOCH - Duration::from_secs(sec.unsigned_abs()) + Duration::from_nanos(nsec as u64)
    }
}

/// A time of the kernel as a stamp. The `fuser` crate (0.18) reads times before 1970 as so many seconds and
/// so many nanoseconds *before* the epoch, while the kernel counts nanoseconds forwards: taken back here.
pub fn stamp(time: SystemTime) -> Stamp {
    match time.duration_since(UNIX_EPOCH) {
        Ok(after) => Stamp { sec: after.as_secs() as i64, nsec: after.subsec_nanos() },
        Err(before) => {
            let before = before.duration();
            Stamp { sec: -(before.as_secs() as i64), nsec: before.subsec_nanos() }
        }
    }
}

/// Argument of utimensat(2).
pub fn timespec(time: Option<TimeOrNow>) -> Timespec {
    match time {
        None => Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT as _ },
        Some(TimeOrNow::Now) => Timespec { tv_sec: 0, tv_nsec: UTIME_NOW as _ },
        Some(TimeOrNow::SpecificTime(time)) => {
            let stamp = stamp(time);
            Timespec { tv_sec: stamp.sec, tv_nsec: stamp.nsec as _ }
        }
    }
}

/// Type for the kernel.
pub fn file_type(mode: u32) -> FileType {
    use rustix::fs::FileType as Type;
    match Type::from_raw_mode(mode) {
        Type::Directory => FileType::Directory,
        Type::Symlink => FileType::Symlink,
        Type::Fifo => FileType::NamedPipe,
        Type::Socket => FileType::Socket,
        Type::CharacterDevice => FileType::CharDevice,
        Type::BlockDevice => FileType::BlockDevice,
        _ => FileType::RegularFile,
    }
}

/// Device number in the kernel's 32-bit form.
fn rdev(dev: u64) -> u32 {
    let (major, minor) = (rustix::fs::major(dev), rustix::fs::minor(dev));
    (minor & 0xff) | (major << 8) | ((minor & !0xff) << 12)
}

/// Device number from the kernel's 32-bit form.
pub fn device(rdev: u32) -> u64 {
    rustix::fs::makedev((rdev >> 8) & 0xfff, (rdev & 0xff) | ((rdev >> 12) & 0xf_ff00))
}

/// Attributes for the kernel.
pub fn attr(id: ObjectId, stat: &Stat) -> FileAttr {
    FileAttr {
        ino: INodeNo(id.0),
        size: stat.st_size as u64,
        blocks: stat.st_blocks as u64,
        atime: time(stat.st_atime, stat.st_atime_nsec as i64),
        mtime: time(stat.st_mtime, stat.st_mtime_nsec as i64),
        ctime: time(stat.st_ctime, stat.st_ctime_nsec as i64),
        crtime: UNIX_EPOCH,
        kind: file_type(stat.st_mode),
        perm: (stat.st_mode & 0o7777) as u16,
        nlink: stat.st_nlink as u32,
        uid: stat.st_uid,
        gid: stat.st_gid,
        rdev: rdev(stat.st_rdev),
        blksize: stat.st_blksize as u32,
        flags: 0,
    }
}

/// Attributes that tell the kernel "there is no such name, and you may remember that".
pub fn absent() -> FileAttr {
    FileAttr {
        ino: INodeNo(0),
        size: 0,
        blocks: 0,
        atime: UNIX_EPOCH,
        mtime: UNIX_EPOCH,
        ctime: UNIX_EPOCH,
        crtime: UNIX_EPOCH,
        kind: FileType::RegularFile,
        perm: 0,
        nlink: 0,
        uid: 0,
        gid: 0,
        rdev: 0,
        blksize: 0,
        flags: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_before_1970_survive() {
        for (sec, nsec) in [(0, 0), (-1, 0), (-1, 1), (-2, 999_999_999), (5, 7), (-4_000_000_000, 123)] {
            let given = if sec < 0 { UNIX_EPOCH - Duration::new(-sec as u64, nsec) } else { UNIX_EPOCH + Duration::new(sec as u64, nsec) };
            assert_eq!(stamp(given), Stamp { sec, nsec });
        }
    }

    #[test]
    fn device_numbers_survive() {
        for (major, minor) in [(8, 1), (259, 1048575), (0, 0), (4095, 256)] {
            let dev = rustix::fs::makedev(major, minor);
            assert_eq!(device(rdev(dev)), dev);
        }
    }
}
