//! Which objects a replica changed since both were equal, and where they are now.

use super::copy::{self, CopyError, names};
use super::{Budget, Keeping, Manifest};
use crate::apply::{HIDDEN, identity};
use crate::id::ObjectId;
use crate::journal::{Aspect, DirtySet, Level};
use crate::limits::KEPT_DIRECTORIES;
use crate::objects::{Kind, Objects};
use crate::sys::Sys;
use rustc_hash::FxHashSet;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, statat};
use rustix::io::Errno;
use std::ffi::{CStr, CString};
use std::io;
use uuid::Uuid;

/// What is to be kept: inode numbers, because that is what a walk meets.
#[derive(Default)]
struct Wanted {
    objects: FxHashSet<u64>,
    /// Directories whose names changed: what is new in them is kept as a whole.
    directories: FxHashSet<u64>,
}

/// Copies what `dirty` names into a kept tree. Nothing is left behind when this fails.
pub fn keep_changes(
    objects: &Objects,
    hidden: &OwnedFd,
    dirty: &DirtySet,
    (generation, reason): (Uuid, &str),
    budget: Budget,
) -> Result<Option<Manifest>, io::Error> {
    identity::as_root();
    let mut keeping = Keeping::begin(hidden, generation, budget)?;
    match copy_changes(objects, dirty, &mut keeping) {
        Ok(renamed_in) => keeping.finish(generation, reason, renamed_in),
        Err(why) => {
            keeping.give_up()?;
            Err(match why {
                CopyError::Budget(_) => io::Error::new(io::ErrorKind::StorageFull, why.to_string()),
                CopyError::System(why) => why.into(),
            })
        }
    }
}

fn copy_changes(objects: &Objects, dirty: &DirtySet, keeping: &mut Keeping) -> Result<Vec<String>, CopyError> {
    let root = objects.root();
    if dirty.is_everything() {
        for name in names(root)? {
            if name.as_bytes() != HIDDEN.as_bytes() {
                copy::tree(root, &name, rustix::io::dup(keeping.tree())?.as_fd(), &mut keeping.budget)?;
            }
        }
        return Ok(Vec::new());
    }
    let wanted = wanted(objects, dirty);
    if wanted.objects.is_empty() && wanted.directories.is_empty() {
        return Ok(Vec::new());
    }
    let mut walk = Walk { objects, wanted, renamed_in: Vec::new() };
    walk.all(keeping)?;
    Ok(walk.renamed_in)
}

/// The marks as inode numbers of what is there.
fn wanted(objects: &Objects, dirty: &DirtySet) -> Wanted {
    let mut wanted = Wanted::default();
    let mut add = |id: ObjectId, entries: bool| {
        if let Some((inode, kind)) = objects.table.look(id, |entry| (entry.inode, entry.kind)) {
            match (kind, entries) {
                (Kind::Directory, true) => drop(wanted.directories.insert(inode)),
                (_, false) => drop(wanted.objects.insert(inode)),
                _ => {}
            }
        }
    };
    for key in dirty.keys() {
        let entries = key.aspect() == Aspect::Entries;
        let (first, last) = key.objects();
        if key.level() <= Level::Object {
            add(first, entries);
        } else {
            objects.table.known_in(first, last).into_iter().for_each(|(id, _)| add(id, entries));
        }
    }
    for (id, kind) in objects.table.known_in(ObjectId(dirty.birth_floor.0 + 1), ObjectId(u64::MAX)) {
        add(id, false);
        if kind == Kind::Directory {
            add(id, true);
        }
    }
    wanted
}

struct Walk<'a> {
    objects: &'a Objects,
    wanted: Wanted,
    renamed_in: Vec<String>,
}

/// One directory on the way: open here, its path, and its copy once something below it is kept.
struct Step {
    here: OwnedFd,
    path: Vec<CString>,
    left: Vec<CString>,
    new: bool,
}

impl Walk<'_> {
    /// The whole tree is walked: where an object is now is nowhere else written down.
    fn all(&mut self, keeping: &mut Keeping) -> Result<(), CopyError> {
        let root = rustix::io::dup(self.objects.root())?;
        let mut steps = vec![self.step(root, Vec::new())?];
        while let Some(step) = steps.last_mut() {
            let Some(name) = step.left.pop() else {
                steps.pop();
                continue;
            };
            if step.path.is_empty() && name.as_bytes() == HIDDEN.as_bytes() {
                continue;
            }
            let stat = match statat(&step.here, &*name, AtFlags::SYMLINK_NOFOLLOW) {
                Err(Errno::NOENT) => continue,
                other => other?,
            };
            let young = step.new && self.objects.table.by_inode(stat.st_ino).is_none();
            let kept = young || self.wanted.objects.contains(&stat.st_ino);
            if kept {
                let to = parents(self.objects.root(), &step.path, keeping)?;
                if young {
                    copy::tree(step.here.as_fd(), &name, to.as_fd(), &mut keeping.budget)?;
                    continue;
                }
                if Kind::of(stat.st_mode) == Kind::Directory {
                    copy::shell(step.here.as_fd(), &name, to.as_fd(), &mut keeping.budget)?;
                } else {
                    copy::one(step.here.as_fd(), &name, &stat, to.as_fd(), &mut keeping.budget)?;
                }
            }
            if Kind::of(stat.st_mode) == Kind::Directory {
                let inner = copy::directory(step.here.as_fd(), &name)?;
                let mut path = step.path.clone();
                path.push(name);
                let next = self.step(inner, path)?;
                steps.push(next);
            }
        }
        Ok(())
    }

    fn step(&mut self, here: OwnedFd, path: Vec<CString>) -> Sys<Step> {
        let inode = rustix::fs::fstat(&here)?.st_ino;
        let new = self.wanted.directories.contains(&inode);
        if new && self.renamed_in.len() < KEPT_DIRECTORIES {
            let text: Vec<_> = path.iter().map(|name| name.to_string_lossy()).collect();
            self.renamed_in.push(format!("/{}", text.join("/")));
        }
        let left = names(here.as_fd())?;
        Ok(Step { here, path, left, new })
    }
}

/// The copy of a directory, made with those above it.
fn parents(root: BorrowedFd<'_>, path: &[CString], keeping: &mut Keeping) -> Result<OwnedFd, CopyError> {
    let mut from = rustix::io::dup(root)?;
    let mut to = rustix::io::dup(keeping.tree())?;
    let mut budget = keeping.budget.clone();
    for name in path {
        let name: &CStr = name;
        to = copy::shell(from.as_fd(), name, to.as_fd(), &mut budget)?;
        from = copy::directory(from.as_fd(), name)?;
    }
    // Directories on the way are no changes.
    keeping.budget.bytes = budget.bytes;
    Ok(to)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::Key;
    use crate::kept::{list, remove, tidy};
    use std::fs;
    use std::os::unix::fs::MetadataExt;

    /// A tree with objects known by id, the last of them `floor`.
    fn known(root: &std::path::Path, paths: &[&str]) -> (Objects, Vec<ObjectId>) {
        let objects =
            Objects::new(copy::directory(rustix::fs::CWD, &CString::new(root.as_os_str().as_encoded_bytes()).unwrap()).unwrap()).unwrap();
        let mut ids = Vec::new();
        for path in paths {
            let full = root.join(path);
            let parent = full.parent().unwrap();
            let dir = copy::directory(rustix::fs::CWD, &CString::new(parent.as_os_str().as_encoded_bytes()).unwrap()).unwrap();
            let name = CString::new(full.file_name().unwrap().as_encoded_bytes()).unwrap();
            let stat = statat(&dir, &*name, AtFlags::SYMLINK_NOFOLLOW).unwrap();
            ids.push(objects.identify(dir.as_fd(), ObjectId::ROOT, &name, &stat).unwrap());
        }
        (objects, ids)
    }

    #[test]
    fn what_changed_is_kept_with_its_path_and_nothing_else() {
        let temp = tempfile::tempdir().unwrap();
        let root = temp.path();
        fs::create_dir_all(root.join("d/e")).unwrap();
        fs::create_dir_all(root.join(HIDDEN)).unwrap();
        fs::write(root.join("d/e/changed"), "new words").unwrap();
        fs::write(root.join("d/e/same"), "old words").unwrap();
        let (objects, ids) = known(root, &["d", "d/e", "d/e/changed", "d/e/same"]);
        let floor = *ids.iter().max().unwrap();
        // After the common point: a file and a tree, made in a directory that is marked for it.
        fs::write(root.join("d/young"), "only here").unwrap();
        fs::create_dir(root.join("d/tree")).unwrap();
        fs::write(root.join("d/tree/leaf"), "only here too").unwrap();
        let dirty = DirtySet::new([Key::extent(ids[2], 0), Key::object(Aspect::Entries, ids[0])], floor);
        let hidden = copy::directory(objects.root(), c".understudy").unwrap();
        let generation = Uuid::new_v4();
        let budget = Budget::of(1 << 20);
        let kept = keep_changes(&objects, &hidden, &dirty, (generation, "diverged"), budget).unwrap().unwrap();
        let tree = root.join(HIDDEN).join("kept").join(&kept.id).join("tree");
        assert_eq!(fs::read_to_string(tree.join("d/e/changed")).unwrap(), "new words");
        assert!(!tree.join("d/e/same").exists());
        assert_eq!(fs::read_to_string(tree.join("d/young")).unwrap(), "only here");
        assert_eq!(fs::read_to_string(tree.join("d/tree/leaf")).unwrap(), "only here too");
        assert_eq!(fs::metadata(tree.join("d/young")).unwrap().mtime_nsec(), fs::metadata(root.join("d/young")).unwrap().mtime_nsec());
        assert_eq!(kept.renamed_in, ["/d"]);
        assert_eq!((kept.files, kept.generation), (3, generation));
        assert_eq!(list(&hidden).unwrap(), std::slice::from_ref(&kept));
        assert!(!remove(&hidden, "../..").unwrap());
        assert!(remove(&hidden, &kept.id).unwrap());
        assert_eq!(list(&hidden).unwrap(), []);
        assert!(!remove(&hidden, &kept.id).unwrap());
    }

    #[test]
    fn too_much_is_refused_and_leaves_nothing() {
        let temp = tempfile::tempdir().unwrap();
        let root = temp.path();
        fs::create_dir_all(root.join(HIDDEN)).unwrap();
        fs::write(root.join("large"), vec![1; 1 << 20]).unwrap();
        let (objects, ids) = known(root, &["large"]);
        let dirty = DirtySet::new([Key::object(Aspect::Content, ids[0])], ids[0]);
        let hidden = copy::directory(objects.root(), c".understudy").unwrap();
        let refused = keep_changes(&objects, &hidden, &dirty, (Uuid::new_v4(), "diverged"), Budget::of(4096)).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::StorageFull);
        assert_eq!(fs::read_dir(root.join(HIDDEN).join("kept")).unwrap().count(), 0);
    }

    #[test]
    fn nothing_changed_keeps_nothing_and_lost_tracking_keeps_everything() {
        let temp = tempfile::tempdir().unwrap();
        let root = temp.path();
        fs::create_dir_all(root.join(HIDDEN)).unwrap();
        fs::write(root.join("file"), "words").unwrap();
        let (objects, ids) = known(root, &["file"]);
        let hidden = copy::directory(objects.root(), c".understudy").unwrap();
        let clean = DirtySet::new([], ids[0]);
        assert_eq!(keep_changes(&objects, &hidden, &clean, (Uuid::new_v4(), ""), Budget::of(1 << 20)).unwrap(), None);
        let all = keep_changes(&objects, &hidden, &DirtySet::everything(), (Uuid::new_v4(), ""), Budget::of(1 << 20)).unwrap().unwrap();
        assert_eq!(all.files, 1);
        // Killed while keeping: not listed, and gone at the next start.
        fs::create_dir_all(root.join(HIDDEN).join("kept/half/tree")).unwrap();
        assert_eq!(list(&hidden).unwrap().len(), 1);
        tidy(&hidden).unwrap();
        assert!(!root.join(HIDDEN).join("kept/half").exists());
    }
}
