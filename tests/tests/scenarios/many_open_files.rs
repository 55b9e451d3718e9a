//! More files are open on the mount than the engine may have descriptors.

use crate::LIMIT;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use tests::lab::scenario;
use tests::pair::Pair;

const FILES: usize = 700;

#[test]
fn many_open_files() {
    scenario("many-open", LIMIT, |lab| {
        let mut pair = Pair::prepare(lab);
        pair.wrapper = vec!["prlimit".into(), "--nofile=256:256".into()];
        pair.start();
        let path = |n: usize| pair.mounted().join(format!("file{n}"));
        let open = |n| File::options().read(true).write(true).create_new(true).open(path(n)).expect("open");
        let files: Vec<File> = (0..FILES).map(open).collect();
        for (n, file) in files.iter().enumerate() {
            file.write_all_at(format!("first {n}").as_bytes(), 0).expect("write");
        }
        // Unlinked but open, every other one: they live until they are closed.
        (0..FILES).step_by(2).for_each(|n| fs::remove_file(path(n)).expect("remove"));
        for (n, file) in files.iter().enumerate() {
            let text = format!("second {n}");
            file.write_all_at(text.as_bytes(), 100).expect("write");
            let mut back = vec![0; text.len()];
            file.read_exact_at(&mut back, 100).expect("read");
            assert_eq!(back, text.as_bytes(), "file {n}");
        }
        drop(files);
        pair.finish();
    });
}
