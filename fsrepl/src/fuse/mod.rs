//! The kernel's FUSE requests, decoded: each method hands the request to [`Volume`] and the answer back.
//! The only file that knows the `fuser` crate's trait.

mod attr;
mod flush;
mod session;

pub use session::{Mounted, mount};

use crate::apply::{Caller, New, Place, Volume, Wish};
use crate::id::ObjectId;
use crate::limits::{FUSE_MAX_WRITE, KERNEL_TTL, XATTR_LIST};
use crate::sys::{self, Sys};
use attr::{absent, attr, errno, file_type, timespec};
use flush::Flushers;
use fuser::{
    BsdFileFlags, CopyFileRangeFlags, Errno as FuseErrno, FileHandle, Filesystem, FopenFlags, Generation, INodeNo, InitFlags, IoctlFlags,
    KernelConfig, LockOwner, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory, ReplyDirectoryPlus, ReplyEmpty,
    ReplyEntry, ReplyIoctl, ReplyLseek, ReplyOpen, ReplyStatfs, ReplyWrite, ReplyXattr, Request, TimeOrNow, WriteFlags,
};
use rustix::fs::Stat;
use rustix::io::Errno;
use std::cell::RefCell;
use std::ffi::OsStr;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

/// What the kernel may do for us. Not among them: the writeback cache (it reorders writes), data
/// invalidation by modification time (nobody else writes), O_TRUNC within open (set-id bits would stay).
const WANTED: [InitFlags; 13] = [
    InitFlags::FUSE_ASYNC_READ,
    InitFlags::FUSE_BIG_WRITES,
    InitFlags::FUSE_PARALLEL_DIROPS,
    InitFlags::FUSE_DO_READDIRPLUS,
    InitFlags::FUSE_READDIRPLUS_AUTO,
    InitFlags::FUSE_POSIX_ACL,
    InitFlags::FUSE_DONT_MASK,
    InitFlags::FUSE_HANDLE_KILLPRIV_V2,
    InitFlags::FUSE_EXPLICIT_INVAL_DATA,
    InitFlags::FUSE_CACHE_SYMLINKS,
    InitFlags::FUSE_ASYNC_DIO,
    InitFlags::FUSE_HAS_IOCTL_DIR,
    InitFlags::FUSE_MAX_PAGES,
];

thread_local! {
    static READ_BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// A volume as the kernel sees it.
pub struct Bridge {
    volume: Arc<Volume>,
    flushers: Flushers,
}

fn id(ino: INodeNo) -> ObjectId {
    ObjectId(ino.0)
}

fn caller(request: &Request) -> Caller {
    Caller { uid: request.uid(), gid: request.gid(), pid: request.pid() }
}

fn end_entry(volume: &Arc<Volume>, reply: ReplyEntry) -> impl FnOnce(Sys<(ObjectId, Stat)>) + Send + 'static {
    let volume = volume.clone();
    move |found| match found {
        Ok((id, stat)) => {
            volume.objects.looked_up(id);
            reply.entry(&KERNEL_TTL, &attr(id, &stat), Generation(0));
        }
        Err(why) => reply.error(errno(why)),
    }
}

fn end_empty(reply: ReplyEmpty) -> impl FnOnce(Sys<()>) + Send + 'static {
    move |result| match result {
        Ok(()) => reply.ok(),
        Err(why) => reply.error(errno(why)),
    }
}

fn end_write(reply: ReplyWrite) -> impl FnOnce(Sys<u32>) + Send + 'static {
    move |result| match result {
        Ok(written) => reply.written(written),
        Err(why) => reply.error(errno(why)),
    }
}

fn answer_xattr(size: u32, reply: ReplyXattr, get: impl FnOnce(&mut [u8]) -> Sys<usize>) {
    let mut value = vec![0; size as usize];
    match get(&mut value) {
        Ok(length) if size == 0 => reply.size(length as u32),
        Ok(length) => reply.data(&value[..length]),
        Err(why) => reply.error(errno(why)),
    }
}

impl Bridge {
    fn new(volume: Arc<Volume>, threads: usize) -> Bridge {
        Bridge { volume, flushers: Flushers::new(threads) }
    }

    /// Names of extended attributes without those that only administrators may see.
    fn public_xattrs(&self, ino: INodeNo, into: &mut [u8]) -> Sys<usize> {
        let mut all = vec![0; XATTR_LIST];
        let length = self.volume.listxattr(id(ino), &mut all)?;
        let names = all[..length].split_inclusive(|byte| *byte == 0).filter(|name| !name.starts_with(b"trusted."));
        let public: Vec<u8> = names.flatten().copied().collect();
        if !into.is_empty() {
            into.get_mut(..public.len()).ok_or(Errno::RANGE)?.copy_from_slice(&public);
        }
        Ok(public.len())
    }

    /// What the file system beneath would refuse because O_DIRECT wants whole blocks.
    fn misaligned(&self, ino: INodeNo, flags: OpenFlags, offset: u64, length: usize) -> bool {
        flags.0 & libc::O_DIRECT != 0 && self.volume.misaligned(id(ino), offset, length as u64)
    }

    fn flush(&self, ino: INodeNo, data_only: bool, reply: ReplyEmpty) {
        let volume = self.volume.clone();
        self.flushers.run(Box::new(move || volume.fsync(id(ino), data_only, end_empty(reply))));
    }
}

impl Filesystem for Bridge {
    fn init(&mut self, _request: &Request, config: &mut KernelConfig) -> std::io::Result<()> {
        for wanted in WANTED {
            if config.add_capabilities(wanted).is_err() {
                tracing::debug!(?wanted, "this kernel does not offer it");
            }
        }
        // The kernel's own limits may be lower; then it says so by sending less.
        let _ = config.set_max_write(FUSE_MAX_WRITE as u32);
        let _ = config.set_max_background(64);
        Ok(())
    }

    fn lookup(&self, _request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        match self.volume.lookup(id(parent), name) {
            Ok((id, stat)) => {
                self.volume.objects.looked_up(id);
                reply.entry(&KERNEL_TTL, &attr(id, &stat), Generation(0));
            }
            // Names come only through this mount, so the kernel may remember that there is none.
            Err(Errno::NOENT) => reply.entry(&KERNEL_TTL, &absent(), Generation(0)),
            Err(why) => reply.error(errno(why)),
        }
    }

    fn forget(&self, _request: &Request, ino: INodeNo, lookups: u64) {
        self.volume.objects.forget_lookups(id(ino), lookups);
    }

    fn getattr(&self, _request: &Request, ino: INodeNo, _handle: Option<FileHandle>, reply: ReplyAttr) {
        match self.volume.stat(id(ino)) {
            Ok(stat) => reply.attr(&KERNEL_TTL, &attr(id(ino), &stat)),
            Err(why) => reply.error(errno(why)),
        }
    }

    fn setattr(
        &self,
        request: &Request,
        ino: INodeNo,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
        size: Option<u64>,
        atime: Option<TimeOrNow>,
        mtime: Option<TimeOrNow>,
        _ctime: Option<SystemTime>,
        _handle: Option<FileHandle>,
        _crtime: Option<SystemTime>,
        _chgtime: Option<SystemTime>,
        _bkuptime: Option<SystemTime>,
        _flags: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let times = (atime.is_some() || mtime.is_some()).then(|| (timespec(atime), timespec(mtime)));
        let wish = Wish { mode, uid, gid, size, times, mtime: mtime.is_some() };
        let id = id(ino);
        self.volume.setattr(caller(request), id, wish, move |result| match result {
            Ok(stat) => reply.attr(&KERNEL_TTL, &attr(id, &stat)),
            Err(why) => reply.error(errno(why)),
        });
    }

    fn readlink(&self, _request: &Request, ino: INodeNo, reply: ReplyData) {
        match self.volume.readlink(id(ino)) {
            Ok(target) => reply.data(&target),
            Err(why) => reply.error(errno(why)),
        }
    }

    fn mknod(&self, request: &Request, parent: INodeNo, name: &OsStr, mode: u32, umask: u32, rdev: u32, reply: ReplyEntry) {
        let new = New { parent: id(parent), name, mode, umask, rdev: attr::device(rdev), target: None };
        self.volume.create(caller(request), new, end_entry(&self.volume, reply));
    }

    fn mkdir(&self, request: &Request, parent: INodeNo, name: &OsStr, mode: u32, umask: u32, reply: ReplyEntry) {
        let mode = mode & 0o7777 | libc::S_IFDIR;
        let new = New { parent: id(parent), name, mode, umask, rdev: 0, target: None };
        self.volume.create(caller(request), new, end_entry(&self.volume, reply));
    }

    fn unlink(&self, _request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        self.volume.unlink(id(parent), name, false, end_empty(reply));
    }

    fn rmdir(&self, _request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        self.volume.unlink(id(parent), name, true, end_empty(reply));
    }

    fn symlink(&self, request: &Request, parent: INodeNo, name: &OsStr, target: &Path, reply: ReplyEntry) {
        let mode = libc::S_IFLNK | 0o777;
        let new = New { parent: id(parent), name, mode, umask: 0, rdev: 0, target: Some(target.as_os_str()) };
        self.volume.create(caller(request), new, end_entry(&self.volume, reply));
    }

    fn rename(
        &self,
        _request: &Request,
        parent: INodeNo,
        name: &OsStr,
        newparent: INodeNo,
        newname: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        self.volume.rename((id(parent), name), (id(newparent), newname), flags.bits(), end_empty(reply));
    }

    fn link(&self, _request: &Request, ino: INodeNo, newparent: INodeNo, newname: &OsStr, reply: ReplyEntry) {
        self.volume.link(id(ino), id(newparent), newname, end_entry(&self.volume, reply));
    }

    /// "Not implemented" tells the kernel never to ask again: opens and closes cost nothing, and everything
    /// here goes by object, not by open file.
    fn open(&self, _request: &Request, _ino: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        reply.error(FuseErrno::ENOSYS);
    }

    fn opendir(&self, _request: &Request, _ino: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        reply.error(FuseErrno::ENOSYS);
    }

    fn create(&self, request: &Request, parent: INodeNo, name: &OsStr, mode: u32, umask: u32, _flags: i32, reply: ReplyCreate) {
        let mode = mode & 0o7777 | libc::S_IFREG;
        let new = New { parent: id(parent), name, mode, umask, rdev: 0, target: None };
        let volume = self.volume.clone();
        self.volume.create(caller(request), new, move |found| match found {
            Ok((id, stat)) => {
                volume.objects.looked_up(id);
                reply.created(&KERNEL_TTL, &attr(id, &stat), Generation(0), FileHandle(0), FopenFlags::FOPEN_KEEP_CACHE);
            }
            Err(why) => reply.error(errno(why)),
        });
    }

    fn read(
        &self,
        _request: &Request,
        ino: INodeNo,
        _handle: FileHandle,
        offset: u64,
        size: u32,
        flags: OpenFlags,
        _owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        if self.misaligned(ino, flags, offset, size as usize) {
            return reply.error(FuseErrno::EINVAL);
        }
        READ_BUFFER.with_borrow_mut(|buffer| {
            let size = size as usize;
            if buffer.len() < size {
                buffer.resize(size, 0);
            }
            match self.volume.read(id(ino), offset, &mut buffer[..size]) {
                Ok(got) => reply.data(&buffer[..got]),
                Err(why) => reply.error(errno(why)),
            }
        });
    }

    fn write(
        &self,
        request: &Request,
        ino: INodeNo,
        _handle: FileHandle,
        offset: u64,
        data: &[u8],
        write_flags: WriteFlags,
        flags: OpenFlags,
        _owner: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let cached = write_flags.contains(WriteFlags::FUSE_WRITE_CACHE);
        if !cached && self.misaligned(ino, flags, offset, data.len()) {
            return reply.error(FuseErrno::EINVAL);
        }
        let kills = write_flags.contains(WriteFlags::FUSE_WRITE_KILL_SUIDGID);
        let mut who = caller(request);
        if cached {
            // Write-back of a mapping: the kernel asks, nobody in particular.
            (who.uid, who.gid) = (0, 0);
        }
        self.volume.write(who, id(ino), offset, data, kills, end_write(reply));
    }

    /// Nothing is buffered between write and flush; "not implemented" spares the kernel the question.
    fn flush(&self, _request: &Request, _ino: INodeNo, _handle: FileHandle, _owner: LockOwner, reply: ReplyEmpty) {
        reply.error(FuseErrno::ENOSYS);
    }

    fn fsync(&self, _request: &Request, ino: INodeNo, _handle: FileHandle, datasync: bool, reply: ReplyEmpty) {
        self.flush(ino, datasync, reply);
    }

    fn fsyncdir(&self, _request: &Request, ino: INodeNo, _handle: FileHandle, datasync: bool, reply: ReplyEmpty) {
        self.flush(ino, datasync, reply);
    }

    fn readdir(&self, _request: &Request, ino: INodeNo, _handle: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        let read =
            self.volume.readdir(id(ino), offset, false, |next, id, _, mode, name| reply.add(INodeNo(id.0), next, file_type(mode), name));
        match read {
            Ok(()) => reply.ok(),
            Err(why) => reply.error(errno(why)),
        }
    }

    fn readdirplus(&self, _request: &Request, ino: INodeNo, _handle: FileHandle, offset: u64, mut reply: ReplyDirectoryPlus) {
        let read = self.volume.readdir(id(ino), offset, true, |next, id, stat, mode, name| {
            let attr =
                stat.map_or_else(|| fuser::FileAttr { ino: INodeNo(id.0), kind: file_type(mode), ..absent() }, |stat| attr(id, stat));
            let full = reply.add(INodeNo(id.0), next, name, &KERNEL_TTL, &attr, Generation(0));
            // The kernel does not count what it is told about the directory itself and its parent.
            if !full && stat.is_some() {
                self.volume.objects.looked_up(id);
            }
            full
        });
        match read {
            Ok(()) => reply.ok(),
            Err(why) => reply.error(errno(why)),
        }
    }

    fn statfs(&self, _request: &Request, _ino: INodeNo, reply: ReplyStatfs) {
        match rustix::fs::fstatvfs(self.volume.objects.root()) {
            Ok(fs) => reply.statfs(
                fs.f_blocks,
                fs.f_bfree,
                fs.f_bavail,
                fs.f_files,
                fs.f_ffree,
                fs.f_bsize as u32,
                fs.f_namemax as u32,
                fs.f_frsize as u32,
            ),
            Err(why) => reply.error(errno(why)),
        }
    }

    fn setxattr(&self, request: &Request, ino: INodeNo, name: &OsStr, value: &[u8], flags: i32, _position: u32, reply: ReplyEmpty) {
        self.volume.setxattr(caller(request), id(ino), name, Some(value), flags, end_empty(reply));
    }

    fn removexattr(&self, request: &Request, ino: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        self.volume.setxattr(caller(request), id(ino), name, None, 0, end_empty(reply));
    }

    fn getxattr(&self, _request: &Request, ino: INodeNo, name: &OsStr, size: u32, reply: ReplyXattr) {
        answer_xattr(size, reply, |value| self.volume.getxattr(id(ino), name, value));
    }

    fn listxattr(&self, request: &Request, ino: INodeNo, size: u32, reply: ReplyXattr) {
        if request.uid() == 0 {
            return answer_xattr(size, reply, |value| self.volume.listxattr(id(ino), value));
        }
        answer_xattr(size, reply, |value| self.public_xattrs(ino, value));
    }

    fn ioctl(
        &self,
        _request: &Request,
        ino: INodeNo,
        _handle: FileHandle,
        _flags: IoctlFlags,
        cmd: u32,
        in_data: &[u8],
        out_size: u32,
        reply: ReplyIoctl,
    ) {
        if !matches!(cmd, sys::GET_FLAGS | sys::SET_FLAGS | sys::GET_FSXATTR | sys::SET_FSXATTR) {
            return reply.error(FuseErrno::ENOTTY);
        }
        let mut data = in_data.to_vec();
        data.resize(data.len().max(28), 0);
        self.volume.inode_flags(id(ino), cmd, data, move |result| match result {
            Ok(data) => reply.ioctl(0, &data[..data.len().min(out_size as usize)]),
            Err(why) => reply.error(errno(why)),
        });
    }

    fn fallocate(&self, request: &Request, ino: INodeNo, _handle: FileHandle, offset: u64, length: u64, mode: i32, reply: ReplyEmpty) {
        self.volume.fallocate(caller(request), id(ino), offset, length, mode, end_empty(reply));
    }

    fn lseek(&self, _request: &Request, ino: INodeNo, _handle: FileHandle, offset: i64, whence: i32, reply: ReplyLseek) {
        match self.volume.seek(id(ino), offset, whence) {
            Ok(at) => reply.offset(at),
            Err(why) => reply.error(errno(why)),
        }
    }

    fn copy_file_range(
        &self,
        request: &Request,
        ino_in: INodeNo,
        _handle_in: FileHandle,
        offset_in: u64,
        ino_out: INodeNo,
        _handle_out: FileHandle,
        offset_out: u64,
        len: u64,
        _flags: CopyFileRangeFlags,
        reply: ReplyWrite,
    ) {
        let (from, to) = (Place { id: id(ino_in), offset: offset_in }, Place { id: id(ino_out), offset: offset_out });
        self.volume.copy(caller(request), from, to, len, end_write(reply));
    }
}
