//! The application of a history. Three parts of the tree: `calm`, where every change is made in a plain directory as
//! well; `durable`, registers that are flushed; `storm`, where threads change everything at once.

use crate::rng::Rng;
use crate::storm::{Actor, Shape, grow, is_never};
use crate::tree::{Ignore, differences};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::Duration;

const SHAPE: Shape = Shape { outer: 3, inner: 3, files: 6, big: 4 << 20, allocate: false };
const REGISTERS: usize = 6;
const BODY: usize = 4096;

/// Versions of a register.
#[derive(Clone, Copy, Default)]
pub struct Register {
    /// The highest number used so far.
    last: u64,
    /// May be there: it was written, or tried.
    high: u64,
    acknowledged: u64,
    flushed: u64,
}

pub struct App {
    /// The replicated directory, where it is mounted now.
    root: PathBuf,
    /// The plain directory.
    shadow: PathBuf,
    /// Number of the calm tree; a new one begins where nobody knows what became of the last change.
    tree: u32,
    actors: Option<[Actor; 2]>,
    registers: [Register; REGISTERS],
    rng: Rng,
    storm: Option<(Arc<AtomicBool>, Vec<JoinHandle<()>>)>,
}

impl App {
    pub fn new(shadow: PathBuf, rng: Rng) -> App {
        App { root: PathBuf::new(), shadow, tree: 0, actors: None, registers: Default::default(), rng, storm: None }
    }

    /// The directory is mounted here from now on.
    pub fn open(&mut self, root: PathBuf) {
        if let Some([actor, shadow]) = &mut self.actors {
            actor.move_to(root.join(format!("calm{}", self.tree)));
            shadow.move_to(self.shadow.join(format!("calm{}", self.tree)));
        }
        self.root = root;
    }

    /// Begins another calm tree: what the last one should be is not known any more.
    fn begin(&mut self) -> io::Result<()> {
        self.actors = None;
        crate::lab::remove_tree(&self.shadow.join(format!("calm{}", self.tree)));
        self.tree += 1;
        let seed = self.rng.number();
        let name = format!("calm{}", self.tree);
        let roots = [self.root.join(&name), self.shadow.join(&name)];
        fs::create_dir_all(self.root.join("durable"))?;
        File::open(&self.root)?.sync_all()?;
        roots.iter().try_for_each(|root| furnish(root, seed))?;
        self.actors = Some(roots.map(|root| Actor::new(root, SHAPE, Rng::new(seed))));
        Ok(())
    }

    /// Whether the plain directory is known to be what `calm` should be.
    pub fn is_certain(&self) -> bool {
        self.actors.is_some()
    }

    /// Makes `count` changes; an error when the mount is gone.
    pub fn work(&mut self, count: u64) -> io::Result<()> {
        for _ in 0..count {
            if self.actors.is_none() {
                self.begin()?;
            }
            if self.rng.one_in(8) {
                self.write_register()?;
            }
            let Some([actor, shadow]) = &mut self.actors else { continue };
            let (kind, here) = actor.try_act();
            if let Err(why) = here.as_ref()
                && is_never(why)
            {
                self.actors = None;
                return here;
            }
            let (_, there) = shadow.try_act();
            // Which of several errors is `model`'s business.
            if here.is_ok() != there.is_ok() {
                let (path, found) = (actor.last().display().to_string(), self.missing_acknowledged(&self.root));
                panic!("change {kind} at {path}: {here:?} on the mount, {there:?} on the plain directory; they differ in {found:#?}");
            }
        }
        Ok(())
    }

    /// A register gets its next version, in place or as a new file, flushed mostly.
    fn write_register(&mut self) -> io::Result<()> {
        let n = self.rng.below(REGISTERS as u64) as usize;
        let path = self.root.join(format!("durable/{n}"));
        let version = self.registers[n].last + 1;
        let body = encode(n, version);
        (self.registers[n].last, self.registers[n].high) = (version, version);
        if self.rng.one_in(3) {
            let new = path.with_extension("new");
            let file = OpenOptions::new().write(true).create(true).truncate(true).open(&new)?;
            file.write_all_at(&body, 0)?;
            file.sync_all()?;
            fs::rename(&new, &path)?;
            self.registers[n].acknowledged = version;
            File::open(path.parent().expect("it has one"))?.sync_all()?;
        } else {
            let fresh = !path.exists();
            let file = OpenOptions::new().write(true).create(true).truncate(false).open(&path)?;
            file.write_all_at(&body, 0)?;
            self.registers[n].acknowledged = version;
            if self.rng.one_in(4) {
                return Ok(());
            }
            file.sync_data()?;
            if fresh {
                File::open(path.parent().expect("it has one"))?.sync_all()?;
            }
        }
        self.registers[n].flushed = version;
        Ok(())
    }

    /// Starts threads that change `storm`.
    pub fn start_storm(&mut self, threads: u64) -> io::Result<()> {
        let stop = Arc::new(AtomicBool::new(false));
        let root = self.root.join("storm");
        if !root.join("big").exists() {
            let _ = fs::remove_dir_all(&root);
            furnish(&root, self.rng.number())?;
        }
        let workers = (0..threads)
            .map(|_| {
                let (stop, mut actor) = (stop.clone(), Actor::new(root.clone(), SHAPE, Rng::new(self.rng.number())));
                std::thread::spawn(move || {
                    while !stop.load(Relaxed) {
                        if let (_, Err(why)) = actor.try_act()
                            && is_never(&why)
                        {
                            // The mount is gone: nothing more to do until somebody says so.
                            return;
                        }
                        std::thread::sleep(Duration::from_micros(200));
                    }
                })
            })
            .collect();
        self.storm = Some((stop, workers));
        Ok(())
    }

    /// Closes what is open in the mount, so that it can go.
    pub fn close(&mut self) {
        self.stop_storm();
        self.open(self.root.clone());
    }

    /// Ends the storm. The mount must be there, or its engine dead: not hanging.
    pub fn stop_storm(&mut self) {
        if let Some((stop, workers)) = self.storm.take() {
            stop.store(true, Relaxed);
            for worker in workers {
                worker.join().expect("a thread of the storm panicked");
            }
        }
    }

    /// What is missing of what was flushed, in the tree at `root`.
    pub fn missing_flushed(&self, root: &Path) -> io::Result<Vec<String>> {
        let mut missing = Vec::new();
        for (n, register) in self.registers.iter().enumerate() {
            let seen = read_register(root, n)?;
            if !seen.is_some_and(|version| (register.flushed..=register.high).contains(&version)) {
                missing.push(format!("register {n} is at {seen:?}, flushed {}, written {}", register.flushed, register.high));
            }
        }
        Ok(missing)
    }

    /// The registers as they are expected now, for [`App::missing_registers`] later.
    pub fn registers(&self) -> Vec<Register> {
        self.registers.to_vec()
    }

    /// What is missing in the tree at `root` of these registers.
    pub fn missing_registers(registers: &[Register], root: &Path) -> Vec<String> {
        let mut missing = Vec::new();
        for (n, register) in registers.iter().enumerate() {
            let seen = read_register(root, n).unwrap_or_else(|why| panic!("register {n}: {why}"));
            if !seen.is_some_and(|version| (register.acknowledged..=register.high).contains(&version)) {
                missing.push(format!("register {n} is at {seen:?}, acknowledged {}", register.acknowledged));
            }
        }
        missing
    }

    /// What is missing of what was acknowledged, in the tree at `root`.
    pub fn missing_acknowledged(&self, root: &Path) -> Vec<String> {
        let mut missing = App::missing_registers(&self.registers, root);
        if self.is_certain() {
            let name = format!("calm{}", self.tree);
            let ignore = Ignore { mtime: true, holes: true };
            missing.extend(differences(&self.shadow.join(&name), &root.join(&name), &ignore));
        }
        missing
    }

    /// What is found is what there is from now on: it was lost to a power cut, or another history won.
    pub fn accept(&mut self, root: &Path) -> io::Result<()> {
        self.actors = None;
        for n in 0..REGISTERS {
            let version = read_register(root, n)?.unwrap_or(0);
            let last = self.registers[n].last;
            self.registers[n] = Register { last, high: version, acknowledged: version, flushed: 0 };
        }
        Ok(())
    }
}

/// Makes a tree to begin with; an error when the mount went meanwhile.
fn furnish(root: &Path, seed: u64) -> io::Result<()> {
    fs::create_dir(root)?;
    let grown = std::panic::catch_unwind(|| {
        grow(root, SHAPE, seed);
        // No zeros that are data: where a hole takes their place nothing differs but the allocation.
        let big = OpenOptions::new().write(true).open(root.join("big")).expect("it was made");
        big.write_all_at(&vec![1; 1 << 20], SHAPE.big / 2).expect("write");
    });
    grown.map_err(|_| io::Error::from(io::ErrorKind::NotConnected))
}

fn encode(register: usize, version: u64) -> Vec<u8> {
    let mut body = format!("register {register} version {version:020}\n").into_bytes();
    let unit = body.clone();
    while body.len() < BODY {
        body.extend_from_slice(&unit);
    }
    body.truncate(BODY);
    body
}

/// The version of a register; 0 when it was never written, none when it is torn.
fn read_register(root: &Path, register: usize) -> io::Result<Option<u64>> {
    let body = match fs::read(root.join(format!("durable/{register}"))) {
        // Not made, or made and not yet written.
        Err(why) if why.kind() == io::ErrorKind::NotFound => return Ok(Some(0)),
        Ok(body) if body.is_empty() => return Ok(Some(0)),
        read => read?,
    };
    Ok(decode(register, &body))
}

fn decode(register: usize, body: &[u8]) -> Option<u64> {
    let version: u64 = std::str::from_utf8(body).ok()?.split_whitespace().nth(3)?.parse().ok()?;
    (encode(register, version) == body).then_some(version)
}
