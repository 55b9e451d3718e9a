//! Virtual IP addresses: [`manager::Manager`] is what a daemon uses. Beneath it: the frames that tell a network
//! where an address is now ([`announce`]), putting addresses on interfaces and taking them away ([`address`]),
//! and finding interfaces ([`interface`]). A farm shares one address among several servers: [`farm`].

pub mod address;
pub mod announce;
pub mod farm;
pub mod interface;
pub mod manager;
mod netlink;
