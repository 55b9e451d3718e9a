//! Another file system is mounted inside the directory: it would be left out silently, so it is refused.

use crate::LIMIT;
use std::path::Path;
use tests::lab::scenario;
use tests::pair::Pair;

#[test]
fn mount_inside() {
    scenario("mount-inside", LIMIT, |lab| {
        let pair = Pair::prepare(lab);
        let inside = pair.dir_a.join("inside");
        std::fs::create_dir(&inside).expect("create");
        pair.a.run([Path::new("mount"), Path::new("-t"), Path::new("tmpfs"), Path::new("x"), &inside]);
        pair.mount().spawn().must_refuse(&["inside"]);
    });
}
