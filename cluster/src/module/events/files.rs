//! The files of a log: `NAME`, and what was put aside as `NAME.1` (the youngest), `NAME.2`, …

use super::Entry;
use crate::module::limits;
use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// The one who writes.
pub(super) struct Files {
    path: PathBuf,
    most: u64,
    keep: u32,
    file: File,
    size: u64,
    /// The last line has no end: somebody's, or one of ours that did not fit on the disk.
    torn: bool,
}

impl Files {
    pub(super) fn open(path: &Path, most: u64, keep: u32) -> io::Result<Files> {
        let mut file = OpenOptions::new().read(true).append(true).create(true).mode(0o640).open(path)?;
        let size = file.metadata()?.len();
        let mut last = [b'\n'];
        if size > 0 {
            file.seek(SeekFrom::Start(size - 1))?;
            file.read_exact(&mut last)?;
        }
        Ok(Files { path: path.to_owned(), most, keep, file, size, torn: last != *b"\n" })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn append(&mut self, mut line: Vec<u8>) -> io::Result<()> {
        line.push(b'\n');
        if self.torn {
            line.insert(0, b'\n');
        }
        if self.size > 0 && self.size + line.len() as u64 > self.most {
            self.put_aside()?;
        }
        let written = self.file.write_all(&line);
        self.torn = written.is_err();
        self.size = if self.torn { self.file.metadata().map_or(self.size, |data| data.len()) } else { self.size + line.len() as u64 };
        written
    }

    /// Oldest first, so that at each moment every name holds something whole.
    fn put_aside(&mut self) -> io::Result<()> {
        for number in (1..self.keep).rev() {
            rename(&aside(&self.path, number), &aside(&self.path, number + 1))?;
        }
        if self.keep == 0 {
            fs::remove_file(&self.path)?;
        } else {
            rename(&self.path, &aside(&self.path, 1))?;
        }
        *self = Files::open(&self.path, self.most, self.keep)?;
        Ok(())
    }
}

fn aside(path: &Path, number: u32) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}"));
    name.into()
}

fn rename(from: &Path, to: &Path) -> io::Result<()> {
    match fs::rename(from, to) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        outcome => outcome,
    }
}

/// The files that are there, youngest first.
fn youngest_first(path: &Path) -> impl Iterator<Item = PathBuf> {
    let older = (1..=limits::LOGS).map(|number| aside(path, number)).take_while(|path| path.exists());
    std::iter::once(path.to_owned()).chain(older.collect::<Vec<_>>())
}

/// Gives every event of one file to `each`, oldest first, within bounds whatever the file holds.
fn scan(path: &Path, mut each: impl FnMut(Entry)) -> io::Result<()> {
    let file = match File::open(path) {
        // Put aside, or removed, since it was named.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        file => file?,
    };
    let mut reader = BufReader::new(file);
    let mut line = Vec::new();
    loop {
        line.clear();
        let most = limits::EVENT as u64 * 4;
        if (&mut reader).take(most).read_until(b'\n', &mut line)? == 0 {
            return Ok(());
        }
        // Torn lines, and whatever else is none of ours.
        if let Ok(entry) = serde_json::from_slice(&line) {
            each(entry);
        }
    }
}

/// The last `count` events, oldest first.
pub(super) fn last(path: &Path, count: usize) -> io::Result<Vec<Entry>> {
    let mut found: VecDeque<Entry> = VecDeque::new();
    for file in youngest_first(path) {
        let room = count - found.len();
        if room == 0 {
            break;
        }
        let mut here = VecDeque::new();
        scan(&file, |entry| {
            if here.len() == room {
                here.pop_front();
            }
            here.push_back(entry);
        })?;
        here.append(&mut found);
        found = here;
    }
    Ok(found.into())
}

/// Up to `most` events after number `after`, oldest first.
pub(super) fn after(path: &Path, after: u64, most: usize) -> io::Result<Vec<Entry>> {
    let mut wanted = Vec::new();
    for file in youngest_first(path) {
        wanted.push(file.clone());
        let mut first = None;
        scan(&file, |entry| first = first.or(Some(entry.seq)))?;
        if first.is_some_and(|first| first <= after + 1) {
            break;
        }
    }
    let mut found: Vec<Entry> = Vec::new();
    for file in wanted.iter().rev() {
        scan(file, |entry| {
            // A file that was put aside meanwhile may be seen twice.
            let known = found.last().map_or(after, |last| last.seq);
            if entry.seq > known && found.len() < most {
                found.push(entry);
            }
        })?;
    }
    Ok(found)
}
