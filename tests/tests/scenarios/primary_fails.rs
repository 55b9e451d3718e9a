//! The file system beneath the primary fails (its kernel makes it read-only): applications get errors, and a
//! loss of the secondary that cannot be recorded ends the engine instead of being passed over.

use crate::LIMIT;
use std::fs;
use std::io::{ErrorKind, Write};
use std::path::Path;
use tests::engine::PATIENCE;
use tests::lab::scenario;
use tests::pair::Pair;

#[test]
fn primary_fails() {
    scenario("primary-fails", LIMIT, |lab| {
        let (a, b) = (lab.host("a"), lab.host("b"));
        let disk = a.small_disk("disk", "ext4", 96);
        let dir_b = b.dir.join("data");
        let mut pair = Pair::on(lab, a, b, disk.join("data"), dir_b);
        pair.start();
        fs::write(pair.mounted().join("file"), "acknowledged").expect("write");
        pair.sync();
        pair.a.run([Path::new("mount"), Path::new("-o"), Path::new("remount,abort"), &disk]);
        let error = fs::write(pair.mounted().join("new"), "x").expect_err("the disk is read-only");
        assert!(matches!(error.kind(), ErrorKind::ReadOnlyFilesystem) || error.raw_os_error() == Some(5), "{error}");

        let file = fs::File::options().write(true).open(pair.mounted().join("file"));
        pair.secondary.take().expect("runs").kill();
        let mut primary = pair.primary.take().expect("runs");
        let written = file.and_then(|mut file| file.write_all(b"while alone"));
        assert!(written.is_err(), "acknowledged what is nowhere recorded");
        let status = primary.wait_exit(PATIENCE);
        assert_eq!(status.code(), Some(1), "{status}: {}", primary.stderr());
        assert_eq!(fs::read_to_string(pair.replica().join("file")).expect("the replica"), "acknowledged");
    });
}
