//! Zeros that are data on both nodes become a hole while the secondary is away.

use crate::LIMIT;
use rustix::fs::{FallocateFlags, fallocate};
use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use tests::lab::scenario;
use tests::pair::Pair;

/// Zeros that take no space are not the zeros that do: their digests differ, and a hole of 64 KiB and more stays one.
/// Once the file is new to the secondary's tracking, once only marked extents of it are compared.
#[test]
fn a_hole_takes_the_place_of_zeros() {
    scenario("resync-holes", LIMIT, |lab| {
        let mut pair = Pair::in_sync(lab);
        let file = OpenOptions::new().write(true).create_new(true).open(pair.mounted().join("file")).expect("create");
        file.write_all_at(&vec![0; 12 << 20], 0).expect("write");
        pair.must_be_equal();
        // The second hole begins and ends within blocks, and crosses the border of an extent.
        for (offset, length) in [(128 << 10, 256 << 10), ((4 << 20) - 100_000, 1 << 20), (9 << 20, 2 << 20)] {
            pair.lose_secondary();
            fallocate(&file, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, offset, length).expect("punch");
            pair.secondary_returns();
            pair.must_be_equal();
        }
        drop(file);
        pair.finish();
    });
}
