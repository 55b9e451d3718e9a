//! Every bound of the configuration, in one place.

use std::time::Duration;

/// Bytes of one configuration file.
pub const FILE: u64 = 1024 * 1024;
/// Nodes of a cluster.
pub const NODES: usize = 64;
/// Networks that a node is on.
pub const NETWORKS: usize = 8;
/// Servers of a farm.
pub const FARM_NODES: std::ops::RangeInclusive<usize> = 2..=32;
/// Modules of a cluster.
pub const MODULES: usize = 1024;
/// Replicated directories of a module: each has an engine of its own on both nodes.
pub const DIRECTORIES: usize = 16;
/// Bytes of the name of one: it becomes part of a name that connections begin with.
pub const DIRECTORY_NAME: usize = 128;
/// Entries of any list in a file.
pub const LIST: usize = 1024;
/// Characters of the name of a cluster, a node or a module: it becomes part of file and unit names.
pub const NAME: usize = 64;
/// Characters of a name that is only printed.
pub const LABEL: usize = 128;
/// Characters of the name of an interface: one less than the kernel's `IFNAMSIZ`.
pub const INTERFACE: usize = 15;
/// Longest time: sums and multiples of times must not overflow.
pub const LONGEST: Duration = Duration::from_secs(366 * 24 * 3600);
/// How long a script may take to move an address.
pub const ADDRESS_SCRIPT: Duration = Duration::from_secs(30);
/// Weight of a farm's node.
pub const WEIGHT: u32 = 1000;
/// Checks in a row that `rise` and `fall` may ask for.
pub const ROW: u32 = 1000;
/// Folders below one another in a module's folder.
pub const DEPTH: usize = 16;
/// Files of a module's folder.
pub const FOLDER_FILES: usize = 4096;
/// Bytes of one file that is pushed to other nodes.
pub const PUSH_FILE: u64 = 1024 * 1024;
/// Bytes of all files that are pushed.
pub const PUSH_ALL: u64 = 16 * 1024 * 1024;
/// Characters of what was found that a problem repeats.
pub const FOUND: usize = 80;
/// Accounts of a node that are compared with another's.
pub const ACCOUNTS: usize = 4096;
/// Lines of a file beyond which a difference is not looked for line by line.
pub const DIFF_LINES: usize = 4000;
