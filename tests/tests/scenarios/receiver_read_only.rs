//! While the secondary runs, its directory can be read and not changed by others.

use crate::LIMIT;
use std::fs;
use std::io::ErrorKind;
use tests::lab::scenario;
use tests::pair::Pair;

#[test]
fn receiver_read_only() {
    scenario("read-only", LIMIT, |lab| {
        let mut pair = Pair::in_sync(lab);
        fs::write(pair.mounted().join("file"), "content").expect("write");
        let replica = pair.replica();
        assert_eq!(fs::read_to_string(replica.join("file")).expect("readable"), "content");
        let denied = [
            fs::write(replica.join("file"), "other"),
            fs::write(replica.join("new"), ""),
            fs::remove_file(replica.join("file")),
            fs::set_permissions(replica.join("file"), std::os::unix::fs::PermissionsExt::from_mode(0o600)),
        ];
        for result in denied {
            assert_eq!(result.expect_err("must be refused").kind(), ErrorKind::ReadOnlyFilesystem);
        }
        // A reader does not disturb the end, and afterwards the directory is an ordinary one.
        pair.primary.take().expect("runs").stop();
        pair.secondary.take().expect("runs").stop();
        fs::write(pair.replica().join("new"), "").expect("writable again");
    });
}
