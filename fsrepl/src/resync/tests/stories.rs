//! One thing each.

use super::act::{NOTHING, create, fallocate, find, link, make, mkdir, put, remove, rename, set, write, xattr};
use super::pair::{Figures, Pair};
use crate::apply::Wish;
use crate::op::kind;
use crate::resync::Plan;
use crate::resync::source::Broken;
use std::cell::Cell;
use std::fs;
use std::os::unix::fs::MetadataExt;

const SLOTS: usize = 1024;

fn quiet(pair: &mut Pair, plan: Plan) -> Figures {
    let figures = pair.session(plan, &|| (), None).unwrap();
    assert_eq!(figures.misfits, 0);
    pair.part();
    figures
}

/// Two equal replicas that have just lost each other.
fn apart(prepare: impl FnOnce(&Pair)) -> Pair {
    let mut pair = Pair::new(SLOTS);
    prepare(&pair);
    quiet(&mut pair, Plan::everything());
    pair.must_be_equal("after the first session");
    pair
}

/// Together again, by what is marked.
fn heal(pair: &mut Pair) -> Figures {
    let plan = pair.plan();
    assert!(!plan.dirty.is_everything());
    let figures = quiet(pair, plan);
    pair.must_be_equal("after the second session");
    figures
}

#[test]
fn what_is_renamed_moves_no_content_and_no_names() {
    let mut pair = apart(|pair| {
        let v = &pair.here;
        ["from", "to", "from/many", "a"].iter().for_each(|dir| mkdir(v, dir).unwrap());
        (0..600).for_each(|n| put(v, &format!("from/many/file {n}"), b"something").unwrap());
        put(v, "from/large", &vec![7; 20 << 20]).unwrap();
    });
    rename(&pair.here, "from/many", "to/many", 0).unwrap();
    rename(&pair.here, "from/large", "to/large", 0).unwrap();
    let figures = heal(&mut pair);
    assert!(figures.content == 0 && figures.sent < 4096, "{figures:?}");
}

/// Nothing is sent before the first question: there is no operation of this session that it could come after.
#[test]
fn a_session_that_names_no_directory_asks_at_once() {
    let mut pair = apart(|pair| put(&pair.here, "slot", b"before").unwrap());
    write(&pair.here, "slot", 0, b"behind").unwrap();
    let figures = heal(&mut pair);
    assert!(!figures.kinds.contains_key(&kind::SYNC_NAMES) && figures.questions > 0, "{figures:?}");
}

#[test]
fn what_changed_in_place_travels_in_blocks() {
    let mut pair = apart(|pair| {
        put(&pair.here, "large", &vec![7; 24 << 20]).unwrap();
        put(&pair.here, "other", &vec![8; 1 << 20]).unwrap();
    });
    for at in [0, 100_000, 9 << 20, (9 << 20) + 70_000, (24 << 20) - 3] {
        write(&pair.here, "large", at, b"new").unwrap();
    }
    let figures = heal(&mut pair);
    assert_eq!(figures.content, 5 * 4096, "{figures:?}");
    // And at the end, where the file grew.
    write(&pair.here, "large", 24 << 20, &[9; 5000]).unwrap();
    let figures = heal(&mut pair);
    assert_eq!(figures.content, 5000, "{figures:?}");
}

#[test]
fn it_costs_what_changed() {
    let figures = [100, 2000].map(|files| {
        let mut pair = apart(|pair| {
            (0..files / 50).for_each(|dir| mkdir(&pair.here, &format!("dir {dir}")).unwrap());
            (0..files).for_each(|n| put(&pair.here, &format!("dir {}/file {n}", n / 50), &[1; 3000]).unwrap());
        });
        write(&pair.here, "dir 1/file 60", 100, b"new").unwrap();
        put(&pair.here, "dir 0/born", b"new").unwrap();
        heal(&mut pair)
    });
    assert_eq!(figures[0].kinds, figures[1].kinds);
    assert_eq!(figures[0].questions, figures[1].questions);
    // Larger ids are a few bytes longer.
    assert!(figures[0].sent.abs_diff(figures[1].sent) < 64, "{figures:?}");
}

#[test]
fn names_that_swap_and_go_in_circles() {
    let mut pair = apart(|pair| {
        let v = &pair.here;
        for dir in ["a", "b", "c", "a/in a", "b/in b", "c/in c"] {
            mkdir(v, dir).unwrap();
        }
        put(v, "a/one", b"one").unwrap();
        put(v, "a/two", b"two").unwrap();
        put(v, "becomes a directory", b"").unwrap();
        mkdir(v, "becomes a file").unwrap();
        put(v, "becomes a file/gone", b"").unwrap();
        put(v, "shared", b"shared").unwrap();
        link(v, "shared", "a/shared").unwrap();
    });
    let v = pair.here.clone();
    rename(&v, "a/one", "a/two", libc::RENAME_EXCHANGE).unwrap();
    // a → b → c → a, each below another one afterwards.
    rename(&v, "a", "x", 0).unwrap();
    rename(&v, "c", "a", 0).unwrap();
    rename(&v, "b", "c", 0).unwrap();
    rename(&v, "x", "c/in b/b", 0).unwrap();
    rename(&v, "a", "c/in b/b/in a/a", 0).unwrap();
    remove(&v, "becomes a directory").unwrap();
    mkdir(&v, "becomes a directory").unwrap();
    put(&v, "becomes a directory/new", b"new").unwrap();
    remove(&v, "becomes a file/gone").unwrap();
    remove(&v, "becomes a file").unwrap();
    make(&v, "becomes a file", libc::S_IFIFO | 0o600, None).unwrap();
    remove(&v, "shared").unwrap();
    link(&v, "c/in b/b/shared", "becomes a directory/shared").unwrap();
    link(&v, "becomes a directory/new", "new").unwrap();
    drop(v);
    let figures = heal(&mut pair);
    assert_eq!(figures.content, 3, "only what is new: {figures:?}");
}

#[test]
fn parent_and_child_change_places() {
    // Each directory has to leave the other before it can take it in.
    let mut pair = apart(|pair| {
        ["a", "a/b", "a/b/c"].iter().for_each(|dir| mkdir(&pair.here, dir).unwrap());
        put(&pair.here, "a/b/c/file", b"file").unwrap();
    });
    rename(&pair.here, "a/b/c", "c", 0).unwrap();
    rename(&pair.here, "a/b", "c/b", 0).unwrap();
    rename(&pair.here, "a", "c/b/a", 0).unwrap();
    assert_eq!(heal(&mut pair).content, 0);
}

#[test]
fn a_directory_moves_into_one_that_is_still_below_it_there() {
    // Y is known, and so is the root that X leaves; but the secondary does not know yet that Y has left X.
    let mut pair = apart(|pair| {
        ["first", "x", "x/y", "z"].iter().for_each(|dir| mkdir(&pair.here, dir).unwrap());
    });
    rename(&pair.here, "x/y", "z/y", 0).unwrap();
    create(&pair.here, "first/file").unwrap();
    let (plan, volume, moved) = (pair.plan(), pair.here.clone(), Cell::new(false));
    let between = || {
        if !moved.replace(true) {
            rename(&volume, "x", "z/y/x", 0).unwrap();
        }
    };
    let figures = pair.session(plan, &between, None).unwrap();
    pair.part();
    assert!(moved.get() && figures.misfits == 0 && figures.kinds.contains_key(&kind::RENAME), "{figures:?}");
    pair.must_be_equal("after the session");
}

/// A directory that the plan takes for known, and that is not there any more.
fn lost_there() -> Pair {
    let pair = apart(|pair| {
        ["known", "known/below", "known/below/deep"].iter().for_each(|dir| mkdir(&pair.here, dir).unwrap());
        for name in ["known/a", "known/below/b", "known/below/deep/c"] {
            put(&pair.here, name, &[3; 10_000]).unwrap();
        }
        put(&pair.here, "file", b"file").unwrap();
    });
    fs::remove_dir_all(pair.root_there.join("known")).unwrap();
    create(&pair.here, "new").unwrap();
    pair
}

#[test]
fn what_had_to_be_made_anew_is_sent_whole() {
    let mut pair = lost_there();
    let figures = heal(&mut pair);
    assert_eq!(figures.content, 30_000, "{figures:?}");
}

#[test]
fn operations_on_what_is_being_made_anew_end_no_session() {
    let mut pair = lost_there();
    let (plan, volume, step) = (pair.plan(), pair.here.clone(), Cell::new(0));
    let between = || {
        step.set(step.get() + 1);
        if step.get() == 1 {
            remove(&volume, "known/a").unwrap();
            rename(&volume, "known/below/b", "b", 0).unwrap();
            write(&volume, "known/below/deep/c", 5000, b"live").unwrap();
            xattr(&volume, "known/below", "user.one", Some(b"live")).unwrap();
            put(&volume, "known/below/new", b"live").unwrap();
            link(&volume, "known/below/deep/c", "known/c").unwrap();
        }
    };
    let figures = pair.session(plan, &between, None).unwrap();
    pair.part();
    assert!(step.get() > 0 && figures.misfits > 0, "{figures:?}");
    pair.must_be_equal("after the session");
}

#[test]
fn what_was_made_anew_is_remembered_when_the_session_breaks_off() {
    for cut in 2..12 {
        let mut pair = lost_there();
        let plan = pair.plan();
        let outcome = pair.session(plan, &|| (), Some(cut));
        assert!(matches!(outcome, Err(Broken::Connection | Broken::Bulk(_))), "{cut}");
        heal(&mut pair);
    }
}

#[test]
fn surplus_goes_and_what_the_other_side_lost_comes_back() {
    let mut pair = apart(|pair| {
        ["a", "b", "a/inner"].iter().for_each(|dir| mkdir(&pair.here, dir).unwrap());
        put(&pair.here, "a/file", &[1; 50_000]).unwrap();
        put(&pair.here, "a/inner/moved", &[2; 50_000]).unwrap();
        put(&pair.here, "b/removed", &[3; 50_000]).unwrap();
    });
    let there = pair.there.clone();
    mkdir(&there, "a/surplus").unwrap();
    put(&there, "a/surplus/file", b"surplus").unwrap();
    rename(&there, "a/inner/moved", "a/surplus/moved", 0).unwrap();
    rename(&there, "a/inner", "a/surplus/inner", 0).unwrap();
    remove(&there, "b/removed").unwrap();
    write(&there, "a/file", 20_000, b"surplus").unwrap();
    set(&there, "a/file", Wish { size: Some(30_000), ..NOTHING }).unwrap();
    drop(there);
    pair.forget_there();
    let figures = heal(&mut pair);
    // A block of 4 KiB, the end of the file, and what was removed.
    assert_eq!(figures.content, 4096 + (50_000 - 30_000 / 4096 * 4096) + 50_000, "{figures:?}");
}

#[test]
fn a_change_without_a_mark_is_found_by_the_judge_and_by_a_full_compare() {
    let mut pair = apart(|pair| {
        put(&pair.here, "file", &[1; 10_000]).unwrap();
        put(&pair.here, "other", b"other").unwrap();
    });
    let path = pair.root_here.join("file");
    let before = fs::metadata(&path).unwrap().modified().unwrap();
    fs::write(&path, [2; 10_000]).unwrap();
    fs::File::options().write(true).open(&path).unwrap().set_modified(before).unwrap();
    create(&pair.here, "new").unwrap();
    let plan = pair.plan();
    quiet(&mut pair, plan);
    assert_eq!(pair.differences().len(), 1, "{:?}", pair.differences());
    // Size and time are equal: only who is asked to looks at the content.
    let mut plan = Plan::everything();
    plan.hash = false;
    assert_eq!(quiet(&mut pair, plan).content, 0);
    assert_eq!(pair.differences().len(), 1);
    assert_eq!(quiet(&mut pair, Plan::everything()).content, 10_000);
    pair.must_be_equal("after everything was compared");
}

#[test]
fn holes_stay_holes() {
    let sparse = 64 << 20;
    let mut pair = apart(|pair| {
        create(&pair.here, "sparse").unwrap();
        set(&pair.here, "sparse", Wish { size: Some(sparse), ..NOTHING }).unwrap();
        write(&pair.here, "sparse", 30 << 20, &[1; 100_000]).unwrap();
        put(&pair.here, "dense", &vec![5; 3 << 20]).unwrap();
    });
    let same = |pair: &Pair| {
        for name in ["sparse", "dense"] {
            let blocks = [&pair.root_here, &pair.root_there].map(|root| fs::metadata(root.join(name)).unwrap().blocks());
            assert_eq!(blocks[0], blocks[1], "{name}");
        }
    };
    pair.must_be_equal("first");
    same(&pair);
    fallocate(&pair.here, "dense", libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE, 1 << 20, 1 << 20).unwrap();
    write(&pair.here, "sparse", 50 << 20, b"here").unwrap();
    let figures = heal(&mut pair);
    assert!(figures.content <= 4096, "{figures:?}");
    same(&pair);
}

#[test]
fn a_file_that_is_immutable_only_there_is_healed() {
    use crate::objects::flags;
    let mut pair = apart(|pair| {
        mkdir(&pair.here, "dir").unwrap();
        put(&pair.here, "dir/file", &[1; 10_000]).unwrap();
        put(&pair.here, "dir/other", &[1; 10_000]).unwrap();
    });
    for name in ["dir/file", "dir/other", "dir"] {
        let id = find(&pair.there, name).unwrap();
        let live = pair.there.objects.live(id).unwrap();
        let mut data = vec![0; 8];
        data[..4].copy_from_slice(&flags::LOCKING.to_ne_bytes());
        pair.there.inode_flags(id, crate::sys::SET_FLAGS, data, |result| drop(result.unwrap()));
        drop(live);
    }
    write(&pair.here, "dir/file", 5000, b"new").unwrap();
    rename(&pair.here, "dir/other", "other", 0).unwrap();
    heal(&mut pair);
}

/// What goes is immutable there, and its attributes have not been sent: it goes all the same, or what is made in its
/// place would be missing, with everything in it.
#[test]
fn what_is_immutable_only_there_is_removed_beneath_an_application() {
    use crate::objects::flags;
    let mut pair = apart(|pair| {
        ["dir", "dir/inner"].iter().for_each(|dir| mkdir(&pair.here, dir).unwrap());
        put(&pair.here, "dir/file", b"file").unwrap();
        put(&pair.here, "other", b"other").unwrap();
    });
    for plan in [None, Some(Plan::everything())] {
        for name in ["dir/file", "dir/inner"] {
            // Beneath the engine: nothing is marked.
            let live = pair.there.objects.live(find(&pair.there, name).unwrap()).unwrap();
            assert!(flags::set(&live, flags::LOCKING));
            pair.there.objects.close(live.id);
        }
        write(&pair.here, "other", 0, b"OTHER").unwrap();
        let (plan, volume, step) = (plan.unwrap_or_else(|| pair.plan()), pair.here.clone(), Cell::new(0));
        let session = |id| volume.objects.table.look(id, |entry| entry.names_epoch);
        let dir = find(&volume, "dir").unwrap();
        let between = || {
            if session(dir) == session(crate::id::ObjectId::ROOT) && step.replace(1) == 0 {
                remove(&volume, "dir/file").unwrap();
                remove(&volume, "dir/inner").unwrap();
                mkdir(&volume, "dir/inner").unwrap();
                put(&volume, "dir/inner/new", b"new").unwrap();
                remove(&volume, "dir/inner/new").unwrap();
                put(&volume, "dir/file", b"again").unwrap();
            }
        };
        let figures = pair.session(plan, &between, None).unwrap();
        pair.part();
        assert!(step.get() > 0 && figures.misfits == 0, "{figures:?}");
        pair.must_be_equal("after the session");
    }
}
