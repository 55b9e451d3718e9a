//! What a tree shows of each register.

use super::{NAMES, Register, SLOT, SLOTS};
use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// What a register shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// This version, whole. 0 is a slot or log never written.
    Version(u64),
    /// No such name, or a file of the register that is not there yet.
    Nothing,
    /// Bytes that are no version.
    Torn,
}

/// Bytes of one record of a log.
pub const RECORD: usize = 96;
/// Bytes of a published file; larger than a page, so that a part of it can be missing.
pub const BODY: usize = 9000;

/// All registers of `threads` threads, in an order that is the same every time.
pub fn registers(threads: usize) -> Vec<Register> {
    let of_thread = |t| {
        let slots = (0..SLOTS).map(move |s| Register::Slot(t, s));
        let names = (0..NAMES).map(move |n| Register::Name(t, n));
        slots.chain([Register::Log(t)]).chain(names)
    };
    (0..threads).flat_map(of_thread).collect()
}

/// Where a register lies.
pub fn path(root: &Path, register: Register) -> PathBuf {
    root.join(match register {
        Register::Slot(t, _) => format!("thread{t}.slots"),
        Register::Log(t) => format!("thread{t}.log"),
        Register::Name(t, n) => format!("thread{t}.name{n}"),
    })
}

/// What every register shows in the tree at `root`, in the order it was looked at.
pub fn read_all(root: &Path, threads: usize) -> Vec<(Register, Seen)> {
    registers(threads).into_iter().map(|register| (register, read_one(root, register))).collect()
}

/// What one register shows.
pub fn read_one(root: &Path, register: Register) -> Seen {
    let read = match register {
        Register::Slot(_, s) => read_slot(&path(root, register), s, register),
        Register::Log(_) => read_log(&path(root, register), register),
        Register::Name(_, _) => read_name(&path(root, register), register),
    };
    read.unwrap_or_else(|e| match e.kind() {
        ErrorKind::NotFound => Seen::Nothing,
        _ => panic!("{register:?} in {}: {e}", root.display()),
    })
}

fn read_slot(path: &Path, slot: usize, register: Register) -> std::io::Result<Seen> {
    let mut bytes = [0; SLOT];
    match File::open(path)?.read_exact_at(&mut bytes, (slot * SLOT) as u64) {
        Err(e) if e.kind() == ErrorKind::UnexpectedEof => return Ok(Seen::Version(0)),
        other => other?,
    }
    if bytes.iter().all(|&b| b == 0) {
        return Ok(Seen::Version(0));
    }
    Ok(decode(&bytes, register).map_or(Seen::Torn, Seen::Version))
}

/// The number of whole records from the start; a torn one at the end is not acknowledged yet.
fn read_log(path: &Path, register: Register) -> std::io::Result<Seen> {
    let bytes = fs::read(path)?;
    for (i, record) in bytes.chunks(RECORD).enumerate() {
        if decode(record, register) != Some(i as u64 + 1) {
            return Ok(Seen::Version(i as u64));
        }
    }
    Ok(Seen::Version((bytes.len() / RECORD) as u64))
}

fn read_name(path: &Path, register: Register) -> std::io::Result<Seen> {
    let mut bytes = Vec::with_capacity(BODY);
    // One descriptor: a rename in between must not mix two versions.
    File::open(path)?.read_to_end(&mut bytes)?;
    let whole = bytes.len() == BODY;
    Ok(decode(&bytes, register).filter(|_| whole).map_or(Seen::Torn, Seen::Version))
}

/// A version as `size` bytes that no other version or register shares.
pub fn encode(register: Register, version: u64, size: usize) -> Vec<u8> {
    let head = format!("{register:?}={version:020};");
    let mut bytes = head.clone().into_bytes();
    while bytes.len() < size {
        bytes.extend_from_slice(head.as_bytes());
    }
    bytes.truncate(size);
    bytes
}

fn decode(bytes: &[u8], register: Register) -> Option<u64> {
    let text = std::str::from_utf8(bytes).ok()?;
    let (_, rest) = text.split_once('=')?;
    let version = rest.get(..20)?.parse().ok()?;
    (encode(register, version, bytes.len()) == bytes).then_some(version)
}
