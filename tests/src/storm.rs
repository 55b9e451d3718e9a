//! Many threads that change one tree in every way at once, with names from a small set so that they meet; and
//! trees of the same names to begin with. What each change comes to is left to chance: the judge is `tree`.

mod act;
mod grow;

pub use act::{Actor, is_never};
pub use grow::{grow, grow_other};

use crate::rng::Rng;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How large the trees are.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Directories in the root.
    pub outer: u64,
    /// Directories in each of them.
    pub inner: u64,
    /// Files in each of those.
    pub files: u64,
    /// Bytes of the big file, most of them holes.
    pub big: u64,
    /// Whether space is allocated that was never written. Whether such space counts as data or as a hole
    /// depends on what happens to be in memory: then holes cannot be compared.
    pub allocate: bool,
}

impl Shape {
    fn outer(&self, rng: &mut Rng) -> String {
        format!("d{}", rng.below(self.outer))
    }

    fn inner(&self, rng: &mut Rng) -> String {
        format!("d{}", rng.below(self.inner))
    }

    /// A directory that is probably there.
    fn directory(&self, rng: &mut Rng) -> PathBuf {
        let mut path = PathBuf::from(self.outer(rng));
        if !rng.one_in(4) {
            path.push(self.inner(rng));
            if rng.one_in(4) {
                path.push(self.inner(rng));
            }
        }
        path
    }

    /// A file that is probably there.
    fn file(&self, rng: &mut Rng) -> PathBuf {
        self.directory(rng).join(format!("f{}", rng.below(self.files)))
    }
}

/// A running storm.
pub struct Storm {
    stop: Arc<AtomicBool>,
    done: Arc<AtomicU64>,
    workers: Vec<JoinHandle<()>>,
}

impl Storm {
    /// Starts `threads` threads on the tree at `root`.
    pub fn start(root: &Path, shape: Shape, threads: usize, seed: u64) -> Storm {
        let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let workers = (0..threads)
            .map(|t| {
                let (stop, done) = (stop.clone(), done.clone());
                let mut actor = Actor::new(root.to_owned(), shape, Rng::new(seed.wrapping_add(t as u64 * 7919)));
                std::thread::spawn(move || {
                    while !stop.load(Ordering::Relaxed) {
                        actor.act();
                        done.fetch_add(1, Ordering::Relaxed);
                    }
                })
            })
            .collect();
        Storm { stop, done, workers }
    }

    /// Changes tried so far.
    pub fn done(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }

    /// Waits until `n` changes have been tried.
    pub fn wait_done(&self, n: u64, limit: Duration) {
        let end = Instant::now() + limit;
        while self.done() < n {
            assert!(Instant::now() < end, "only {} of {n} changes within {limit:?}", self.done());
            assert!(!self.workers.iter().any(JoinHandle::is_finished), "a thread of the storm met an error");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Ends it. No thread may have met an error that a plain directory does not give.
    pub fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        for worker in self.workers {
            worker.join().expect("the storm met an error");
        }
    }
}
