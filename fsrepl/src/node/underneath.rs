//! Changes made to the tree while nobody had it mounted: looked for at the next start, in the background.
//!
//! A clean stop leaves a stamp: the time that the file system itself gives a file made last. What carries a later
//! change time (`ctime`, which nobody can set) and an earlier one than this start was changed underneath. This
//! finds what people and backups do; it proves nothing where the clock was set back or after a crash (then change
//! tracking and comparing do).

use crate::apply::{HIDDEN, identity};
use crate::id::{ObjectId, Stamp};
use crate::limits::UNDERNEATH_PATHS;
use crate::objects::{Kind, Objects};
use crate::sys::Sys;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, Dir, Mode, OFlags, Stat, fstat, openat, statat};
use rustix::io::Errno;
use std::ffi::{CStr, CString};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

const STOPPED: &CStr = c"stopped";
const STARTED: &CStr = c"started";

fn ctime(stat: &Stat) -> Stamp {
    Stamp { sec: stat.st_ctime, nsec: stat.st_ctime_nsec as u32 }
}

fn stamp(hidden: &OwnedFd, name: &CStr) -> Sys<Stamp> {
    // Made anew: only a change gives a new time.
    match rustix::fs::unlinkat(hidden, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(why) => return Err(why),
    }
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = openat(hidden, name, flags, Mode::RUSR | Mode::WUSR)?;
    rustix::fs::fsync(&file)?;
    rustix::fs::fsync(hidden)?;
    Ok(ctime(&fstat(&file)?))
}

/// Between two times, both by the clock of the file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    after: Stamp,
    before: Stamp,
}

/// To be called when nothing of ours will change the tree any more, and everything is on the disk.
pub fn note_stop(hidden: &OwnedFd) -> Sys<()> {
    stamp(hidden, STOPPED).map(drop)
}

/// To be called before anything of ours changes the tree. The time since the last clean stop; none after any other
/// end. The stamp is gone then: it speaks of one stop only.
pub fn note_start(hidden: &OwnedFd) -> Sys<Option<Span>> {
    let after = match statat(hidden, STOPPED, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => ctime(&stat),
        Err(Errno::NOENT) => return Ok(None),
        Err(why) => return Err(why),
    };
    let before = stamp(hidden, STARTED)?;
    rustix::fs::unlinkat(hidden, STOPPED, AtFlags::empty())?;
    rustix::fs::fsync(hidden)?;
    Ok((after < before).then_some(Span { after, before }))
}

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// Objects changed underneath, directories whose names changed included.
    pub changed: u64,
    /// The first of their paths.
    pub paths: Vec<String>,
    /// Objects looked at.
    pub seen: u64,
}

/// Walks the tree and tells `mark` of each object that changed in `span`, until `stop`.
///
/// # Errors
/// What the file system says of a directory that cannot be read.
pub fn look(objects: &Objects, span: Span, stop: &AtomicBool, mut mark: impl FnMut(ObjectId, Kind)) -> Sys<Findings> {
    identity::as_root();
    let mut findings = Findings::default();
    let changed = |stat: &Stat| (span.after..span.before).contains(&ctime(stat)) && ctime(stat) != span.after;
    let root = rustix::io::dup(objects.root())?;
    if changed(&fstat(&root)?) {
        // The stamps themselves change the hidden directory, not the root.
        note(&mut findings, &[], None);
        mark(ObjectId::ROOT, Kind::Directory);
    }
    let mut open: Vec<(OwnedFd, ObjectId, Vec<CString>, Vec<CString>)> = vec![(root, ObjectId::ROOT, Vec::new(), Vec::new())];
    if let Some(step) = open.last_mut() {
        step.3 = names(step.0.as_fd())?;
    }
    while let Some((dir, parent, path, left)) = open.last_mut() {
        let Some(name) = left.pop() else {
            open.pop();
            continue;
        };
        if stop.load(SeqCst) {
            break;
        }
        if path.is_empty() && name.as_bytes() == HIDDEN.as_bytes() {
            continue;
        }
        let stat = match statat(&*dir, &*name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => continue,
            other => other?,
        };
        findings.seen += 1;
        let kind = Kind::of(stat.st_mode);
        let touched = changed(&stat);
        if !touched && kind != Kind::Directory {
            continue;
        }
        let id = match objects.identify(dir.as_fd(), *parent, &name, &stat) {
            // Gone meanwhile, or another file system mounted here.
            Err(Errno::NOENT | Errno::STALE | Errno::XDEV) => continue,
            other => other?,
        };
        if touched {
            note(&mut findings, path, Some(&name));
            mark(id, kind);
        }
        if kind == Kind::Directory {
            let inner = match openat(&*dir, &*name, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
            {
                Err(Errno::NOENT | Errno::NOTDIR) => continue,
                other => other?,
            };
            let children = names(inner.as_fd())?;
            let mut path = path.clone();
            path.push(name);
            open.push((inner, id, path, children));
        }
    }
    Ok(findings)
}

fn note(findings: &mut Findings, path: &[CString], name: Option<&CString>) {
    findings.changed += 1;
    if findings.paths.len() < UNDERNEATH_PATHS {
        let words: Vec<_> = path.iter().chain(name).map(|name| name.to_string_lossy()).collect();
        findings.paths.push(format!("/{}", words.join("/")));
    }
}

fn names(dir: BorrowedFd<'_>) -> Sys<Vec<CString>> {
    let own = openat(dir, c".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let mut names = Vec::new();
    for entry in Dir::new(own)? {
        let name = entry?.file_name().to_owned();
        if name.as_c_str() != c"." && name.as_c_str() != c".." {
            names.push(name);
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::path::Path;

    fn open(path: &Path) -> OwnedFd {
        rustix::fs::open(path, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).unwrap()
    }

    /// Waits until the file system's clock has moved.
    fn tick(root: &Path) {
        let time = || {
            fs::write(root.join(HIDDEN).join("tick"), "x").unwrap();
            ctime(&statat(rustix::fs::CWD, root.join(HIDDEN).join("tick"), AtFlags::empty()).unwrap())
        };
        let before = time();
        while time() == before {}
    }

    #[test]
    fn what_was_changed_while_stopped_is_found_and_nothing_else() {
        let temp = tempfile::tempdir().unwrap();
        let root = temp.path();
        fs::create_dir_all(root.join(HIDDEN)).unwrap();
        fs::create_dir_all(root.join("d/e")).unwrap();
        for name in ["same", "d/changed", "d/e/moded", "d/e/same"] {
            fs::write(root.join(name), name).unwrap();
        }
        let hidden = open(&root.join(HIDDEN));
        assert_eq!(note_start(&hidden).unwrap(), None, "no clean stop before");
        tick(root);
        note_stop(&hidden).unwrap();
        tick(root);
        fs::write(root.join("d/changed"), "other").unwrap();
        fs::set_permissions(root.join("d/e/moded"), std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        fs::write(root.join("d/e/new"), "new").unwrap();
        tick(root);
        let span = note_start(&hidden).unwrap().unwrap();
        tick(root);
        fs::write(root.join("same"), "by the application, later").unwrap();
        let objects = Objects::new(open(root)).unwrap();
        let mut marked = Vec::new();
        let found = look(&objects, span, &AtomicBool::new(false), |_, kind| marked.push(kind)).unwrap();
        let mut paths = found.paths.clone();
        paths.sort();
        assert_eq!(paths, ["/d/changed", "/d/e", "/d/e/moded", "/d/e/new"]);
        assert_eq!((found.changed, found.seen), (4, 7));
        assert_eq!(marked.iter().filter(|kind| **kind == Kind::Directory).count(), 1);
        assert_eq!(note_start(&hidden).unwrap(), None, "the stamp speaks of one stop");
    }
}
