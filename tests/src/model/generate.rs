//! Invents operations that meet each other: few names, few open files, few users.

use super::op::{NodeKind, Op, Time};
use super::side::USERS;
use crate::rng::Rng;
use rustix::fs::{FallocateFlags, OFlags, RenameFlags, XattrFlags};

/// Bytes files mostly stay below.
const SIZE: u64 = 200_000;
/// Open files of each process.
const OPEN: u64 = 5;

/// `count` operations, each with the number of the user that does it.
pub fn generate(rng: &mut Rng, count: usize) -> Vec<(usize, Op)> {
    let mut ops = vec![
        (0, Op::Umask { mode: 0o022 }),
        (0, Op::Mkdir { path: "d".into(), mode: 0o777 }),
        (0, Op::Chmod { path: "d".into(), mode: 0o1777 }),
        (0, Op::Mkdir { path: "g".into(), mode: 0o777 }),
        (0, Op::Chown { path: "g".into(), uid: None, gid: Some(2000), follow: true }),
        (0, Op::Chmod { path: "g".into(), mode: 0o2777 }),
    ];
    ops.extend((0..count).map(|_| {
        // Half of it by root, so that not everything is refused.
        let user = if rng.one_in(2) { 0 } else { rng.below(USERS.len() as u64) as usize };
        (user, operation(rng))
    }));
    ops
}

fn path(rng: &mut Rng) -> String {
    let name = rng.pick(&["a", "b", "c", "e"]);
    match rng.below(10) {
        0..=2 => name.to_owned(),
        3 | 4 => format!("d/{name}"),
        5 | 6 => format!("g/{name}"),
        7 => format!("d/{}/{name}", rng.pick(&["a", "b"])),
        8 => rng.pick(&["d", "g", "d/", ".", "a/", "d/../a", "nowhere/a"]).to_owned(),
        _ => format!("g/a/{name}"),
    }
}

fn operation(rng: &mut Rng) -> Op {
    match rng.below(100) {
        0..=14 => open(rng),
        15..=49 => on_open(rng),
        50..=74 => on_names(rng),
        75..=89 => on_attributes(rng),
        _ => look(rng),
    }
}

fn open(rng: &mut Rng) -> Op {
    let slot = rng.below(OPEN) as u8;
    if rng.one_in(5) {
        return Op::Close { slot };
    }
    let mut flags = rng.pick(&[OFlags::RDONLY, OFlags::WRONLY, OFlags::RDWR, OFlags::RDWR]);
    let maybe = [
        (OFlags::CREATE, 2),
        (OFlags::EXCL, 6),
        (OFlags::TRUNC, 6),
        (OFlags::APPEND, 5),
        (OFlags::DIRECT, 8),
        (OFlags::SYNC, 10),
        (OFlags::DSYNC, 10),
        (OFlags::NOFOLLOW, 8),
    ];
    for (flag, odds) in maybe {
        if rng.one_in(odds) {
            flags |= flag;
        }
    }
    if !flags.contains(OFlags::CREATE) {
        // Without O_CREAT its meaning is left open.
        flags -= OFlags::EXCL;
    }
    Op::Open { slot, path: path(rng), flags: flags.bits(), mode: mode(rng) }
}

fn mode(rng: &mut Rng) -> u32 {
    rng.pick(&[0o644, 0o600, 0o666, 0o755, 0o777, 0o4755, 0o2755, 0o2745, 0o400, 0])
}

fn on_open(rng: &mut Rng) -> Op {
    let slot = rng.below(OPEN) as u8;
    let offset = if rng.one_in(2) { rng.below(SIZE / 4096) * 4096 } else { rng.below(SIZE) };
    let length = if rng.one_in(2) { 4096 * (1 + rng.below(8)) } else { 1 + rng.below(40_000) } as usize;
    let byte = 1 + rng.below(255) as u8;
    let (exclusive, unlock) = (rng.one_in(2), rng.one_in(2));
    match rng.below(18) {
        0..=4 => Op::Write { slot, offset, length, byte },
        5 | 6 => Op::Append { slot, length, byte },
        7..=9 => Op::Read { slot, offset, length },
        10 => Op::Seek { slot, offset, hole: rng.one_in(2) },
        11 => Op::Resize { slot, size: rng.below(SIZE) },
        12 => allocate(rng, slot, offset, length as u64),
        13 => Op::Sync { slot, data_only: rng.one_in(2) },
        14 => Op::CopyRange { from: slot, to: rng.below(OPEN) as u8, from_offset: offset, to_offset: rng.below(SIZE), length },
        15 => Op::Flock { slot, exclusive, unlock },
        16 => Op::Lock { slot, exclusive, unlock },
        _ if rng.one_in(3) => Op::Flags { slot, nodump: exclusive },
        _ => Op::StatOpen { slot },
    }
}

fn allocate(rng: &mut Rng, slot: u8, offset: u64, length: u64) -> Op {
    let keep = FallocateFlags::KEEP_SIZE;
    let mode = rng.pick(&[
        FallocateFlags::empty(),
        keep,
        FallocateFlags::PUNCH_HOLE | keep,
        FallocateFlags::PUNCH_HOLE | keep,
        FallocateFlags::ZERO_RANGE,
        FallocateFlags::ZERO_RANGE | keep,
        // COLLAPSE_RANGE and INSERT_RANGE do not get through the kernel's FUSE: scenario `model` has the error.
    ]);
    Op::Allocate { slot, mode: mode.bits(), offset, length }
}

fn on_names(rng: &mut Rng) -> Op {
    let (one, two) = (path(rng), path(rng));
    match rng.below(16) {
        0..=3 => {
            let flags = rng.pick(&[RenameFlags::empty(), RenameFlags::empty(), RenameFlags::NOREPLACE, RenameFlags::EXCHANGE]);
            Op::Rename { from: one, to: two, flags: flags.bits() }
        }
        4 | 5 => Op::Link { from: one, to: two },
        6..=8 => Op::Unlink { path: one },
        9 => Op::Symlink { target: rng.pick(&["a", "../a", "d", "nowhere", "b"]).into(), path: one },
        10 | 11 => Op::Mkdir { path: one, mode: mode(rng) },
        12 => Op::Rmdir { path: one },
        13 => Op::Truncate { path: one, size: rng.below(SIZE) },
        14 => Op::Map { path: one, offset: rng.below(16) * 4096, length: 1 + rng.below(9000), byte: 1 + rng.below(255) as u8 },
        _ => {
            let kind = rng.pick(&[NodeKind::Fifo, NodeKind::Socket, NodeKind::Null, NodeKind::File]);
            Op::Mknod { path: one, kind, mode: mode(rng) & 0o777 }
        }
    }
}

fn on_attributes(rng: &mut Rng) -> Op {
    let path = path(rng);
    match rng.below(12) {
        0..=2 => Op::Chmod { path, mode: mode(rng) },
        3 | 4 => {
            let id = |rng: &mut Rng| rng.pick(&[None, Some(0), Some(1001), Some(1002), Some(2000)]);
            Op::Chown { path, uid: id(rng), gid: id(rng), follow: rng.one_in(2) }
        }
        5 => {
            let at = Time::At(rng.below(1_000_000) as i64, rng.below(1_000_000_000) as i64);
            Op::Times { path, modified: rng.pick(&[at, at, Time::Now, Time::Omit]) }
        }
        6 | 7 => {
            let flags = rng.pick(&[XattrFlags::empty(), XattrFlags::empty(), XattrFlags::CREATE, XattrFlags::REPLACE]);
            let value = vec![rng.below(256) as u8; rng.pick(&[0, 1, 30, 300])];
            Op::SetXattr { path, name: xattr(rng), value, flags: flags.bits() }
        }
        8 | 9 => {
            let name = rng.pick(&["system.posix_acl_access", "system.posix_acl_default"]);
            Op::SetXattr { path, name: name.into(), value: acl(rng), flags: 0 }
        }
        10 => Op::RemoveXattr { path, name: xattr(rng) },
        _ => Op::Umask { mode: rng.pick(&[0o022, 0o077, 0, 0o027]) },
    }
}

fn xattr(rng: &mut Rng) -> String {
    rng.pick(&["user.one", "user.two", "trusted.three", "system.posix_acl_access", "unknown.four"]).to_owned()
}

/// An access control list as the kernel takes it: version 2, then (tag, permissions, id).
fn acl(rng: &mut Rng) -> Vec<u8> {
    let mut permissions = || rng.below(8) as u16;
    let none = u32::MAX;
    let (user, group) = ((2, permissions(), 1001), (8, permissions(), 2000));
    let base = [(1, permissions(), none), (4, permissions(), none), (16, permissions(), none), (32, permissions(), none)];
    let entries = match permissions() {
        // Without the mask: refused.
        0 => vec![base[0], user, base[1], base[3]],
        1 => vec![base[0], base[1], base[3]],
        2 => vec![],
        _ => vec![base[0], user, base[1], group, base[2], base[3]],
    };
    let mut bytes = 2_u32.to_le_bytes().to_vec();
    for (tag, permissions, id) in entries {
        let tag: u16 = tag;
        bytes.extend(tag.to_le_bytes());
        bytes.extend(permissions.to_le_bytes());
        bytes.extend(id.to_le_bytes());
    }
    bytes
}

fn look(rng: &mut Rng) -> Op {
    let path = path(rng);
    match rng.below(8) {
        0 | 1 => Op::Stat { path },
        2 => Op::List { path: rng.pick(&["d", "g", "d/a", "."]).to_owned() },
        3 => Op::GetXattr { path, name: xattr(rng) },
        4 => Op::ListXattr { path },
        5 => Op::ReadLink { path },
        6 => Op::Access { path, mode: rng.below(8) as u32 },
        _ => Op::StatFs,
    }
}
