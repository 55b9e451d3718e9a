//! Each kind of difference is found, and nothing else is.

use super::{Broken, Found, How, Manner, Progress, Verify};
use crate::apply::Wish;
use crate::resync::Plan;
use crate::resync::tests::act::{NOTHING, create, link, make, mkdir, put, set, write, xattr};
use crate::resync::tests::pair::Pair;
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::Path;
use std::sync::atomic::AtomicBool;

fn verify(pair: &Pair, manner: Manner) -> Result<Found, Broken> {
    let (progress, stop) = (Progress::default(), AtomicBool::new(false));
    pair.asking(|stream, ask| Verify::new(&pair.here, stream, ask, manner, &progress, &stop).run())
}

/// A mirror with something of everything.
fn mirror() -> Pair {
    let mut pair = Pair::new(1024);
    let here = &pair.here;
    mkdir(here, "d").unwrap();
    mkdir(here, "d/e").unwrap();
    put(here, "d/small", b"small").unwrap();
    put(here, "d/large", &vec![7; 3 << 20]).unwrap();
    put(here, "d/e/attributes", b"x").unwrap();
    xattr(here, "d/e/attributes", "user.colour", Some(b"red")).unwrap();
    link(here, "d/small", "d/e/other name").unwrap();
    make(here, "d/link", libc::S_IFLNK | 0o777, Some("small")).unwrap();
    pair.session(Plan::everything(), &|| (), None).unwrap();
    pair
}

/// The difference that there is, as its kind, path, attributes and ranges.
fn only(pair: &Pair, manner: Manner) -> (How, String, Vec<String>, Vec<(u64, u64)>) {
    let found = verify(pair, manner).unwrap();
    assert_eq!((found.count, found.listed.len()), (1, 1), "{:?}", found.listed);
    let difference = found.listed[0].clone();
    (difference.kind, difference.path, difference.what, difference.ranges)
}

/// Changes a byte and puts the time back: only the content tells.
fn corrupt(path: &Path, at: u64) {
    let file = OpenOptions::new().read(true).write(true).open(path).unwrap();
    let time = file.metadata().unwrap().modified().unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 1], at).unwrap();
    file.set_modified(time).unwrap();
}

#[test]
fn equal_copies_are_equal() {
    let pair = mirror();
    assert_eq!(verify(&pair, Manner::default()).unwrap().count, 0);
    write(&pair.here, "d/large", 1 << 20, b"mirrored").unwrap();
    assert_eq!(verify(&pair, Manner::default()).unwrap().count, 0, "times that are not written yet are no difference");
}

#[test]
fn one_byte_is_found_in_its_range() {
    let pair = mirror();
    corrupt(&pair.root_there.join("d/large"), (2 << 20) + 5000);
    let range = ((2 << 20) + 4096, 4096);
    assert_eq!(only(&pair, Manner::default()), (How::Content, "/d/large".into(), vec![], vec![range]));
}

#[test]
fn a_byte_behind_the_page_cache_is_found_by_direct_reading() {
    let pair = mirror();
    let path = pair.root_there.join("d/large");
    if rustix::fs::open(&path, rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::DIRECT, rustix::fs::Mode::empty()).is_err() {
        // A file system without it: said so instead of finding anything.
        assert!(matches!(verify(&pair, Manner { direct: true, ..Manner::default() }), Err(Broken::NotDirect(_))));
        return;
    }
    assert_eq!(verify(&pair, Manner { direct: true, ..Manner::default() }).unwrap().count, 0);
    corrupt(&path, 10);
    let direct = only(&pair, Manner { direct: true, ..Manner::default() });
    assert_eq!(direct, (How::Content, "/d/large".into(), vec![], vec![(0, 4096)]));
}

#[test]
fn names_that_are_missing_extra_and_another_thing() {
    let pair = mirror();
    let there = pair.root_there.join("d/e");
    let keep_time = |change: &dyn Fn()| {
        let time = fs::metadata(&there).unwrap().modified().unwrap();
        change();
        File::open(&there).unwrap().set_modified(time).unwrap();
    };
    keep_time(&|| fs::write(there.join("stranger"), "").unwrap());
    assert_eq!(only(&pair, Manner::default()), (How::Extra, "/d/e/stranger".into(), vec![], vec![]));
    keep_time(&|| fs::remove_file(there.join("stranger")).unwrap());
    // Another file with the same content and attributes is another file: its other names are not here.
    keep_time(&|| {
        fs::copy(there.join("other name"), there.join("copy")).unwrap();
        fs::rename(there.join("copy"), there.join("other name")).unwrap();
    });
    assert_eq!(only(&pair, Manner::default()).0, How::Replaced);
    keep_time(&|| fs::remove_file(there.join("other name")).unwrap());
    assert_eq!(only(&pair, Manner::default()), (How::Missing, "/d/e/other name".into(), vec![], vec![]));
    keep_time(&|| fs::remove_file(there.join("attributes")).unwrap());
    let found = verify(&pair, Manner::default()).unwrap();
    assert_eq!(found.listed.iter().filter(|found| found.kind == How::Missing).count(), 2, "{:?}", found.listed);
    assert_eq!(found.count, 2, "{:?}", found.listed);
}

#[test]
fn attributes_are_found_by_name() {
    let pair = mirror();
    let path = pair.root_there.join("d/e/attributes");
    let words = |what: &[&str]| (How::Attributes, "/d/e/attributes".to_owned(), what.iter().map(|word| word.to_string()).collect(), vec![]);
    fs::set_permissions(&path, PermissionsExt::from_mode(0o751)).unwrap();
    assert_eq!(only(&pair, Manner::default()), words(&["mode"]));
    rustix::fs::setxattr(&path, "user.colour", b"blue", rustix::fs::XattrFlags::empty()).unwrap();
    rustix::fs::setxattr(&path, "user.size", b"1", rustix::fs::XattrFlags::empty()).unwrap();
    assert_eq!(only(&pair, Manner::default()), words(&["mode", "xattr user.colour", "xattr user.size"]));
    File::open(&path).unwrap().set_modified(std::time::UNIX_EPOCH).unwrap();
    set(&pair.here, "d/e/attributes", Wish { mode: Some(0o640), ..NOTHING }).unwrap();
    // The mirrored change has put the mode right, and the time with it.
    assert_eq!(only(&pair, Manner::default()), words(&["xattr user.colour", "xattr user.size"]));
}

#[test]
fn holes_read_as_zeros_and_what_lies_in_them_is_found() {
    let mut pair = Pair::new(1024);
    put(&pair.here, "sparse", b"head").unwrap();
    write(&pair.here, "sparse", 64 << 20, b"tail").unwrap();
    put(&pair.here, "zeros", &vec![0; 1 << 20]).unwrap();
    pair.session(Plan::everything(), &|| (), None).unwrap();
    let zeros = pair.root_there.join("zeros");
    let file = OpenOptions::new().write(true).open(&zeros).unwrap();
    let time = file.metadata().unwrap().modified().unwrap();
    let flags = rustix::fs::FallocateFlags::PUNCH_HOLE | rustix::fs::FallocateFlags::KEEP_SIZE;
    rustix::fs::fallocate(&file, flags, 128 << 10, 512 << 10).unwrap();
    file.set_modified(time).unwrap();
    assert_eq!(verify(&pair, Manner::default()).unwrap().count, 0);
    let path = pair.root_there.join("sparse");
    corrupt(&path, (40 << 20) + 12345);
    let range = ((40 << 20) + 12288, 4096);
    assert_eq!(only(&pair, Manner::default()), (How::Content, "/sparse".into(), vec![], vec![range]));
}

#[test]
fn a_directory_that_needs_several_answers() {
    let mut pair = Pair::new(1024);
    let name = |n: u32| format!("{n:05}{}", "x".repeat(100));
    for n in 0..6000 {
        create(&pair.here, &name(n)).unwrap();
    }
    pair.session(Plan::everything(), &|| (), None).unwrap();
    let time = fs::metadata(&pair.root_there).unwrap().modified().unwrap();
    fs::rename(pair.root_there.join(name(3000)), pair.root_there.join(name(5999) + "y")).unwrap();
    File::open(&pair.root_there).unwrap().set_modified(time).unwrap();
    let found = verify(&pair, Manner::default()).unwrap();
    let kinds: Vec<_> = found.listed.iter().map(|found| (found.kind, found.path.clone())).collect();
    assert_eq!(kinds, [(How::Missing, format!("/{}", name(3000))), (How::Extra, format!("/{}y", name(5999)))]);
}

#[test]
fn it_stops_when_it_is_told_to() {
    let pair = mirror();
    let (progress, stop) = (Progress::default(), AtomicBool::new(true));
    let outcome = pair.asking(|stream, ask| Verify::new(&pair.here, stream, ask, Manner::default(), &progress, &stop).run());
    assert!(matches!(outcome, Err(Broken::Stopped)));
}
