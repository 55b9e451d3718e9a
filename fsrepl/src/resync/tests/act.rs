//! What an application does, by paths.

use crate::apply::{Caller, New, Volume, Wish};
use crate::id::ObjectId;
use crate::sys::Sys;
use rustix::io::Errno;
use std::cell::RefCell;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::mpsc::channel;

pub const ROOT: Caller = Caller { uid: 0, gid: 0, pid: 1 };

/// A small generator (splitmix64).
pub struct Rng(pub u64);

impl Rng {
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, end: u64) -> u64 {
        self.number() % end
    }

    pub fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}

fn wait<T: Send + 'static>(start: impl FnOnce(Box<dyn FnOnce(Sys<T>) + Send>)) -> Sys<T> {
    let (sender, ended) = channel();
    start(Box::new(move |result| sender.send(result).unwrap()));
    ended.try_recv().expect("nothing is waited for here")
}

/// What nobody has open is forgotten by the kernel.
fn forget(volume: &Volume, id: ObjectId) {
    if volume.objects.is_orphan(id) {
        volume.objects.forget(id);
    }
}

pub fn find(volume: &Volume, path: &str) -> Sys<ObjectId> {
    Path::new(path).iter().try_fold(ObjectId::ROOT, |parent, name| volume.lookup(parent, name).map(|(id, _)| id))
}

fn split(volume: &Volume, path: &str) -> Sys<(ObjectId, std::ffi::OsString)> {
    let path = Path::new(path);
    let name = path.file_name().ok_or(Errno::INVAL)?.to_owned();
    Ok((find(volume, path.parent().unwrap().to_str().unwrap())?, name))
}

pub fn make(volume: &Volume, path: &str, mode: u32, target: Option<&str>) -> Sys<ObjectId> {
    let (parent, name) = split(volume, path)?;
    let new = New { parent, name: &name, mode, umask: 0o022, rdev: 0, target: target.map(OsStr::new) };
    wait(|done| volume.create(ROOT, new, done)).map(|(id, _)| id)
}

pub fn mkdir(volume: &Volume, path: &str) -> Sys<()> {
    make(volume, path, libc::S_IFDIR | 0o755, None).map(drop)
}

pub fn create(volume: &Volume, path: &str) -> Sys<ObjectId> {
    make(volume, path, libc::S_IFREG | 0o644, None)
}

pub fn write(volume: &Volume, path: &str, offset: u64, data: &[u8]) -> Sys<()> {
    let id = find(volume, path)?;
    for (number, piece) in data.chunks(1 << 20).enumerate() {
        wait(|done| volume.write(ROOT, id, offset + ((number as u64) << 20), piece, false, done))?;
    }
    Ok(())
}

pub fn put(volume: &Volume, path: &str, data: &[u8]) -> Sys<()> {
    create(volume, path)?;
    write(volume, path, 0, data)
}

pub fn remove(volume: &Volume, path: &str) -> Sys<()> {
    let (parent, name) = split(volume, path)?;
    let (id, stat) = volume.lookup(parent, &name)?;
    let directory = stat.st_mode & libc::S_IFMT == libc::S_IFDIR;
    wait(|done| volume.unlink(parent, &name, directory, done))?;
    forget(volume, id);
    Ok(())
}

pub fn rename(volume: &Volume, from: &str, to: &str, flags: u32) -> Sys<()> {
    let ((from_dir, from_name), (to_dir, to_name)) = (split(volume, from)?, split(volume, to)?);
    let replaced = volume.lookup(to_dir, &to_name).ok();
    wait(|done| volume.rename((from_dir, &from_name), (to_dir, &to_name), flags, done))?;
    replaced.into_iter().for_each(|(id, _)| forget(volume, id));
    Ok(())
}

pub fn link(volume: &Volume, from: &str, to: &str) -> Sys<()> {
    let id = find(volume, from)?;
    let (parent, name) = split(volume, to)?;
    wait(|done| volume.link(id, parent, &name, done)).map(drop)
}

pub fn fallocate(volume: &Volume, path: &str, mode: i32, offset: u64, length: u64) -> Sys<()> {
    let id = find(volume, path)?;
    wait(|done| volume.fallocate(ROOT, id, offset, length, mode, done))
}

pub fn set(volume: &Volume, path: &str, wish: Wish) -> Sys<()> {
    let id = find(volume, path)?;
    wait(|done| volume.setattr(ROOT, id, wish, done)).map(drop)
}

pub const NOTHING: Wish = Wish { mode: None, uid: None, gid: None, size: None, times: None, mtime: false };

pub fn xattr(volume: &Volume, path: &str, name: &str, value: Option<&[u8]>) -> Sys<()> {
    let id = find(volume, path)?;
    wait(|done| volume.setxattr(ROOT, id, OsStr::new(name), value, 0, done))
}

/// All paths below `root`: directories and others.
fn paths(root: &Path) -> (Vec<String>, Vec<String>) {
    let (mut directories, mut others) = (vec![String::new()], Vec::new());
    let mut at = 0;
    while at < directories.len() {
        let dir = directories[at].clone();
        let mut names: Vec<_> = std::fs::read_dir(root.join(&dir)).unwrap().map(|entry| entry.unwrap()).collect();
        names.sort_by_key(|entry| entry.file_name());
        for entry in names {
            let name = entry.file_name().into_string().unwrap();
            let path = if dir.is_empty() { name.clone() } else { format!("{dir}/{name}") };
            if path == crate::apply::HIDDEN {
                continue;
            }
            if entry.file_type().unwrap().is_dir() { directories.push(path) } else { others.push(path) }
        }
        at += 1;
    }
    (directories, others)
}

/// Random operations; which is recorded, for who reads a failure.
pub struct Actor {
    pub root: PathBuf,
    pub rng: RefCell<Rng>,
    pub done: Rc<RefCell<Vec<String>>>,
    /// How many names there are at most, about.
    pub most: usize,
}

impl Actor {
    pub fn new(root: &Path, seed: u64) -> Actor {
        Actor { root: root.to_owned(), rng: RefCell::new(Rng(seed)), done: Rc::default(), most: 40 }
    }

    /// One operation; errors are as good as anything.
    pub fn act(&self, volume: &Volume) {
        let mut rng = self.rng.borrow_mut();
        let (directories, others) = paths(&self.root);
        let any = |rng: &mut Rng| {
            let number = rng.below((directories.len() + others.len()) as u64) as usize;
            directories.iter().chain(&others).nth(number).unwrap().clone()
        };
        let dir = |rng: &mut Rng| directories[rng.below(directories.len() as u64) as usize].clone();
        let name = |rng: &mut Rng| {
            let (dir, letter) = (directories[rng.below(directories.len() as u64) as usize].clone(), (b'a' + rng.below(6) as u8) as char);
            if dir.is_empty() { letter.to_string() } else { format!("{dir}/{letter}") }
        };
        let file =
            |rng: &mut Rng| if others.is_empty() { String::from("none") } else { others[rng.below(others.len() as u64) as usize].clone() };
        let crowded = directories.len() + others.len() > self.most;
        let choice = if crowded && rng.one_in(2) { 4 } else { rng.below(15) };
        let (what, result) = match choice {
            0 => {
                let path = name(&mut rng);
                (format!("mkdir {path}"), mkdir(volume, &path))
            }
            1 | 2 => {
                let (path, data) = (name(&mut rng), data(&mut rng));
                (format!("put {path} {}", data.len()), put(volume, &path, &data))
            }
            3 => {
                let path = name(&mut rng);
                let target = format!("to {}", rng.below(3));
                (format!("symlink {path}"), make(volume, &path, libc::S_IFLNK | 0o777, Some(&target)).map(drop))
            }
            4 => {
                let path = any(&mut rng);
                (format!("remove {path}"), remove(volume, &path))
            }
            5 | 6 => {
                let (from, to) = (any(&mut rng), if rng.one_in(2) { name(&mut rng) } else { any(&mut rng) });
                let flags = if rng.one_in(3) { libc::RENAME_EXCHANGE } else { 0 };
                (format!("rename {from} {to} {flags}"), rename(volume, &from, &to, flags))
            }
            7 => {
                let (from, to) = (dir(&mut rng), name(&mut rng));
                (format!("rename {from} {to}"), rename(volume, &from, &to, 0))
            }
            8 => {
                let (from, to) = (file(&mut rng), name(&mut rng));
                (format!("link {from} {to}"), link(volume, &from, &to))
            }
            9 | 10 => {
                let (path, offset, data) = (file(&mut rng), place(&mut rng), data(&mut rng));
                (format!("write {path} {offset} {}", data.len()), write(volume, &path, offset, &data))
            }
            11 => {
                let (path, size) = (file(&mut rng), place(&mut rng));
                (format!("truncate {path} {size}"), set(volume, &path, Wish { size: Some(size), ..NOTHING }))
            }
            12 => {
                let path = any(&mut rng);
                let wish = Wish { mode: Some(0o600 + rng.below(0o100) as u32), uid: Some(rng.below(3) as u32), ..NOTHING };
                (format!("chmod {path}"), set(volume, &path, wish))
            }
            13 => {
                let (path, value) = (any(&mut rng), [rng.below(256) as u8; 9]);
                let value = (!rng.one_in(3)).then_some(&value[..]);
                (format!("xattr {path} {}", value.is_some()), xattr(volume, &path, "user.one", value))
            }
            _ => {
                let modes = [
                    libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE,
                    libc::FALLOC_FL_COLLAPSE_RANGE,
                    libc::FALLOC_FL_INSERT_RANGE,
                    libc::FALLOC_FL_ZERO_RANGE,
                ];
                let (path, mode) = (file(&mut rng), modes[rng.below(4) as usize]);
                let (offset, length) = (rng.below(40) * 4096, (1 + rng.below(20)) * 4096);
                (format!("fallocate {path} {mode} {offset} {length}"), fallocate(volume, &path, mode, offset, length))
            }
        };
        self.done.borrow_mut().push(format!("{what}: {result:?}"));
    }
}

/// Lengths that matter: nothing, less than a block, several blocks, more than an extent now and then.
fn place(rng: &mut Rng) -> u64 {
    match rng.below(8) {
        0 => 0,
        1 => rng.below(100),
        2..=4 => rng.below(20_000),
        5 | 6 => rng.below(300_000),
        _ => rng.below(10 << 20),
    }
}

fn data(rng: &mut Rng) -> Vec<u8> {
    let length = place(rng).min(if rng.one_in(10) { 6 << 20 } else { 200_000 });
    let byte = rng.number() as u8;
    // Few different bytes: equal blocks are to be found.
    (0..length).map(|at| byte.wrapping_add((at >> 12) as u8 & 3)).collect()
}
