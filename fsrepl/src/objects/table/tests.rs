use super::*;
use crate::limits::OBJECTS_PENDING_MOST;
use crate::objects::Objects;
use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, Mode, OFlags};
use std::path::{Path, PathBuf};

/// A replica's directory, with its hidden one.
struct Place {
    temp: tempfile::TempDir,
}

impl Place {
    fn new() -> Place {
        let temp = tempfile::tempdir().unwrap();
        std::fs::create_dir(temp.path().join("hidden")).unwrap();
        Place { temp }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.temp.path().join(name)
    }

    fn file(&self, name: &str) {
        std::fs::write(self.path(name), name).unwrap();
    }

    fn open(&self) -> Objects {
        Objects::open(directory(self.temp.path()), directory(&self.path("hidden"))).unwrap()
    }

    /// What a kill now would leave is what the next run finds. (A clean end writes everything, as it may.)
    fn crash(&self, objects: Objects) -> Objects {
        let (database, saved) = (self.path("hidden/objects.redb"), self.path("hidden/saved"));
        std::fs::copy(&database, &saved).unwrap();
        drop(objects);
        std::fs::rename(saved, database).unwrap();
        self.open()
    }
}

fn directory(path: &Path) -> OwnedFd {
    rustix::fs::open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).unwrap()
}

fn id_of(objects: &Objects, name: &str) -> ObjectId {
    let name = std::ffi::CString::new(name).unwrap();
    let stat = rustix::fs::statat(objects.root(), &*name, AtFlags::SYMLINK_NOFOLLOW).unwrap();
    objects.identify(objects.root(), ObjectId::ROOT, &name, &stat).unwrap()
}

/// An object that no file belongs to.
fn made_up(inode: u64) -> Entry {
    let handle = Handle::from_parts(1, &inode.to_le_bytes()).unwrap();
    Entry { verified: true, ..Entry::stored(handle, inode, Kind::File, ObjectId::ROOT) }
}

fn ids(known: &[(ObjectId, Kind)]) -> Vec<u64> {
    known.iter().map(|(id, _)| id.0).collect()
}

#[test]
fn what_was_committed_is_there_after_a_crash_and_what_is_younger_is_not() {
    let place = Place::new();
    let objects = place.open();
    place.file("old");
    std::fs::create_dir(place.path("directory")).unwrap();
    std::os::unix::fs::symlink("target", place.path("link")).unwrap();
    let names = ["old", "directory", "link"];
    let before: Vec<_> = names.iter().map(|name| id_of(&objects, name)).collect();
    let incarnation = Uuid::from_u128(7);
    objects.table.set_incarnation(incarnation);
    objects.table.commit(before[1]).unwrap();
    let next = objects.table.birth_floor();
    place.file("young");
    let young = id_of(&objects, "young");
    objects.table.tidy_beyond(0, 0);
    let objects = place.crash(objects);
    assert_eq!(names.iter().map(|name| id_of(&objects, name)).collect::<Vec<_>>(), before);
    assert_eq!((objects.table.floor(), objects.table.incarnation()), (before[1], incarnation));
    assert_eq!(objects.table.birth_floor(), next);
    assert_eq!(objects.table.known_in(ObjectId(0), ObjectId(u64::MAX)).len(), 4);
    // Reachable by id alone, without having been found by a name.
    assert!(objects.stat(before[0]).is_ok());
    assert!(objects.table.get(young).is_none());
    assert_eq!(id_of(&objects, "young"), next);
    objects.table.commit(ObjectId(3)).unwrap();
    assert_eq!(objects.table.floor(), before[1], "a floor never goes back");
}

#[test]
fn what_was_removed_stays_removed() {
    let place = Place::new();
    let objects = place.open();
    place.file("here");
    place.file("gone");
    let (here, gone) = (id_of(&objects, "here"), id_of(&objects, "gone"));
    objects.table.commit(gone).unwrap();
    let inode = objects.table.get(gone).unwrap().inode;
    std::fs::remove_file(place.path("gone")).unwrap();
    objects.removed(gone, inode);
    assert!(objects.table.get(gone).is_none() && objects.table.by_inode(inode).is_none());
    assert_eq!(ids(&objects.table.known_in(here, gone)), [here.0]);
    objects.table.commit(gone).unwrap();
    let objects = place.crash(objects);
    assert!(objects.table.get(gone).is_none() && objects.table.by_inode(inode).is_none());
    assert_eq!(objects.table.len(), 2);
}

/// A file with no name left is reachable while it is open, and is nobody's in the next run.
#[test]
fn what_lost_its_last_name_does_not_last() {
    let place = Place::new();
    let objects = place.open();
    place.file("file");
    let id = id_of(&objects, "file");
    objects.table.commit(id).unwrap();
    let pin = rustix::fs::open(place.path("file"), OFlags::PATH, Mode::empty()).unwrap();
    std::fs::remove_file(place.path("file")).unwrap();
    objects.orphan(id, objects.table.get(id).unwrap().inode, pin);
    objects.table.commit(id).unwrap();
    objects.table.trim();
    assert!(objects.live(id).is_ok() && objects.table.get(id).is_some());
    assert!(objects.table.known_in(id, id).is_empty());
    let objects = place.crash(objects);
    assert!(objects.table.get(id).is_none());
}

/// A crash lost the record of a removal, and a new file got the inode number: it is not the old object.
#[test]
fn an_inode_number_used_again_does_not_give_an_old_id_to_a_new_object() {
    let place = Place::new();
    let objects = place.open();
    place.file("new");
    let stat = rustix::fs::statat(objects.root(), c"new", AtFlags::empty()).unwrap();
    let old = objects.table.add(made_up(stat.st_ino));
    objects.table.commit(old).unwrap();
    let objects = place.crash(objects);
    assert_eq!(objects.table.by_inode(stat.st_ino), Some(old));
    let new = id_of(&objects, "new");
    assert!(new > old && id_of(&objects, "new") == new);
    assert!(objects.table.get(old).is_none());
    // The same where nobody ever asked for the number: the new object was made under it.
    let other = objects.table.add(made_up(77));
    objects.table.commit(other).unwrap();
    let objects = place.crash(objects);
    let third = objects.table.add(made_up(77));
    objects.table.commit(third).unwrap();
    assert_eq!(objects.table.by_inode(77), Some(third));
    assert_eq!(ids(&objects.table.known_in(ObjectId::FIRST, third)), [new.0, third.0]);
}

#[test]
fn an_id_can_be_entered_again_for_another_file() {
    let place = Place::new();
    let objects = place.open();
    let id = ObjectId(500);
    objects.table.insert(id, made_up(1));
    objects.table.commit(id).unwrap();
    let objects = place.crash(objects);
    objects.table.insert(id, made_up(2));
    assert_eq!(objects.table.get(id).unwrap().inode, 2);
    assert_eq!((objects.table.by_inode(1), objects.table.by_inode(2)), (None, Some(id)));
    objects.table.commit(id).unwrap();
    let objects = place.crash(objects);
    assert_eq!((objects.table.by_inode(1), objects.table.by_inode(2)), (None, Some(id)));
    assert_eq!(objects.table.birth_floor(), ObjectId(501));
}

#[test]
fn ids_above_a_floor_are_forgotten_in_memory_and_on_disk() {
    let place = Place::new();
    let objects = place.open();
    let all: Vec<_> = (1000..1100).map(|inode| objects.table.add(made_up(inode))).collect();
    objects.table.commit(all[9]).unwrap();
    let waiting = objects.table.add(made_up(2000));
    let next = objects.table.birth_floor();
    objects.table.forget_above(all[9]).unwrap();
    let check = |objects: &Objects| {
        assert_eq!(ids(&objects.table.known_in(ObjectId::FIRST, ObjectId(u64::MAX))), all[..10].iter().map(|id| id.0).collect::<Vec<_>>());
        assert!(objects.table.get(all[10]).is_none() && objects.table.get(waiting).is_none());
        assert_eq!((objects.table.by_inode(1009), objects.table.by_inode(1010)), (Some(all[9]), None));
        assert_eq!(objects.table.birth_floor(), next, "ids are never given again");
    };
    check(&objects);
    objects.table.commit(all[9]).unwrap();
    check(&place.crash(objects));
}

#[test]
fn nothing_but_the_root_survives_a_clear() {
    let place = Place::new();
    let objects = place.open();
    let id = objects.table.add(made_up(5));
    objects.table.commit(id).unwrap();
    objects.clear().unwrap();
    assert!(objects.table.get(id).is_none() && objects.table.by_inode(5).is_none() && objects.stat(ObjectId::ROOT).is_ok());
    assert_eq!(objects.table.floor(), ObjectId(0));
    objects.table.commit(ObjectId(0)).unwrap();
    let objects = place.crash(objects);
    assert_eq!((objects.table.len(), objects.table.birth_floor()), (1, ObjectId(id.0 + 1)));
}

#[test]
fn what_is_known_is_what_memory_and_disk_have_together() {
    let place = Place::new();
    let objects = place.open();
    let table = &objects.table;
    let all: Vec<_> = (1..=20_000).map(|inode| table.add(made_up(inode))).collect();
    table.commit(all[0]).unwrap();
    let (first, last) = (all[0], *all.last().unwrap());
    let young = table.add(made_up(30_000));
    table.remove(all[3]);
    table.set_local(all[4]);
    table.tidy_beyond(0, 0);
    table.remove(all[5]);
    for range in [(first, ObjectId(first.0 + 255)), (first, ObjectId(u64::MAX))] {
        let known = ids(&table.known_in(range.0, range.1));
        assert_eq!(known[..4], [all[0].0, all[1].0, all[2].0, all[6].0]);
        assert_eq!(known.len(), if range.1.0 == u64::MAX { 19_998 } else { 253 });
    }
    assert_eq!(ids(&table.known_in(last, young)), [last.0, young.0]);
    assert_eq!(table.len(), 1 + 19_998);
}

/// A million known files must not be a million entries in memory; what a session has told stays known.
#[test]
fn memory_is_bounded_and_what_left_it_comes_back_as_it_was() {
    let place = Place::new();
    let objects = place.open();
    let table = &objects.table;
    let many = 3 * OBJECTS_IN_MEMORY as u64;
    let first = table.add(made_up(1));
    for inode in 2..=many {
        let id = table.add(made_up(inode));
        table.change(id, |entry| entry.content_epoch = 3 + u32::from(inode.is_multiple_of(2)));
    }
    assert!(table.count.load(Relaxed) <= 2 * OBJECTS_IN_MEMORY + OBJECTS_IN_MEMORY / 4 + OBJECTS_PENDING_MOST);
    table.change(first, |entry| entry.lookups = 1);
    table.set_local(ObjectId(first.0 + 1));
    table.commit(first).unwrap();
    assert!(table.count.load(Relaxed) <= OBJECTS_IN_MEMORY);
    assert!(table.entries(first).read().contains_key(&first.0), "the kernel has it");
    assert!(table.is_local(ObjectId(first.0 + 1)), "only memory knows that");
    let odd = |inode: u64| !inode.is_multiple_of(2);
    for inode in (3..=many).step_by(101) {
        let id = table.by_inode(inode).unwrap();
        assert_eq!(id.0, first.0 + inode - 1);
        let epoch = table.look(id, |entry| entry.content_epoch).unwrap();
        // Of an earlier session nothing need be known.
        assert!(if odd(inode) { epoch != 4 } else { epoch == 4 }, "{inode}: {epoch}");
    }
    for inode in 3..=many {
        assert!(table.by_inode(inode).is_some());
    }
    assert!(table.count.load(Relaxed) <= 2 * OBJECTS_IN_MEMORY + OBJECTS_IN_MEMORY / 4, "reading alone fills it neither");
    assert_eq!(table.len() as u64, many);
}

#[test]
fn a_descriptor_closed_while_its_entry_was_out_of_memory_is_not_kept() {
    let place = Place::new();
    let objects = place.open();
    let id = objects.table.add(made_up(9));
    objects.table.commit(id).unwrap();
    let before = objects.table.get(id).unwrap().closed;
    objects.table.drop_replaced(&[id]);
    objects.table.close(id);
    assert_ne!(objects.table.get(id).unwrap().closed, before);
}

#[test]
fn a_damaged_table_is_put_aside_and_begun_anew() {
    let database = "hidden/objects.redb";
    let damages: [fn(&mut Vec<u8>); 4] = [
        |bytes| bytes.truncate(5000),
        |bytes| bytes.fill(0x5a),
        |bytes| bytes[..4096].fill(0),
        // The directory of tables and everything else behind the header.
        |bytes| bytes[4096..].fill(0),
    ];
    for (number, damage) in damages.into_iter().enumerate() {
        let place = Place::new();
        let objects = place.open();
        place.file("file");
        objects.table.commit(id_of(&objects, "file")).unwrap();
        drop(objects);
        let mut bytes = std::fs::read(place.path(database)).unwrap();
        damage(&mut bytes);
        std::fs::write(place.path(database), bytes).unwrap();
        let objects = place.open();
        assert_eq!((objects.table.floor(), objects.table.len()), (ObjectId(0), 1), "damage {number}");
        assert!(place.path("hidden/objects.redb.damaged").exists());
        let id = id_of(&objects, "file");
        objects.table.commit(id).unwrap();
        assert_eq!(id_of(&place.crash(objects), "file"), id);
    }
}

/// A copy of the directory has other files under the same handles.
#[test]
fn the_table_of_another_directory_is_not_believed() {
    let (place, copy) = (Place::new(), Place::new());
    let objects = place.open();
    let id = objects.table.add(made_up(9));
    objects.table.commit(id).unwrap();
    drop(objects);
    std::fs::copy(place.path("hidden/objects.redb"), copy.path("hidden/objects.redb")).unwrap();
    assert!(copy.open().table.get(id).is_none());
    assert!(place.open().table.get(id).is_some());
}

#[test]
fn one_engine_at_a_time_has_the_table() {
    let place = Place::new();
    let objects = place.open();
    let refused = Objects::open(directory(place.temp.path()), directory(&place.path("hidden")));
    assert_eq!(refused.err().map(|why| why.kind()), Some(io::ErrorKind::ResourceBusy));
    assert!(!place.path("hidden/objects.redb.damaged").exists());
    drop(objects);
    place.open();
}

/// After a write error the database answers nothing until it is opened again: what memory has is written once more.
#[test]
fn a_failed_write_loses_nothing_that_is_in_memory() {
    let place = Place::new();
    let objects = place.open();
    let table = &objects.table;
    let old = table.add(made_up(1));
    table.commit(old).unwrap();
    let young = table.add(made_up(2));
    table.tidy_beyond(0, 0);
    table.remove(old);
    // As `write` meets it: begun, refused, and what was not durable gone.
    table.changes.lock().begin();
    table.recover(table.store.as_ref().unwrap(), &io::Error::other("no room"));
    assert!(table.get(old).is_none() && table.get(young).is_some());
    table.commit(young).unwrap();
    let objects = place.crash(objects);
    assert!(objects.table.get(old).is_none() && objects.table.get(young).is_some());
    assert_eq!(objects.table.by_inode(2), Some(young));
}

/// A full disk: what little there is to write still fits, and what does not fit is written when there is room again.
#[test]
fn a_full_disk_keeps_nothing_from_being_known() {
    crate::sys::in_private_mounts(|| {
        let place = Place::new();
        let size = c"size=24m";
        rustix::mount::mount("none", place.temp.path(), "tmpfs", rustix::mount::MountFlags::empty(), Some(size)).unwrap();
        std::fs::create_dir(place.path("hidden")).unwrap();
        let objects = place.open();
        let table = &objects.table;
        let old = table.add(made_up(70_000));
        table.commit(old).unwrap();
        let filler = std::fs::write(place.path("filler"), vec![1; 32 << 20]);
        assert_eq!(filler.unwrap_err().kind(), io::ErrorKind::StorageFull);
        let few = (2..100).map(|inode| table.add(made_up(inode))).last().unwrap();
        table.commit(few).unwrap();
        let many = (100..50_000).map(|inode| table.add(made_up(inode))).last().unwrap();
        assert!(table.commit(many).is_err());
        assert_eq!(table.floor(), few);
        assert_eq!((table.by_inode(70_000), table.by_inode(49_999)), (Some(old), Some(many)));
        table.remove(old);
        std::fs::remove_file(place.path("filler")).unwrap();
        table.commit(many).unwrap();
        let objects = place.crash(objects);
        assert_eq!((objects.table.floor(), objects.table.by_inode(70_000), objects.table.by_inode(49_999)), (many, None, Some(many)));
        assert_eq!(objects.table.len(), 49_999);
        drop(objects);
        rustix::mount::unmount(place.temp.path(), rustix::mount::UnmountFlags::DETACH).unwrap();
    });
}

/// Many threads make, remove, look and find while others commit and trim: nothing is lost or comes back.
#[test]
fn commits_and_trims_beside_changes() {
    let place = Place::new();
    let objects = place.open();
    let table = &objects.table;
    let ended = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..4_u64)
            .map(|worker| {
                scope.spawn(move || {
                    let mut mine = Vec::new();
                    for number in 0..6000 {
                        let inode = (worker << 32) + number;
                        let id = table.add(made_up(inode));
                        assert_eq!(table.by_inode(inode), Some(id));
                        mine.push((inode, id));
                        if number % 3 == 0 {
                            let (inode, id) = mine.swap_remove((number as usize * 7919) % mine.len());
                            table.unlink_inode(inode, id);
                            table.remove(id);
                            assert!(table.get(id).is_none() && table.by_inode(inode).is_none());
                        }
                        if let Some((inode, id)) = mine.get(number as usize / 2) {
                            assert_eq!(table.look(*id, |entry| entry.inode), Some(*inode));
                            assert_eq!(table.by_inode(*inode), Some(*id));
                        }
                    }
                    mine
                })
            })
            .collect();
        scope.spawn(|| {
            while !ended.load(SeqCst) {
                table.commit(ObjectId(0)).unwrap();
            }
        });
        scope.spawn(|| {
            while !ended.load(SeqCst) {
                table.room.store(0, Relaxed);
                table.write(None).unwrap();
                table.trim_to(0);
            }
        });
        let mut all: Vec<_> = workers.into_iter().flat_map(|worker| worker.join().unwrap()).map(|(_, id)| id.0).collect();
        ended.store(true, SeqCst);
        all.sort_unstable();
        assert_eq!(ids(&table.known_in(ObjectId::FIRST, ObjectId(u64::MAX))), all);
        table.commit(ObjectId(0)).unwrap();
        assert_eq!(table.len(), all.len() + 1);
    });
}

/// `cargo test --release -p fsrepl how_long -- --ignored --nocapture`
#[test]
#[ignore = "says how long things take, and checks nothing"]
fn how_long_it_takes() {
    let place = Place::new();
    let objects = place.open();
    let took = |what: &str, act: &dyn Fn(&Objects)| {
        let began = std::time::Instant::now();
        act(&objects);
        eprintln!("{what}: {:?}", began.elapsed());
    };
    let inode = |number: u64| number + number / 11 * 5;
    took("100,000 inserts", &|objects| {
        for number in 1..=100_000 {
            objects.table.add(made_up(inode(number)));
        }
    });
    took("commit", &|objects| objects.table.commit(ObjectId(100)).unwrap());
    took("commit of nothing", &|objects| objects.table.commit(ObjectId(100)).unwrap());
    took("100,000 look-ups in memory", &|objects| {
        (16..100_000).for_each(|id| assert!(objects.table.get(ObjectId(id)).is_some()));
    });
    took("trim", &|objects| objects.table.trim_to(0));
    took("100,000 look-ups by id on disk", &|objects| {
        (16..100_000).for_each(|id| assert!(objects.table.get(ObjectId(id)).is_some()));
    });
    objects.table.trim_to(0);
    took("100,000 look-ups by inode on disk, without order", &|objects| {
        (1..=100_000).for_each(|number| assert!(objects.table.by_inode(inode(number * 7919 % 100_000 + 1)).is_some()));
    });
    took("900,000 more, written on the way", &|objects| {
        for number in 100_001..=1_000_000 {
            objects.table.add(made_up(inode(number)));
            if number % 5000 == 0 {
                objects.table.tidy();
            }
        }
    });
    took("commit", &|objects| objects.table.commit(ObjectId(100)).unwrap());
    took("known_in of all", &|objects| {
        assert_eq!(objects.table.known_in(ObjectId(1), ObjectId(u64::MAX)).len(), 1_000_001);
    });
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    status.lines().filter(|line| line.starts_with("VmRSS") || line.starts_with("VmHWM")).for_each(|line| eprintln!("{line}"));
    eprintln!("file: {} MiB", std::fs::metadata(place.path("hidden/objects.redb")).unwrap().len() >> 20);
    let began = std::time::Instant::now();
    let objects = place.crash(objects);
    eprintln!("open after a crash, and a copy: {:?}", began.elapsed());
    assert_eq!(objects.table.len(), 1_000_001);
}
