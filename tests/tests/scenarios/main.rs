//! Scenarios: each file is one thing that goes wrong, or one thing that must work, with two real
//! hosts, the real binary, FUSE and TCP. `tests/README.md` says how to run one and read a failure.

mod ack_disk;
mod content_alone;
mod degrade_and_return;
mod directory_in_use;
mod disk_full_primary;
mod disk_full_secondary;
mod exchange;
mod followed_then_led;
mod histories;
mod initial_copy;
mod kill9_primary;
mod kill9_secondary;
mod link_cut_both;
mod link_cut_one_way;
mod lonely_and_full;
mod low_memory;
mod many_open_files;
mod mariadb;
mod model;
mod mount_inside;
mod older_image;
mod posix;
mod postgres;
mod prefix;
mod primary_fails;
mod put_back;
mod receiver_read_only;
mod restart_orders;
mod resync_holes;
mod resync_live;
mod resync_rate;
mod resync_without_room;
mod second_sender;
mod sigstop_primary;
mod sigstop_secondary;
mod slow_fsync_secondary;
mod status_and_sync;
mod terminations;
mod unmounted_disk;
mod unrelated_data;
mod verify;
mod version_skew;
mod wrong_key;

use std::time::Duration;

/// The deadline of a scenario without a reason of its own.
const LIMIT: Duration = Duration::from_secs(90);
/// Threads of the ledger application.
const THREADS: usize = 4;
/// How long the ledger application may take for what it is waited for.
const WORK: Duration = Duration::from_secs(40);
