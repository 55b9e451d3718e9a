//! A disk in memory that keeps of everything not flushed what chance says: of a write in progress any of its
//! sectors or the first ones, of names a beginning of what was done to them, of a file's size nothing.

use super::super::ring::Place;
use super::*;
use std::collections::{BTreeMap, BTreeSet};

pub const SECTOR: usize = 512;

/// A call that says it is done and is not: what a control removes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Lie {
    Write,
    File,
    Names,
}

/// Numbers that a seed repeats.
#[derive(Clone)]
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Dice {
        Dice(seed)
    }

    pub fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub fn below(&mut self, end: u64) -> u64 {
        self.roll() % end
    }

    pub fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}

#[derive(Clone, Default)]
struct Inode {
    durable: Vec<u8>,
    current: Vec<u8>,
    /// Sectors whose current content may be lost.
    loose: BTreeSet<usize>,
}

impl Inode {
    fn settle(&mut self, range: std::ops::Range<usize>) {
        self.durable.resize(self.current.len(), 0);
        self.durable[range.clone()].copy_from_slice(&self.current[range.clone()]);
        self.loose.retain(|sector| !range.contains(&(sector * SECTOR)));
    }

    fn after_cut(&self, dice: &mut Dice) -> Vec<u8> {
        let mut bytes = self.durable.clone();
        if bytes.len() != self.current.len() && !dice.one_in(4) {
            bytes.resize(dice.below(self.current.len() as u64 / SECTOR as u64 + 1) as usize * SECTOR, 0);
        } else if dice.one_in(2) {
            bytes.resize(self.current.len(), 0);
        }
        let style = dice.below(5);
        let mut left = dice.below(self.loose.len() as u64 + 1);
        for sector in &self.loose {
            let kept = match style {
                4 => left > 0,
                density => dice.below(3) < density,
            };
            left = left.saturating_sub(1);
            let range = sector * SECTOR..(sector + 1) * SECTOR;
            if kept && range.end <= bytes.len() {
                bytes[range.clone()].copy_from_slice(&self.current[range]);
            }
        }
        bytes
    }
}

enum Naming {
    Create(String, usize),
    Rename(String, String),
}

/// What a power cut leaves: the log's file, if there is one.
pub type Kept = Option<Vec<u8>>;

/// What a power cut is judged by, at the moment of each call: the content of the file under a name.
pub type Judge = Box<dyn FnMut(Result<Vec<Block>, Lost>) + Send>;

pub struct World {
    dice: Dice,
    files: Vec<Inode>,
    names: BTreeMap<String, usize>,
    pending: Vec<Naming>,
    /// Called in the middle of this share of the calls (one in so many).
    pub judge: Option<(Judge, u64)>,
    pub lie: Option<Lie>,
    /// The power goes in this call from now.
    pub cut_in: Option<u64>,
    /// The next write fails, and is there in part.
    pub fails: bool,
    /// The power is off; what the disk holds.
    pub left: Option<Kept>,
}

#[derive(Clone)]
pub struct SimDisk(pub Arc<Mutex<World>>);

impl SimDisk {
    /// A disk that holds this log.
    pub fn new(log: Kept, dice: Dice) -> SimDisk {
        let inode = log.map(|bytes| Inode { durable: bytes.clone(), current: bytes, loose: BTreeSet::new() });
        let names = inode.iter().map(|_| ("dirty-log".to_owned(), 0)).collect();
        let files = inode.into_iter().collect();
        let world = World { dice, files, names, pending: Vec::new(), judge: None, lie: None, cut_in: None, fails: false, left: None };
        SimDisk(Arc::new(Mutex::new(world)))
    }

    pub fn is_off(&self) -> bool {
        self.0.lock().left.is_some()
    }

    /// What a power cut leaves now, or has left.
    pub fn cut(&self) -> Kept {
        let mut world = self.0.lock();
        world.left.clone().unwrap_or_else(|| world.after_cut())
    }
}

/// The blocks of what a cut left.
pub fn blocks(log: Kept) -> Result<Vec<Block>, Lost> {
    let bytes = log.ok_or(Lost::Missing)?;
    if bytes.len() % BLOCK != 0 {
        return Err(Lost::Size);
    }
    Ok(bytes.chunks_exact(BLOCK).map(|chunk| Block(chunk.try_into().unwrap())).collect())
}

fn off() -> io::Error {
    io::Error::from(io::ErrorKind::NotConnected)
}

impl World {
    fn after_cut(&mut self) -> Kept {
        let mut names = self.names.clone();
        let kept = self.dice.below(self.pending.len() as u64 + 1) as usize;
        self.pending[..kept].iter().for_each(|naming| apply(&mut names, naming));
        let inode = *names.get("dirty-log")?;
        let World { files, dice, .. } = self;
        Some(files[inode].after_cut(dice))
    }

    /// The middle of a call: the power may go here.
    fn middle(&mut self) -> io::Result<()> {
        if let Some((mut judge, share)) = self.judge.take() {
            if self.dice.one_in(share) {
                let log = self.after_cut();
                judge(blocks(log));
            }
            self.judge = Some((judge, share));
        }
        match &mut self.cut_in {
            Some(0) => {
                self.left = Some(self.after_cut());
                Err(off())
            }
            Some(n) => {
                *n -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn on(&self) -> io::Result<()> {
        if self.left.is_some() { Err(off()) } else { Ok(()) }
    }
}

fn apply(names: &mut BTreeMap<String, usize>, naming: &Naming) {
    match naming {
        Naming::Create(name, inode) => {
            names.insert(name.clone(), *inode);
        }
        Naming::Rename(from, to) => {
            if let Some(inode) = names.remove(from) {
                names.insert(to.clone(), inode);
            }
        }
    }
}

fn bytes_of(blocks: &[Block]) -> Vec<u8> {
    blocks.iter().flat_map(|block| block.0).collect()
}

impl Place for SimDisk {
    type File = usize;

    fn read(&self, name: &str, most: usize) -> Result<Vec<Block>, Lost> {
        let world = self.0.lock();
        let inode = *world.names.get(name).ok_or(Lost::Missing)?;
        let found = blocks(Some(world.files[inode].current.clone()))?;
        if found.len() > most { Err(Lost::Size) } else { Ok(found) }
    }

    fn create(&self, name: &str, blocks: &[Block]) -> io::Result<usize> {
        let mut world = self.0.lock();
        world.on()?;
        let current = bytes_of(blocks);
        let loose = (0..current.len() / SECTOR).collect();
        let inode = world.files.len();
        world.files.push(Inode { durable: Vec::new(), current, loose });
        world.pending.push(Naming::Create(name.to_owned(), inode));
        world.middle()?;
        Ok(inode)
    }

    fn flush(&self, file: &usize) -> io::Result<()> {
        let mut world = self.0.lock();
        world.on()?;
        world.middle()?;
        if world.lie != Some(Lie::File) {
            let end = world.files[*file].current.len();
            world.files[*file].settle(0..end);
        }
        Ok(())
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn Disk>> {
        let world = self.0.lock();
        world.on()?;
        let mut names = world.names.clone();
        world.pending.iter().for_each(|naming| apply(&mut names, naming));
        let inode = *names.get(name).ok_or(io::ErrorKind::NotFound)?;
        drop(world);
        Ok(Box::new(OpenFile { disk: self.clone(), inode }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut world = self.0.lock();
        world.on()?;
        world.pending.push(Naming::Rename(from.to_owned(), to.to_owned()));
        world.middle()
    }

    fn flush_names(&self) -> io::Result<()> {
        let mut world = self.0.lock();
        world.on()?;
        world.middle()?;
        if world.lie != Some(Lie::Names) {
            let pending = std::mem::take(&mut world.pending);
            pending.iter().for_each(|naming| apply(&mut world.names, naming));
        }
        Ok(())
    }
}

struct OpenFile {
    disk: SimDisk,
    inode: usize,
}

impl Disk for OpenFile {
    fn write(&mut self, first: u64, blocks: &[Block]) -> io::Result<()> {
        let mut world = self.disk.0.lock();
        world.on()?;
        let bytes = bytes_of(blocks);
        let at = first as usize * BLOCK;
        let range = at..at + bytes.len();
        let inode = &mut world.files[self.inode];
        inode.current[range.clone()].copy_from_slice(&bytes);
        inode.loose.extend(range.start / SECTOR..range.end / SECTOR);
        world.middle()?;
        if std::mem::take(&mut world.fails) {
            // Whatever has arrived stays, and nobody is told what that is.
            let World { files, dice, .. } = &mut *world;
            let inode = &mut files[self.inode];
            inode.current = inode.after_cut(dice);
            inode.settle(range);
            return Err(io::Error::from(io::ErrorKind::StorageFull));
        }
        if world.lie != Some(Lie::Write) {
            world.files[self.inode].settle(range);
        }
        Ok(())
    }
}
