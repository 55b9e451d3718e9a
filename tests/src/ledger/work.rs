//! The application: threads that change registers until they are told to stop or fail.

use super::state::{BODY, RECORD, encode, path};
use super::{NAMES, Op, Register, SLOT, SLOTS};
use crate::rng::Rng;
use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// What was done to each register, oldest first.
pub type Notes = BTreeMap<Register, Vec<Op>>;

/// A running ledger application.
pub struct Run {
    /// Number of threads.
    pub threads: usize,
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<io::Error>>,
}

struct Shared {
    moment: AtomicU64,
    stop: AtomicBool,
    notes: Mutex<Notes>,
    acknowledged: (Mutex<u64>, Condvar),
    fsync: bool,
}

impl Run {
    /// Starts `threads` threads on the tree at `root`. With `fsync` some operations are synced.
    pub fn start(root: &Path, threads: usize, seed: u64, fsync: bool) -> Run {
        let shared = Arc::new(Shared {
            moment: AtomicU64::new(1),
            stop: AtomicBool::new(false),
            notes: Mutex::default(),
            acknowledged: Default::default(),
            fsync,
        });
        let spawn = |t: usize| {
            let mut worker = Worker { t, root: root.to_owned(), shared: shared.clone(), rng: Rng::new(seed ^ (t as u64) << 32) };
            std::thread::spawn(move || worker.work())
        };
        Run { threads, workers: (0..threads).map(spawn).collect(), shared }
    }

    /// Waits until `n` operations have been acknowledged since the start.
    pub fn wait_acknowledged(&self, n: u64, limit: Duration) {
        let (lock, changed) = &self.shared.acknowledged;
        let end = Instant::now() + limit;
        let mut count = lock.lock().expect("no panic under this lock");
        while *count < n {
            let left = end.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "only {count} of {n} operations were acknowledged within {limit:?}");
            count = changed.wait_timeout(count, left).expect("no panic under this lock").0;
        }
    }

    /// Operations acknowledged so far.
    pub fn acknowledged(&self) -> u64 {
        *self.shared.acknowledged.0.lock().expect("no panic under this lock")
    }

    /// What was noted so far. Take it after the tree was looked at: then it knows of everything seen.
    pub fn notes(&self) -> Notes {
        self.shared.notes.lock().expect("no panic under this lock").clone()
    }

    /// Stops all threads; none may have met an error.
    pub fn stop(self) -> Notes {
        self.shared.stop.store(true, Ordering::Relaxed);
        self.end(|error| assert_eq!(error.kind(), io::ErrorKind::Interrupted, "the application met {error}"))
    }

    /// Waits for threads that end by themselves, because the tree beneath them is gone.
    pub fn after_crash(self) -> Notes {
        self.shared.stop.store(true, Ordering::Relaxed);
        self.end(|_| {})
    }

    fn end(self, judge: impl Fn(&io::Error)) -> Notes {
        for worker in self.workers {
            judge(&worker.join().expect("a ledger thread does not panic"));
        }
        std::mem::take(&mut *self.shared.notes.lock().expect("no panic under this lock"))
    }
}

struct Worker {
    t: usize,
    root: PathBuf,
    shared: Arc<Shared>,
    rng: Rng,
}

impl Worker {
    /// Works until told to stop (`Interrupted`) or until an operation fails.
    fn work(&mut self) -> io::Error {
        match self.try_work() {
            Ok(never) => match never {},
            Err(e) => e,
        }
    }

    fn try_work(&mut self) -> io::Result<std::convert::Infallible> {
        let open = |register| OpenOptions::new().create(true).truncate(false).write(true).open(path(&self.root, register));
        let slots = open(Register::Slot(self.t, 0))?;
        let log = OpenOptions::new().create(true).append(true).open(path(&self.root, Register::Log(self.t)))?;
        loop {
            if self.shared.stop.load(Ordering::Relaxed) {
                return Err(io::ErrorKind::Interrupted.into());
            }
            match self.rng.below(8) {
                0..=3 => self.write_slot(&slots)?,
                4 | 5 => self.append(&log)?,
                _ => self.publish_or_remove()?,
            }
        }
    }

    fn write_slot(&mut self, slots: &File) -> io::Result<()> {
        let slot = self.rng.below(SLOTS as u64) as usize;
        let register = Register::Slot(self.t, slot);
        let sync = self.shared.fsync && self.rng.one_in(16);
        self.note(register, false, |version| {
            slots.write_all_at(&encode(register, version, SLOT), (slot * SLOT) as u64)?;
            if sync { slots.sync_data() } else { Ok(()) }
        })
    }

    fn append(&mut self, mut log: &File) -> io::Result<()> {
        let register = Register::Log(self.t);
        let sync = self.shared.fsync && self.rng.one_in(16);
        self.note(register, false, |version| {
            log.write_all(&encode(register, version, RECORD))?;
            if sync { log.sync_all() } else { Ok(()) }
        })
    }

    fn publish_or_remove(&mut self) -> io::Result<()> {
        let register = Register::Name(self.t, self.rng.below(NAMES as u64) as usize);
        let name = path(&self.root, register);
        if self.rng.one_in(4) && name.exists() {
            return self.note(register, true, |_| fs::remove_file(&name));
        }
        let temporary = name.with_extension("tmp");
        // The content is acknowledged before the rename is issued: whoever sees the new name
        // sees all of it.
        let version = self.next_version(register);
        fs::write(&temporary, encode(register, version, BODY))?;
        self.note(register, false, |_| fs::rename(&temporary, &name))
    }

    fn next_version(&self, register: Register) -> u64 {
        let notes = self.shared.notes.lock().expect("no panic under this lock");
        notes.get(&register).map_or(0, Vec::len) as u64 + 1
    }

    /// Issues an operation and notes both moments.
    fn note(&self, register: Register, removes: bool, act: impl FnOnce(u64) -> io::Result<()>) -> io::Result<()> {
        let version = {
            let mut notes = self.shared.notes.lock().expect("no panic under this lock");
            let ops = notes.entry(register).or_default();
            let issued = self.shared.moment.fetch_add(1, Ordering::SeqCst);
            ops.push(Op { issued, acknowledged: u64::MAX, removes });
            ops.len() as u64
        };
        act(version)?;
        let acknowledged = self.shared.moment.fetch_add(1, Ordering::SeqCst);
        let mut notes = self.shared.notes.lock().expect("no panic under this lock");
        notes.get_mut(&register).expect("noted above")[version as usize - 1].acknowledged = acknowledged;
        drop(notes);
        *self.shared.acknowledged.0.lock().expect("no panic under this lock") += 1;
        self.shared.acknowledged.1.notify_all();
        Ok(())
    }
}
