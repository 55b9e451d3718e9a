//! xfs stamps a directory that an exchange moves to another one, each node at its own time: the replica's was off by
//! some milliseconds, for good.

use crate::LIMIT;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use std::fs;
use std::time::Duration;
use tests::lab::scenario;
use tests::pair::Pair;

#[test]
fn exchanged_directories_keep_equal_times() {
    scenario("exchange", LIMIT, |lab| {
        let (a, b) = (lab.host("a"), lab.host("b"));
        let [dir_a, dir_b] = [&a, &b].map(|host| host.small_disk("disk", "xfs", 320).join("data"));
        let mut pair = Pair::on(lab, a, b, dir_a, dir_b);
        pair.start();
        let root = pair.mounted();
        for name in ["one/inner", "two/inner"] {
            fs::create_dir_all(root.join(name)).expect("create");
        }
        fs::write(root.join("two/file"), "file").expect("write");
        for _ in 0..20 {
            // Several ticks of the kernel's clock: each node has its own by then.
            std::thread::sleep(Duration::from_millis(7));
            for other in ["two/inner", "two/file"] {
                renameat_with(CWD, root.join("one/inner"), CWD, root.join(other), RenameFlags::EXCHANGE).expect("exchange");
            }
        }
        pair.finish();
    });
}
