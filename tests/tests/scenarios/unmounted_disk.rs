//! The disk that held the replica is not mounted: an empty directory in its place is no reason to
//! delete everything on the other side, nor to fill the wrong disk.

use crate::LIMIT;
use std::fs;
use tests::lab::scenario;
use tests::pair::Pair;

#[test]
fn unmounted_disk() {
    scenario("unmounted-disk", LIMIT, |lab| {
        let (a, b) = (lab.host("a"), lab.host("b"));
        let dir_a = a.small_disk("disk-a", "ext4", 64);
        let dir_b = b.small_disk("disk-b", "ext4", 64);
        let mut pair = Pair::on(lab, a, b, dir_a, dir_b);
        pair.start();
        fs::write(pair.mounted().join("precious"), "data").expect("write");
        pair.sync();
        pair.primary.take().expect("runs").stop();
        pair.secondary.take().expect("runs").stop();

        pair.a.run([std::path::Path::new("umount"), &pair.dir_a]);
        pair.mount().spawn().must_refuse(&["mount"]);
        pair.b.run([std::path::Path::new("umount"), &pair.dir_b]);
        pair.receive().spawn().must_refuse(&["mount"]);
    });
}
