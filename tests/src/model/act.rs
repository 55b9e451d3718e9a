//! Does operations, told as lines of JSON on standard input, as the user this process runs as.

use super::op::{NodeKind, Op, Reply, Time};
use rustix::fs::{
    Access, AtFlags, CWD, FallocateFlags, FileType, FlockOperation, Gid, IFlags, Mode, OFlags, RenameFlags, SeekFrom, Stat, Timespec,
    Timestamps, Uid, XattrFlags,
};
use rustix::io::Errno;
use rustix::{fs, io};
use std::collections::HashMap;
use std::io::{BufRead, Write};
use std::os::fd::OwnedFd;

const PAGE: usize = 4096;

/// Reads operations from standard input and answers each on standard output, to the end.
pub fn serve() {
    let mut actor = Actor::default();
    let mut out = std::io::stdout().lock();
    for line in std::io::stdin().lock().lines().map_while(Result::ok) {
        let op: Op = serde_json::from_str(&line).expect("an operation");
        let result = actor.act(&op).map_err(Errno::raw_os_error);
        let look = op.path().map_or_else(String::new, |path| match fs::statat(CWD, path, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => describe(&stat),
            Err(e) => format!("errno {}", e.raw_os_error()),
        });
        let reply = serde_json::to_string(&Reply { result, look }).expect("a reply is JSON");
        if writeln!(out, "{reply}").and_then(|()| out.flush()).is_err() {
            return;
        }
    }
}

#[derive(Default)]
struct Actor {
    open: HashMap<u8, (OwnedFd, OFlags)>,
}

type Answer = Result<String, Errno>;

impl Actor {
    fn act(&mut self, op: &Op) -> Answer {
        match op {
            Op::Enter { dir } => done(rustix::process::chdir(dir.as_str())),
            Op::Umask { mode } => Ok(format!("{:o}", rustix::process::umask(Mode::from_raw_mode(*mode)))),
            Op::StatFs => fs::statvfs(".").map(|s| format!("{} {}", s.f_bsize, s.f_namemax)),
            Op::Open { .. } | Op::Close { .. } => self.open_close(op),
            _ if op.path().is_some() => change_name(op),
            Op::ReadLink { .. } | Op::GetXattr { .. } | Op::ListXattr { .. } | Op::Stat { .. } => look_at(op),
            Op::List { .. } | Op::Access { .. } => look_at(op),
            _ => self.on_open(op),
        }
    }

    fn open_close(&mut self, op: &Op) -> Answer {
        match op {
            Op::Open { slot, path, flags, mode } => {
                let flags = OFlags::from_bits_retain(*flags);
                let fd = fs::openat(CWD, path.as_str(), flags | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::from_raw_mode(*mode))?;
                self.open.insert(*slot, (fd, flags));
            }
            Op::Close { slot } => drop(self.open.remove(slot)),
            _ => unreachable!("sorted by the caller"),
        }
        Ok(String::new())
    }

    fn fd(&self, slot: u8) -> Result<&OwnedFd, Errno> {
        self.open.get(&slot).map(|(fd, _)| fd).ok_or(Errno::BADF)
    }

    /// Direct I/O wants aligned places; what ext4 says of others is not compared.
    fn place(&self, slot: u8, offset: u64, length: usize) -> (u64, usize) {
        match self.open.get(&slot) {
            Some((_, flags)) if flags.contains(OFlags::DIRECT) => (offset - offset % PAGE as u64, length.next_multiple_of(PAGE)),
            _ => (offset, length),
        }
    }

    fn on_open(&mut self, op: &Op) -> Answer {
        match *op {
            Op::Write { slot, offset, length, byte } => {
                let (offset, length) = self.place(slot, offset, length);
                with_buffer(length, byte, |bytes| io::pwrite(self.fd(slot)?, bytes, offset)).map(|n| n.to_string())
            }
            Op::Append { slot, length, byte } => {
                let (_, length) = self.place(slot, 0, length);
                let n = with_buffer(length, byte, |bytes| io::write(self.fd(slot)?, bytes))?;
                Ok(format!("{n} to {:?}", fs::tell(self.fd(slot)?)))
            }
            Op::Read { slot, offset, length } => {
                let (offset, length) = self.place(slot, offset, length);
                with_buffer(length, 0, |bytes| io::pread(self.fd(slot)?, &mut *bytes, offset).map(|n| digest(&bytes[..n])))
            }
            Op::Seek { slot, offset, hole } => {
                // A directory has no holes: what it answers is the file system's own cookie space, and for a mounted
                // directory the kernel answers without asking (docs/semantics.md).
                if FileType::from_raw_mode(fs::fstat(self.fd(slot)?)?.st_mode) == FileType::Directory {
                    return Err(Errno::ISDIR);
                }
                let to = if hole { SeekFrom::Hole(offset) } else { SeekFrom::Data(offset) };
                fs::seek(self.fd(slot)?, to).map(|at| at.to_string())
            }
            Op::Resize { slot, size } => done(fs::ftruncate(self.fd(slot)?, size)),
            Op::Allocate { slot, mode, offset, length } => {
                done(fs::fallocate(self.fd(slot)?, FallocateFlags::from_bits_retain(mode), offset, length))
            }
            Op::Sync { slot, data_only: true } => done(fs::fdatasync(self.fd(slot)?)),
            Op::Sync { slot, data_only: false } => done(fs::fsync(self.fd(slot)?)),
            Op::CopyRange { from, to, mut from_offset, mut to_offset, length } => {
                let (from, to) = (self.fd(from)?, self.fd(to)?);
                // Direct I/O wants whole blocks here too, and the mount is not told how a copied file was opened.
                if [from, to].into_iter().any(|fd| fs::fcntl_getfl(fd).is_ok_and(|flags| flags.contains(OFlags::DIRECT))) {
                    return Err(Errno::INVAL);
                }
                let n = fs::copy_file_range(from, Some(&mut from_offset), to, Some(&mut to_offset), length)?;
                Ok(n.to_string())
            }
            Op::Flock { slot, exclusive, unlock } => done(fs::flock(self.fd(slot)?, lock(exclusive, unlock))),
            Op::Lock { slot, exclusive, unlock } => done(fs::fcntl_lock(self.fd(slot)?, lock(exclusive, unlock))),
            Op::StatOpen { slot } => fs::fstat(self.fd(slot)?).map(|stat| describe(&stat)),
            Op::Flags { slot, nodump } => {
                let flags = fs::ioctl_getflags(self.fd(slot)?)?;
                let flags = if nodump { flags | IFlags::NODUMP } else { flags - IFlags::NODUMP };
                done(fs::ioctl_setflags(self.fd(slot)?, flags))
            }
            _ => unreachable!("sorted by the caller"),
        }
    }
}

fn done(result: Result<(), Errno>) -> Answer {
    result.map(|()| String::new())
}

fn lock(exclusive: bool, unlock: bool) -> FlockOperation {
    match (unlock, exclusive) {
        (true, _) => FlockOperation::NonBlockingUnlock,
        (false, true) => FlockOperation::NonBlockingLockExclusive,
        (false, false) => FlockOperation::NonBlockingLockShared,
    }
}

/// A buffer that starts on a page.
fn with_buffer<T>(length: usize, byte: u8, act: impl FnOnce(&mut [u8]) -> Result<T, Errno>) -> Result<T, Errno> {
    let mut space = vec![byte; length + PAGE];
    let start = space.as_ptr().align_offset(PAGE);
    act(&mut space[start..start + length])
}

/// Short, and different for different bytes (FNV).
fn digest(bytes: &[u8]) -> String {
    let hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |h, &b| (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3));
    format!("{} bytes {hash:016x}", bytes.len())
}

fn describe(stat: &Stat) -> String {
    let directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
    let size = if directory { 0 } else { stat.st_size };
    // Times of the clock differ between the two directories; those that were set are small.
    let modified = if stat.st_mtime < 1_000_000 { (stat.st_mtime, stat.st_mtime_nsec) } else { (-1, 0) };
    format!(
        "{:o} links {} owner {}:{} size {size} device {} modified {}.{:09}",
        stat.st_mode, stat.st_nlink, stat.st_uid, stat.st_gid, stat.st_rdev, modified.0, modified.1
    )
}

fn change_name(op: &Op) -> Answer {
    let nofollow = AtFlags::SYMLINK_NOFOLLOW;
    done(match op {
        Op::Truncate { path, size } => return truncate(path, *size),
        Op::Map { path, offset, length, byte } => return map(path, *offset, *length, *byte),
        Op::Rename { from, to, flags } => fs::renameat_with(CWD, from.as_str(), CWD, to.as_str(), RenameFlags::from_bits_retain(*flags)),
        Op::Link { from, to } => fs::linkat(CWD, from.as_str(), CWD, to.as_str(), AtFlags::empty()),
        Op::Unlink { path } => fs::unlinkat(CWD, path.as_str(), AtFlags::empty()),
        Op::Rmdir { path } => fs::unlinkat(CWD, path.as_str(), AtFlags::REMOVEDIR),
        Op::Symlink { target, path } => fs::symlinkat(target.as_str(), CWD, path.as_str()),
        Op::Mknod { path, kind, mode } => {
            let (kind, device) = match kind {
                NodeKind::Fifo => (FileType::Fifo, 0),
                NodeKind::Socket => (FileType::Socket, 0),
                NodeKind::Null => (FileType::CharacterDevice, fs::makedev(1, 3)),
                NodeKind::File => (FileType::RegularFile, 0),
            };
            fs::mknodat(CWD, path.as_str(), kind, Mode::from_raw_mode(*mode), device)
        }
        Op::Mkdir { path, mode } => fs::mkdirat(CWD, path.as_str(), Mode::from_raw_mode(*mode)),
        Op::Chmod { path, mode } => fs::chmodat(CWD, path.as_str(), Mode::from_raw_mode(*mode), AtFlags::empty()),
        Op::Chown { path, uid, gid, follow } => {
            let flags = if *follow { AtFlags::empty() } else { nofollow };
            // What others than the owner get here is told apart beneath only (docs/semantics.md).
            if uid.is_none() && gid.is_none() && !rustix::process::getuid().is_root() {
                return Err(Errno::PERM);
            }
            fs::chownat(CWD, path.as_str(), uid.map(Uid::from_raw), gid.map(Gid::from_raw), flags)
        }
        Op::Times { path, modified } => fs::utimensat(CWD, path.as_str(), &times(*modified), nofollow),
        Op::SetXattr { path, name, value, flags } => {
            fs::lsetxattr(path.as_str(), name.as_str(), value, XattrFlags::from_bits_retain(*flags))
        }
        Op::RemoveXattr { path, name } => fs::lremovexattr(path.as_str(), name.as_str()),
        _ => unreachable!("sorted by the caller"),
    })
}

fn times(modified: Time) -> Timestamps {
    let (tv_sec, tv_nsec) = match modified {
        Time::At(seconds, nanoseconds) => (seconds, nanoseconds),
        Time::Now => (0, fs::UTIME_NOW as _),
        Time::Omit => (0, fs::UTIME_OMIT as _),
    };
    Timestamps { last_access: Timespec { tv_sec: 0, tv_nsec: fs::UTIME_OMIT as _ }, last_modification: Timespec { tv_sec, tv_nsec } }
}

/// truncate(2) by path, through the standard library: rustix has it for descriptors only.
fn truncate(path: &str, size: u64) -> Answer {
    let file = fs::openat(CWD, path, OFlags::WRONLY | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty())?;
    done(fs::ftruncate(file, size))
}

fn map(path: &str, offset: u64, length: u64, byte: u8) -> Answer {
    let stat = fs::stat(path)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile || offset + length > stat.st_size as u64 {
        return Ok("not mapped".to_owned());
    }
    let output = std::process::Command::new("xfs_io")
        .args(["-c", &format!("mmap -w {offset} {length}"), "-c", &format!("mwrite -S {byte} {offset} {length}")])
        .args(["-c", "msync -s", path])
        .output()
        .expect("run xfs_io: was tests/setup run?");
    Ok(format!("{:?} {}", output.status.code(), String::from_utf8_lossy(&output.stderr)))
}

fn look_at(op: &Op) -> Answer {
    match op {
        Op::ReadLink { path } => fs::readlinkat(CWD, path.as_str(), Vec::new()).map(|t| format!("{t:?}")),
        Op::Stat { path } => fs::statat(CWD, path.as_str(), AtFlags::empty()).map(|stat| describe(&stat)),
        Op::Access { path, mode } => done(fs::accessat(CWD, path.as_str(), Access::from_bits_retain(*mode), AtFlags::empty())),
        Op::GetXattr { path, name } => {
            let mut value = vec![0; 4096];
            let length = fs::lgetxattr(path.as_str(), name.as_str(), &mut value)?;
            Ok(format!("{:?}", &value[..length]))
        }
        Op::ListXattr { path } => {
            let mut names = vec![0; 4096];
            let length = fs::llistxattr(path.as_str(), &mut names)?;
            let mut names: Vec<_> = names[..length].split(|&b| b == 0).map(String::from_utf8_lossy).collect();
            names.sort();
            Ok(names.join(" "))
        }
        Op::List { path } => {
            let dir = fs::openat(CWD, path.as_str(), OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
            let mut names = Vec::new();
            for entry in fs::Dir::read_from(&dir)? {
                let entry = entry?;
                names.push(format!("{} {:?}", entry.file_name().to_string_lossy(), entry.file_type()));
            }
            names.sort();
            Ok(names.join("/"))
        }
        _ => unreachable!("sorted by the caller"),
    }
}
