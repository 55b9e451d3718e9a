//! The data plane of understudy: FUSE passthrough, synchronous replication, resync.
//!
//! The modules follow the way of one write: `fuse` decodes a request, `journal` marks what is
//! about to change, `apply` changes the local file system, `replica` orders and sends the
//! outcome through `wire` and `uring`, and completes the request when the peer has it.

pub mod apply;
pub mod arbiter;
pub mod bell;
pub mod fuse;
pub mod id;
pub mod journal;
pub mod kept;
pub mod limits;
pub mod node;
pub mod objects;
pub mod op;
pub mod replica;
pub mod report;
pub mod resync;
pub mod sys;
pub mod uring;
pub mod verify;
pub mod wire;
