//! A disk that forgets: a file system whose power can be cut, or which can be put back to what it was earlier.
//!
//! The file system lies in an image on a shelf that can copy files at once (xfs, reflinks). What the kernel has
//! not written to the image when it is copied is what a power cut loses; mounting the copy is the next boot.
//! The shelf lies in memory, and all of it ends with its host.

use crate::hosts::Host;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

/// Megabytes of the shelf; pages are taken as they are written.
const SHELF: u64 = 4096;

/// The file system that histories run on: `UNDERSTUDY_TEST_FS`, or ext4.
pub fn chosen_kind() -> String {
    std::env::var("UNDERSTUDY_TEST_FS").unwrap_or_else(|_| "ext4".to_owned())
}

/// A file system of one host.
#[derive(Debug)]
pub struct Disk {
    kind: String,
    shelf: PathBuf,
    at: PathBuf,
    images: u32,
    current: PathBuf,
}

/// What was on the disk at one moment.
#[derive(Clone, Debug)]
pub struct Image(PathBuf);

fn run(host: &Host, words: &[&OsStr]) {
    host.run(words);
}

macro_rules! words {
    ($($word:expr),* $(,)?) => { &[$(OsStr::new($word)),*] };
}

impl Disk {
    /// Makes and mounts it on `host`, empty.
    pub fn new(host: &Host, kind: &str, megabytes: u64) -> Disk {
        let [memory, shelf, at] = ["memory", "shelf", "disk"].map(|name| host.dir.join(name));
        run(host, words!["mkdir", &memory, &shelf, &at]);
        run(host, words!["mount", "-t", "tmpfs", "-o", "size=100%", "shelf", &memory]);
        let image = memory.join("shelf.img");
        run(host, words!["truncate", "-s", &format!("{SHELF}M"), &image]);
        run(host, words!["mkfs.xfs", "-q", "-m", "reflink=1", &image]);
        run(host, words!["mount", "-o", "loop", &image, &shelf]);
        let current = shelf.join("0.img");
        run(host, words!["truncate", "-s", &format!("{megabytes}M"), &current]);
        let force = if kind == "ext4" { "-F" } else { "-f" };
        run(host, words![&format!("mkfs.{kind}"), "-q", force, &current]);
        let disk = Disk { kind: kind.to_owned(), shelf, at, images: 1, current };
        disk.mount(host);
        disk
    }

    /// Where it is mounted.
    pub fn at(&self) -> &Path {
        &self.at
    }

    fn mount(&self, host: &Host) {
        // The old one may still be there for a moment, with the same identity.
        let options = if self.kind == "xfs" { "loop,nouuid" } else { "loop" };
        run(host, words!["mount", "-o", options, &self.current, &self.at]);
    }

    /// What a power cut would leave now. Nothing that was acknowledged after this counts.
    pub fn image(&mut self, host: &Host) -> Image {
        let copy = self.shelf.join(format!("{}.img", self.images));
        self.images += 1;
        run(host, words!["cp", "--reflink=always", &self.current, &copy]);
        Image(copy)
    }

    /// Takes the disk out, whoever uses it, and puts in what it was when `image` was taken, which stays as it is.
    pub fn put_back(&mut self, host: &Host, image: &Image) {
        run(host, words!["umount", "--lazy", &self.at]);
        run(host, words!["rm", "-f", &self.current]);
        self.current = self.image_of(host, image);
        self.mount(host);
    }

    /// The same for an image that is not needed again.
    pub fn boot(&mut self, host: &Host, image: Image) {
        run(host, words!["umount", "--lazy", &self.at]);
        run(host, words!["rm", "-f", &self.current]);
        self.current = image.0;
        self.mount(host);
    }

    fn image_of(&mut self, host: &Host, image: &Image) -> PathBuf {
        let copy = self.shelf.join(format!("{}.img", self.images));
        self.images += 1;
        run(host, words!["cp", "--reflink=always", &image.0, &copy]);
        copy
    }
}
