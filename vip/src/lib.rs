//! Virtual IP addresses: the frames that tell a network where an address is now ([`announce`]), and putting
//! addresses on interfaces and taking them away ([`address`]).
//!
//! Nothing uses this yet: sending the frames, deciding when, the health answer and the farm's filter come
//! with the cluster.

pub mod address;
pub mod announce;
pub mod farm;
