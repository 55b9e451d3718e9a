//! Virtual IP addresses.
