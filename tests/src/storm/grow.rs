//! Trees to begin with: one as an application may have it, and an older one that differs in every way.

use super::Shape;
use crate::files::pattern;
use crate::rng::Rng;
use rustix::fs::{CWD, FileType, IFlags, Mode, ioctl_setflags, mknodat};
use std::fs::{self, File};
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use std::path::Path;

/// The tree on the primary: about `outer * inner * files` files.
pub fn grow(root: &Path, shape: Shape, seed: u64) {
    let mut rng = Rng::new(seed);
    for outer in 0..shape.outer {
        for inner in 0..shape.inner {
            let dir = root.join(format!("d{outer}/d{inner}"));
            fs::create_dir_all(&dir).expect("create directories");
            for n in 0..shape.files {
                plant(root, &dir.join(format!("f{n}")), shape, &mut rng);
            }
        }
    }
    big(&root.join("big"), shape, 1);
}

/// A tree of the same names where little else is the same.
pub fn grow_other(root: &Path, shape: Shape, seed: u64) {
    let mut rng = Rng::new(seed ^ 0xdead_beef);
    for outer in 0..shape.outer {
        if rng.one_in(12) {
            fs::write(root.join(format!("d{outer}")), "a file where a directory is to be").expect("write");
            continue;
        }
        for inner in 0..shape.inner {
            let dir = root.join(format!("d{outer}/d{inner}"));
            if rng.one_in(10) {
                continue;
            }
            fs::create_dir_all(&dir).expect("create directories");
            for n in 0..shape.files {
                if rng.one_in(5) {
                    continue;
                }
                let path = dir.join(format!("f{n}"));
                if rng.one_in(8) {
                    fs::create_dir(&path).expect("a directory where a file is to be");
                    fs::write(path.join("f1"), "below").expect("write");
                    fs::create_dir(path.join("d1")).expect("create");
                } else {
                    plant(root, &path, shape, &mut rng);
                }
            }
            if rng.one_in(6) {
                let deeper = dir.join("d1/d2/d3");
                fs::create_dir_all(&deeper).expect("create directories");
                plant(root, &deeper.join("surplus"), shape, &mut rng);
                lock(&dir.join("d1"), &mut rng);
            }
        }
        // A directory that was renamed meanwhile.
        if rng.one_in(3) {
            let inner = |n: u64| root.join(format!("d{outer}/d{n}"));
            let _ = fs::rename(inner(rng.below(shape.inner)), root.join(format!("d{outer}/old")));
        }
    }
    big(&root.join("big"), Shape { big: shape.big / 2, ..shape }, 2);
    for _ in 0..shape.files {
        lock(&root.join(shape.file(&mut rng)), &mut rng);
        lock(&root.join(shape.directory(&mut rng)), &mut rng);
    }
}

/// Something under `path`; now and then another name of something planted before.
fn plant(root: &Path, path: &Path, shape: Shape, rng: &mut Rng) {
    match rng.below(40) {
        0 => drop(symlink(format!("to-{}", rng.below(3)), path)),
        1 => mknodat(CWD, path, FileType::Fifo, Mode::from_raw_mode(0o640), 0).expect("make a FIFO"),
        2..=6 if fs::hard_link(root.join(shape.file(rng)), path).is_ok() => {}
        _ => {
            let size = [0, 10, 3000, 5000, 70_000, 140_000][rng.below(6) as usize];
            let file = File::create(path).expect("create a file");
            file.write_all_at(&pattern(size)[..], rng.below(2) * 65_536).expect("write");
            if rng.one_in(8) {
                fs::set_permissions(path, PermissionsExt::from_mode(0o600 + rng.below(64) as u32)).expect("chmod");
            }
        }
    }
}

/// Makes it immutable or append-only, if it is there.
fn lock(path: &Path, rng: &mut Rng) {
    let flag = rng.pick(&[IFlags::IMMUTABLE, IFlags::APPEND]);
    if fs::symlink_metadata(path).is_ok_and(|meta| meta.is_file() || meta.is_dir())
        && let Ok(file) = File::open(path)
    {
        let _ = ioctl_setflags(&file, flag);
    }
}

/// Islands of data in a sea of holes.
fn big(path: &Path, shape: Shape, seed: u64) {
    let file = File::create(path).expect("create a file");
    file.set_len(shape.big).expect("size a file");
    let mut rng = Rng::new(seed);
    let island = pattern(1 << 20);
    for _ in 0..(shape.big >> 21).clamp(1, 32) {
        let at = rng.below(shape.big - (1 << 20));
        file.write_all_at(&island, if rng.one_in(2) { at } else { at & !0xffff }).expect("write");
    }
    file.write_all_at(&vec![0; 1 << 20], shape.big / 2).expect("write zeros");
}
